"""All plugins asked for their checks, one after the other; one that fails is a finding itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.checks import ERROR, LEVELS, Check
from k1ctl.errors import ConfigError, K1ctlError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

HOOK = "k1ctl_checks"


class Round(NamedTuple):
    """What one ``plugin`` found, and the ``seconds`` it took."""

    plugin: str
    checks: list[Check]
    seconds: float


def settings(load: Callable[[], Config], workspace: Workspace) -> tuple[Config, list[Round]]:
    """The configuration; where it is broken the defaults, and the finding that says so."""
    from k1ctl.config import Config as Configuration

    try:
        return load(), []
    except ConfigError as exc:
        why = "no command that needs a setting works until it is mended; what follows was examined with the defaults"
        check = Check("broken-config", ERROR, exc.message, why=why, fix=exc.hint or "k1ctl config edit")
        return Configuration(workspace.config_file, {}, {}), [Round("config", [check], 0.0)]


def examine(
    plugins: Plugins, workspace: Workspace, config: Config, only: Sequence[str], tell: Callable[[str], None]
) -> list[Round]:
    """The rounds of all plugins, or of those named in ``only``; ``tell`` is told whose turn it is. Raises UsageError
    for a name that is no plugin with checks."""
    plugins.load_all()
    able = [name for name, plugin in sorted(plugins.manager.list_name_plugin()) if hasattr(plugin, HOOK)]
    for name in only:
        if name not in able and name not in plugins.broken:
            raise UsageError(f"{name!r} is no plugin that checks anything", hint=f"there are {', '.join(able)}")
    order = [*sorted(plugins.broken), *(name for name in able if not only or name in only)]
    found = []
    asked = plugins.each(HOOK, among=order, workspace=workspace, config=config)
    for name in order:
        tell(name)
        begun = time.monotonic()
        _, answer = next(asked)
        if not only or name in only:
            found.append(Round(name, _checks(name, answer), time.monotonic() - begun))
    return found


def _checks(plugin: str, answer: list[Any] | K1ctlError) -> list[Check]:
    if isinstance(answer, K1ctlError):
        code = "broken-plugin" if answer.code == "broken-plugin" else "check-failed"
        why = "what it would have found is not known"
        fix = answer.hint or f"pip uninstall or update the distribution that brings {plugin}"
        return [Check(code, ERROR, answer.message, why=why, fix=fix)]
    checks = [each for each in answer if isinstance(each, Check) and each.level in LEVELS]
    if len(checks) < len(answer):
        what = f"{len(answer) - len(checks)} of its {len(answer)} answers are no checks"
        fix = "k1ctl_checks returns k1ctl.checks.Check, with a level of k1ctl.checks.LEVELS"
        checks.append(Check("bad-check", ERROR, what, why="what they tell is lost", fix=fix))
    return checks
