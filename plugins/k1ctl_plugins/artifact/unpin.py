"""``k1ctl artifact unpin``: take a pin away."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put


@click.command(short_help="Take a pin away: the artifact goes when room is needed and nothing else keeps it.")
@click.argument("artifacts", metavar="ID...", nargs=-1, required=True)
@click.option("--target", default="", help="Where an id is that of several targets.")
@json_option
@pass_context
def unpin(context: Context, artifacts: tuple[str, ...], target: str, as_json: bool) -> int:
    """Take the pin of the artifacts ID... away. What is not pinned stays so.

    Example: k1ctl artifact unpin 9f3c2a11
    """
    from k1ctl import artifacts_pins
    from k1ctl_plugins.artifact.choose import choose

    found = [choose(context, reference, target) for reference in artifacts]
    changed = [artifacts_pins.unpin(context.workspace, each) for each in found]
    rows = [{"target": a.target, "id": a.id, "changed": c} for a, c in zip(found, changed, strict=True)]
    if as_json:
        emit_json({"ok": True, "artifacts": rows})
        return 0
    for row in rows:
        became = "is not pinned any more" if row["changed"] else "was not pinned"
        put(f"{clean(str(row['target']))} {row['id']} {became}")
    return 0
