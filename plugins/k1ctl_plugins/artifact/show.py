"""``k1ctl artifact show``: one artifact with its files, its builds and why it is kept."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put, say, table


@click.command(short_help="Show one artifact: its files, who built it, why it is kept.")
@click.argument("artifact", metavar="ID")
@click.option("--target", default="", help="Where an id is that of several targets.")
@click.option("--verify", is_flag=True, help="Read every file and compare its SHA-256; exit 65 when one differs.")
@json_option
@pass_context
def show(context: Context, artifact: str, target: str, verify: bool, as_json: bool) -> int:
    """Show the artifact ID, the beginning of one, or `latest`: the manifest of the build that made it first, and every
    build since that gave the same bytes.

    \b
    Example:
      k1ctl artifact show 9f3c2a11
      k1ctl artifact show latest --verify --json
    """
    from k1ctl import retention
    from k1ctl_plugins.artifact.choose import choose

    found = choose(context, artifact, target)
    stock = retention.survey(context.workspace, context.config)
    kept = next((each for each in stock.kept if each.artifact.folder == found.folder), None) or retention.Kept(found)
    problems = found.problems() if verify else None
    facts = {**kept.document(), "manifest": found.manifest, "builds": kept.builds, "pin": kept.pin}
    if as_json:
        emit_json({"ok": not problems, **facts, "problems": problems})
    else:
        _tell(facts, problems)
    for problem in problems or ():
        say(f"{clean(found.target)} {found.id} is damaged: {clean(problem)}")
    return 65 if problems else 0


def _tell(facts: dict[str, Any], problems: Any) -> None:
    from k1ctl.units import format_duration, format_size

    manifest, pin = facts["manifest"], facts["pin"]
    shown = {
        "artifact": f"{facts['target']} {facts['id']}",
        "state": None if problems is None else "damaged" if problems else "whole",
        "built": f"{format_duration(facts['age_seconds'])} ago in {facts['workspace'] or '?'}",
        "commit": (facts["commit"] or "") + (" and changes" if facts["dirty"] else ""),
        "environment": manifest.get("environment"),
        "from": manifest.get("from"),
        "kept": ", ".join(reason["text"] for reason in facts["kept"]) or "no: it goes when room is needed",
        "pinned by": f"{pin['by']} at {pin['at']}" if pin and pin["by"] else None,
        "folder": facts["folder"],
    }
    width = max(map(len, shown))
    for key, value in shown.items():
        if value:
            put(f"{key.ljust(width)}  {clean(str(value))}")
    put()
    files = manifest["files"].items()
    put(table([(name, format_size(file["bytes"]), file["sha256"][:16]) for name, file in files], _FILES))
    if facts["builds"]:
        put()
        put(table([_build(build) for build in facts["builds"]], _BUILDS))


_FILES = ("FILE", "SIZE", "SHA-256")
_BUILDS = ("BUILT AT (UTC)", "WORKSPACE", "COMMIT", "RUN")


def _build(build: dict[str, Any]) -> tuple[str, str, str, str]:
    commit = (str(build.get("commit") or "")[:12] or "-") + ("+" if build.get("dirty") else "")
    fetched = build.get("pulled_from")
    who = f"from store {fetched}" if fetched else build.get("workspace") or "-"
    return str(build.get("at"))[:19].replace("T", " "), str(who), commit, str(build.get("run") or "-")
