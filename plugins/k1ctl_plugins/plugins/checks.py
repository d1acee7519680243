"""What `k1ctl doctor` is told of plugins: names that two bring, rules that meet none, commands that do not come. One
that cannot be loaded is the doctor's own finding."""

from __future__ import annotations

import os

from k1ctl.checks import ERROR, NOTE, OK, WARNING, Check


def checks() -> list[Check]:
    """Nothing raised."""
    from k1ctl.plugins import Plugins
    from k1ctl_plugins.plugins import report

    rows = report.rows(Plugins())
    found = []
    for row in rows:
        if row["status"] == "broken" and row["hooks"]:
            fix = f"pip uninstall or update {row['distribution']}"
            found.append(Check("broken-command", ERROR, row["why"], why="its command cannot be called", fix=fix))
        elif row["status"] == "shadowed":
            what = f"plugin {row['name']} of {row['distribution']} is not used: {row['why']}"
            found.append(
                Check("shadowed", WARNING, what, why="two bring one name", fix=f"pip uninstall {row['distribution']}")
            )
        elif row["status"] == "blocked":
            found.append(Check("blocked", NOTE, f"plugin {row['name']} is {row['why']}", fix="unset K1CTL_PLUGINS"))
    for hint in report.hints(rows, os.environ.get("K1CTL_PLUGINS", "")):
        found.append(Check("unknown-name", WARNING, hint, why="the rule has no effect", fix="correct K1CTL_PLUGINS"))
    others = sorted(row["name"] for row in rows if not row["built_in"])
    own = f", of others: {', '.join(others)}" if others else ""
    return found or [Check("plugins", OK, f"{len(rows)} plugins load{own}")]
