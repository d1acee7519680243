"""``k1ctl artifact pin``: keep artifacts until somebody says otherwise."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put


@click.command(short_help="Keep artifacts until they are unpinned, whatever room they take.")
@click.argument("artifacts", metavar="ID...", nargs=-1, required=True)
@click.option("--target", default="", help="Where an id is that of several targets.")
@click.option("--reason", default="", metavar="TEXT", help="Why; `artifact list` shows it.")
@json_option
@pass_context
def pin(context: Context, artifacts: tuple[str, ...], target: str, reason: str, as_json: bool) -> int:
    """Keep the artifacts ID... (the beginning of an id, or `latest`) until `k1ctl artifact unpin`.

    Pinned again, nothing changes but the reason. A build that replaces a damaged artifact takes its pin over.

    \b
    Example:
      k1ctl artifact pin latest --reason "shown at the fair"
      k1ctl artifact pin 9f3c2a11 40e1 --json
    """
    from k1ctl import artifacts_pins
    from k1ctl_plugins.artifact.choose import choose

    found = [choose(context, reference, target) for reference in artifacts]
    changed = [artifacts_pins.pin(context.workspace, each, reason.strip()) for each in found]
    rows = [{"target": a.target, "id": a.id, "changed": c} for a, c in zip(found, changed, strict=True)]
    if as_json:
        emit_json({"ok": True, "artifacts": rows})
        return 0
    for row in rows:
        put(f"{clean(str(row['target']))} {row['id']} {'is pinned' if row['changed'] else 'was pinned already'}")
    return 0
