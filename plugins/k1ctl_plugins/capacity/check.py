"""``k1ctl capacity check``: may this start now? For hooks and scripts; looks, or looks and reserves in one step."""

from __future__ import annotations

from typing import Any

import click

from k1ctl import lane
from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, json_option, put, say


@click.command(short_help="Tell whether there is room for a need now: exit 0 or 75.")
@click.option("--need", "words", metavar="NEED", help="As mem=4G,cpu=2,tokens=10k,disk=1G,build:fw=1.")
@click.option("--class", "class_", default="", metavar="C", help="Needs the memory that runs of this class took.")
@click.option("--wait", type=DURATION, metavar="D", default=0.0, help="Wait at most D for room; then 75.")
@click.option("--reduce", is_flag=True, help="Where not all of it fits, take what does, a tenth at least.")
@click.option("--reserve", is_flag=True, help="Reserve it in the same step and print the reservation's id.")
@click.option("--ttl", type=DURATION, metavar="D", help="How long a reservation holds (default: 10m).")
@click.option("--owner-pid", type=click.IntRange(min=2), metavar="PID", help="The reservation ends with this process.")
@click.option(
    "--priority",
    type=click.Choice(lane.CHOICES["priority"]),
    default="normal",
    show_default=True,
    help="Before whom it would come; critical does not wait.",
)
@click.option("--facts", type=click.Path(), metavar="FILE", help="Ask for the host that FILE describes (show --json).")
@json_option
@pass_context
def check(context: Context, /, words: str | None, facts: str | None, as_json: bool, **options: Any) -> None:
    """Tell whether the host has room for NEED now: what was promised and what is seen count, whichever is more.

    Exit 0: there is room, and the need (reduced or not) is printed. Exit 75: not now; the reasons, the numbers and,
    where it is known, the expected time are told. Exit 78: it never fits here. Without --reserve nothing is promised:
    who looks and starts something later may find that others did the same. `capacity run` does both in one step.

    \b
    Example:
      k1ctl capacity check --need mem=4G,cpu=2 || exit
      id=$(k1ctl capacity check --need mem=4G --reserve --owner-pid $$ --wait 5m) || exit
      k1ctl capacity check --class large --json
      need=$(k1ctl capacity check --need mem=20G --reduce) && k1ctl capacity run --need "$need" -- make
    """
    from k1ctl_plugins.capacity import check_call

    if facts:
        check_call.use_facts(facts)
    call = check_call.Call(context.workspace, context.config, words, options)
    answer = call.reserve() if options["reserve"] else call.look()
    if as_json:
        emit_json(answer.document())
        return
    if answer.reduced:
        say(f"k1ctl: reduced from {call.asked} to {answer.need}")
    put(answer.id or str(answer.need))
