"""``k1ctl device console``: what the device says, live, on a terminal, in a pipe or in a script."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, json_option


class OrderedSteps(click.Command):
    """Keeps the order in which --send and --expect were given, across the two: ``ctx.meta["k1ctl.steps"]``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta["k1ctl.steps"] = [p.name for p in order if p.name in ("send", "expect")]
        return super().parse_args(ctx, args)


@click.command(cls=OrderedSteps, short_help="Show what the device says on its serial port, and talk to it.")
@click.argument("name", required=False)
@click.option("--reset", is_flag=True, help="Reset the device once the port is open.")
@click.option("--for", "seconds", type=DURATION, metavar="D", help="End after D.")
@click.option("--send", multiple=True, metavar="TEXT", help=r"Send TEXT; \n \r \t \e \0 \xNN are what they stand for.")
@click.option(
    "--expect", multiple=True, metavar="REGEX", help="Wait until REGEX was seen (in the text without colours)."
)
@click.option(
    "--timeout",
    type=DURATION,
    default="10s",
    show_default=True,
    metavar="D",
    help="Limit of each --expect; then exit 1.",
)
@click.option("--fail-on-panic", is_flag=True, help="End with exit 1 when the device panics.")
@click.option("--wait", type=DURATION, metavar="D", help="Wait at most D for who has the console; then exit 75.")
@click.option(
    "--elf",
    type=click.Path(exists=True, dir_okay=False),
    metavar="PATH",
    help="ELF file that backtraces are decoded with (default: the one the device names, else that of the last upload).",
)
@json_option
@pass_context
def console(
    context: Context, /, name: str | None, send: tuple[str, ...], expect: tuple[str, ...], as_json: bool, **given: Any
) -> int:
    """Show what the device says on its serial port, and send it what is typed.

    The port is opened without a reset. All that is said is kept, too (`k1ctl device logs`), panics are recognised and
    their backtraces decoded. `k1ctl upload --via usb` gets the port when it needs it; the console goes on after it.

    On a terminal all keys are the device's but Ctrl-] and ^C, which end it, and Ctrl-T: Ctrl-T Ctrl-R resets the
    device, Ctrl-T Ctrl-C sends ^C. In a pipe the device's output is passed through as it is.

    --send and --expect are done in the order given; the console then ends. Exit codes: 0 done, all seen; 1 not seen
    within --timeout, or a panic that was not expected; 69 no device; 75 another has the console or the port.

    \b
    Example:
      k1ctl device console
      k1ctl device console k1 --reset --for 10s --fail-on-panic
      k1ctl device console --expect 'k1> $' --send m --expect '0 exit' --send 0 --timeout 5s
      k1ctl device console --reset --expect 'build (\\S+)' --json | jq -r '.matched[0].groups[0]'
    """
    from k1ctl.errors import UsageError
    from k1ctl_plugins.device.console import flow

    steps = flow.steps(click.get_current_context().meta["k1ctl.steps"], send, expect)
    if as_json and not steps and given["seconds"] is None:
        raise UsageError("--json prints one document at the end", hint="say when: --for D, or --expect REGEX")
    done = flow.console(context.workspace, context.config, name, steps, quiet=as_json, **given)
    if as_json and done.signal == 0:
        emit_json(done.document())
    return 128 + done.signal if done.signal else 0
