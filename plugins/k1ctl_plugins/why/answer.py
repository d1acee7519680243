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
        return {key: _without_secrets(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return masked(value) if isinstance(value, str) else value


def answer(plugins: Plugins, workspace: Workspace, config: Config, subject: Subject) -> Answer:
    """Ask every plugin, and sort what they say. A plugin that fails is left out and told."""
    from k1ctl_plugins.why import unseen

    found, left_out = [], {}
    for name, told in plugins.each("k1ctl_reasons", workspace=workspace, config=config, subject=subject):
        if not isinstance(told, K1ctlError) and not all(_sound(reason) for reason in told):
            told = PluginError(f"plugin {name}, k1ctl_reasons: not a list of Reason", plugin=name)
        if isinstance(told, K1ctlError):
            left_out[name] = told.message
        else:
            found += told
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
