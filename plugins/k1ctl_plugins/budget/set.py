"""``k1ctl budget set``: the limits, written to ops/k1ctl.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k1ctl.config import Config


@click.command(short_help="Set the limits in ops/k1ctl.toml.")
@click.option("--day", metavar="N", help="Tokens a day, as 3M; 0 takes the limit away.")
@click.option("--agent-day", metavar="N", help="Tokens a day and agent.")
@click.option("--task", metavar="N", help="Tokens of a task over its whole life.")
@click.option("--hour", metavar="N", help="Tokens an hour.")
@click.option("--pool", "pools", metavar="NAME=N", multiple=True, help="Tokens a day of a pool; may be repeated.")
@click.option("--reserve-pool", metavar="N", help="Of --day, what only critical work may use.")
@click.option("--day-usd", metavar="D", help="Dollars a day.")
@click.option("--agent-day-usd", metavar="D", help="Dollars a day and agent.")
@click.option("--task-usd", metavar="D", help="Dollars of a task over its whole life.")
@click.option("--hour-usd", metavar="D", help="Dollars an hour.")
@click.option("--soft", metavar="P,P", help="Percents that are told as events, as 60,80,95.")
@click.option("--zone", metavar="Z", help="Zone that days begin in, as Europe/Oslo.")
@click.option("--weight", "weights", metavar="CLASS=W", multiple=True, help="What a token of a class counts for.")
@click.option("--dry-run", is_flag=True, help="Show the change; write nothing.")
@json_option
@pass_context
def set(context: Context, /, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Set limits, all in one step; the file keeps its comments. They hold from the next call on.

    Classes are input, output, cache_write and cache_read. What is held already stays held; a limit below what is spent
    refuses every further reserve.

    \b
    Example:
      k1ctl budget set --day 3M --agent-day 500k --task 2M
      k1ctl budget set --pool firmware=1M --pool web=500k --reserve-pool 200k
      k1ctl budget set --day-usd 25 --weight output=5 --weight cache_read=0.1 --dry-run
    """
    from k1ctl.budget.days import check_zone
    from k1ctl.config_change import set_settings

    values = _values(options)
    if not values:
        raise UsageError("no limit is named", hint="as in k1ctl budget set --day 3M --agent-day 500k --task 2M")
    check_zone(values.get("budget.zone", ""))
    _check_reserve(values, context.config)
    change = set_settings(context.workspace, values, dry_run=dry_run)
    if as_json:
        emit_json({**change.document(), "dry_run": dry_run, "settings": values})
        return
    if dry_run:
        put(change.diff().rstrip("\n") or "nothing would change")
        return
    say(f"k1ctl: {'set' if change.written else 'unchanged'}: {', '.join(f'{k} = {v}' for k, v in values.items())}")
    for note in change.notes:
        say(f"k1ctl: {note}")


def _check_reserve(values: Mapping[str, str], config: Config) -> None:
    """What is kept for critical work is a part of the day's limit: with all of it nobody else could spend anything.

    Raises UsageError.
    """
    from k1ctl.units import parse_tokens

    def tokens(name: str) -> int:
        text = values.get(f"budget.{name}")
        return int(config.get("budget", name)) if text is None else parse_tokens(text)

    try:
        day, kept = tokens("day"), tokens("reserve_pool")
    except ValueError:
        return  # whoever writes it says what is wrong
    if day and kept >= day:
        raise UsageError(
            f"the reserve pool ({kept} tokens) is all of the day's limit ({day}): nothing would be left for other work",
            hint="set --reserve-pool below --day",
        )
    if kept and not day:
        say("k1ctl: the reserve pool is a part of the day's limit, and there is none: set --day")


def _values(options: Mapping[str, Any]) -> dict[str, str]:
    """{setting: value as text}. Raises UsageError."""
    plain = [name for name in options if name not in ("pools", "weights")]
    found = {f"budget.{name}": options[name] for name in plain if options[name] is not None}
    for option, table in (("pools", "pools"), ("weights", "weights")):
        for word in options[option]:
            name, equals, value = word.partition("=")
            if not (equals and name and value):
                raise UsageError(f"{word!r}: a name and a number, as in web=500k")
            if any(not (c.isalnum() or c in "-_") for c in name):
                raise UsageError(f"{name!r}: a name has letters, digits, - and _")
            found[f"budget.{table}.{name}"] = value
    return found
