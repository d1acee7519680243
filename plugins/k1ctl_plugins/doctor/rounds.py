"""All plugins asked for their checks, one after the other; one that fails is a finding itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.checks import ERROR, LEVELS, Check
from k1ctl.discovery import BUILT_IN
from k1ctl.errors import ConfigError, K1ctlError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

HOOK = "k1ctl_checks"
LIMIT = 30.0  # s until a plugin that hangs is cut off; on a busy host with 100 worktrees git takes its time


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
    """The rounds of all plugins, or of those named in ``only``; ``tell`` is told whose turn it is. One that hangs is
    cut off after `LIMIT`. Raises UsageError for a name that is no plugin with checks."""
    tell("plugins")
    plugins.load_all(LIMIT)
    able = [name for name, plugin in sorted(plugins.manager.list_name_plugin()) if hasattr(plugin, HOOK)]
    for name in only:
        if name not in able and name not in plugins.broken:
            raise UsageError(f"{name!r} is no plugin that checks anything", hint=f"there are {', '.join(able)}")
    order = [*sorted(plugins.broken), *(name for name in able if not only or name in only)]
    found = []
    asked = plugins.each(HOOK, among=order, seconds=LIMIT, workspace=workspace, config=config)
    for name in order:
        tell(name)
        begun = time.monotonic()
        _, answer = next(asked)
        if not only or name in only:
            foreign = not plugins.targets.get(name, "").startswith(BUILT_IN)
            found.append(Round(name, _checks(name, answer, foreign=foreign), time.monotonic() - begun))
    return found


def _checks(plugin: str, answer: list[Any] | K1ctlError, *, foreign: bool) -> list[Check]:
    if isinstance(answer, K1ctlError):
        code = "broken-plugin" if answer.code == "broken-plugin" else "check-failed"
        why = "what it would have found is not known"
        own = f"`k1ctl doctor {plugin}` asks it alone; if it fails again, that is a bug to report"
        fix = f"update or uninstall the distribution that brings plugin {plugin}" if foreign else own
        return [Check(code, ERROR, answer.message, why=why, fix=answer.hint or fix)]
    checks = [each for each in answer if isinstance(each, Check) and _sound(each)]
    if len(checks) < len(answer):
        what = f"{len(answer) - len(checks)} of its {len(answer)} answers are no checks"
        fix = "k1ctl_checks returns k1ctl.checks.Check: texts, and a level of k1ctl.checks.LEVELS"
        checks.append(Check("bad-check", ERROR, what, why="what they tell is lost", fix=fix))
    return checks


def _sound(check: Check) -> bool:
    return check.level in LEVELS and all(isinstance(getattr(check, key), str) for key in ("code", "what", "why", "fix"))
