"""The answer: what all plugins say of a subject, the reason that binds first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.errors import K1ctlError
from k1ctl.plugins import PluginError
from k1ctl.reasons import ENDED, KINDS, RUNS, STAGES, WAITS, Reason

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.reasons import Subject
    from k1ctl.workspace import Workspace


_SECONDS = 2.0  # that one plugin may take


class Answer:
    """``reasons``, the one that binds first, of ``subject``; ``left_out`` {plugin: what went wrong}."""

    def __init__(self, subject: Subject, reasons: list[Reason], left_out: dict[str, str]) -> None:
        self.subject, self.reasons, self.left_out = subject, reasons, left_out

    @property
    def first(self) -> Reason:
        """The reason that binds."""
        return self.reasons[0]

    def document(self) -> dict[str, Any]:
        """All of it as JSON, without what looks like a secret: commands and what they print may have one."""
        found: dict[str, Any] = {
            "subject": self.subject.document(),
            "answer": self.first.kind,
            "text": self.first.text,
            "reasons": [reason.document() for reason in self.reasons],
            "left_out": [{"plugin": name, "message": text} for name, text in self.left_out.items()],
        }
        return _without_secrets(found)  # type: ignore[no-any-return]


def _without_secrets(value: Any) -> Any:
    from k1ctl.escalation.prompts import masked

    if isinstance(value, dict):
        return {key: "***" if _secret(key, each) else _without_secrets(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return masked(value) if isinstance(value, str) else value


def _secret(key: str, value: Any) -> bool:
    """Whether a field of an event is named as a secret is."""
    from k1ctl.escalation.prompts import masked

    return bool(value) and isinstance(value, str) and masked(f"{key}=x") != f"{key}=x"


def answer(plugins: Plugins, workspace: Workspace, config: Config, subject: Subject) -> Answer:
    """Ask every plugin, and sort what they say. A plugin that fails is left out and told."""
    from k1ctl_plugins.why import unseen

    found: list[Reason] = []
    left_out: dict[str, str] = {}
    asked = plugins.each("k1ctl_reasons", seconds=_SECONDS, workspace=workspace, config=config, subject=subject)
    for name, told in asked:
        items: list[Any] = [told] if isinstance(told, K1ctlError) else told
        errors: list[K1ctlError] = [item for item in items if isinstance(item, K1ctlError)]
        sound: list[Reason] = [item for item in items if _sound(item)]
        if len(sound) + len(errors) < len(items):
            errors.append(PluginError(f"plugin {name}, k1ctl_reasons: not a list of Reason", plugin=name))
        if errors:
            left_out[name] = "; ".join(error.message for error in errors)
        found += sound
    found = ranked(without_general(found))
    return Answer(subject, ranked(unseen.complete(workspace, subject, found)), left_out)


def _sound(reason: Any) -> bool:
    return isinstance(reason, Reason) and reason.kind in KINDS and reason.stage in STAGES


def without_general(reasons: list[Reason]) -> list[Reason]:
    """Those that say more than the general ones about the same run or ticket."""
    known = {reason.about for reason in reasons if not reason.general and reason.stage in (WAITS, RUNS, ENDED)}
    return [reason for reason in reasons if not reason.general or reason.about not in known]


def ranked(reasons: list[Reason]) -> list[Reason]:
    """What holds it up now (the longest first), what it does, how things ended (the last first), what is so for
    everybody, the rest."""
    oldest = sorted(reasons, key=lambda reason: reason.at)
    waits = sorted((r for r in oldest if r.stage == WAITS), key=lambda r: KINDS.index(r.kind))
    others = [r for r in reversed(oldest) if r.stage != WAITS]
    by_time = (RUNS, ENDED)
    return waits + sorted(
        others, key=lambda r: (STAGES.index(r.stage), 0 if r.stage in by_time else KINDS.index(r.kind))
    )
