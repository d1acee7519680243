"""``k1ctl capacity run``: a command with a promise and with limits that hold whoever dies."""

from __future__ import annotations

from typing import Any

import click

from k1ctl import lane
from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put


@click.command(short_help="Run a command with room promised to it and limits that hold.")
@click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--need", metavar="NEED", help="What it needs, as mem=4G,cpu=2,build:fw=1 (default: --mem-limit).")
@click.option("--mem-limit", metavar="SIZE", help="Memory the whole tree may use; above it the tree is ended.")
@click.option("--cpu-limit", metavar="C", help="Cores it may use, as 2 or 0.5.")
@click.option("--wait", type=DURATION, metavar="D", help="Wait at most D for room (default: not at all); then 75.")
@click.option("--timeout", type=DURATION, metavar="D", help="Stop the command after D: TERM, grace, KILL; 124.")
@click.option(
    "--priority",
    type=click.Choice(lane.CHOICES["priority"]),
    default="normal",
    show_default=True,
    help="Who goes first; critical neither waits for a watermark nor gives way.",
)
@click.option("--label", default="", metavar="T", help="What others see instead of the command.")
@click.option("--class", "class_", default="", metavar="C", help="Class of its history, and of what it needs.")
@click.option("--oom-retries", type=click.IntRange(min=0), metavar="N", help="Tries with more memory after an OOM.")
@click.option("--result", default="", metavar="FILE", help="Write the result as JSON: limits, peak, verdict.")
@click.option("--reduce", is_flag=True, help="Take what fits now where there is no room for all of it.")
@click.option("--dry-run", is_flag=True, help="Run nothing; tell whether it would be let in and what keeps its limits.")
@json_option
@pass_context
def run(context: Context, /, command: tuple[str, ...], dry_run: bool, as_json: bool, **options: Any) -> int:
    """Run CMD once the host has room for what it needs, keep it to its limits, and exit with its status.

    The promise is held until everything that CMD started has ended. A limit holds whoever is killed: this call, its
    supervisor or the watchdog. A command that runs out of memory, which is not told by its exit code, is run again with
    twice and three times the limit, when that can be promised. No room is exit code 75.

    \b
    Example:
      k1ctl capacity run --need mem=2G,cpu=2 --mem-limit 2G --cpu-limit 2 -- npm test
      k1ctl capacity run --mem-limit 1G --wait 9m --label tests -- pytest -n auto
      k1ctl capacity run --class large --dry-run -- ./render.sh
    """
    from k1ctl_plugins.capacity import run_call

    asked = run_call.Asked(context.workspace, context.config, list(command), options)
    if as_json and not dry_run:
        raise UsageError("--json is for --dry-run", hint="--result FILE has the result of a run as JSON")
    if dry_run:
        answer = run_call.answer(asked)
        if as_json:
            emit_json(answer)
        else:
            for line in run_call.lines(asked, answer):
                put(line)
        return 0 if answer["go"] else 75
    return run_call.run(asked)
