"""What `k1ctl doctor` is told of the host: the findings of `host doctor`, and what `host health` calls bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.checks import ERROR, NOTE, WARNING, Check

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Raises ConfigError, OSError where the host cannot be looked at."""
    from k1ctl.capacity import doctor, facts, health
    from k1ctl_plugins.host import verdict

    host = facts.read(environ={})  # limits are tried here: a file of facts is of another host
    found = [Check(f.code, f.level, f.what, why=f.why, fix=f.fix) for f in doctor.examine(host)]
    for each in found:
        if (each.code, each.level) == ("memory-limit", WARNING):
            each.level = NOTE  # how this host is: nothing is about to fail
    seen = facts.read()
    told = verdict.Verdict(seen, health.look(seen, config, workspace), strict=False)
    hint = "`k1ctl host health` has all its checks"
    for check in told.problems:
        if check.status in ("warn", "crit") and not check.name.startswith("blast"):
            level = ERROR if check.status == "crit" else WARNING
            fix = verdict.hint_of(check.name) or hint
            found.append(
                Check(check.name.replace("_", "-"), level, check.message, why="the host stalls, or will", fix=fix)
            )
    return found
