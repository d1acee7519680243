"""`k1ctl demo`: the main job from end to end on a small repository of its own, with proof."""

from __future__ import annotations

import click

from k1ctl.cli import purpose
from k1ctl.errors import UsageError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say
from k1ctl.units import parse_size


@purpose("Try", example="k1ctl demo --agents 12")
@click.command(short_help="See agents build and flash a simulated device, with proof.")
@click.option(
    "--agents", type=click.IntRange(1, 100), default=6, show_default=True, help="Worktrees that work at once."
)
@click.option("--keep", is_flag=True, help="Keep the repository for a look around.")
@click.option("--pace", default="200k", show_default=True, metavar="SIZE", help="Bytes a second the device takes.")
@json_option
def demo(agents: int, keep: bool, pace: str, as_json: bool) -> int:
    """Let N agents build firmware and flash one simulated device, and prove that it went right.

    A git repository with a PlatformIO firmware is made in a temporary folder, N worktrees in it, and N agents at once
    set up, change a source, build with the real PlatformIO and this host's gcc, and upload. Exit code 0 only if there
    were N uploads, none overlapped, they were served in the order of their tickets, and each image that reached the
    device equals its worktree's artifact.

    \b
    Example:
      k1ctl demo --agents 12
      k1ctl demo --keep --json
    """
    from k1ctl_plugins.demo import play, proof
    from k1ctl_plugins.demo.stage import Stage

    try:
        parse_size(pace)
    except ValueError as exc:
        raise UsageError(f"--pace: {exc}") from exc
    with Stage(keep=keep, pace=pace) as stage:
        agents_done = play.run(stage, agents)
        checks = proof.check(stage, agents_done)
        rows = [agent.document() for agent in agents_done]
    ok = all(check["holds"] for check in checks)
    if as_json:
        emit_json({"ok": ok, "agents": rows, "proof": checks, "folder": str(stage.folder) if keep else None})
    else:
        put(proof.as_table(agents_done))
        put()
        for check in checks:
            put(f"{'holds ' if check['holds'] else 'FAILS '} {check['what']}: {check['seen']}")
    if keep:
        say(f"kept: {stage.folder}")
    return 0 if ok else 1


@hookimpl
def k1ctl_command() -> click.Command:
    return demo
