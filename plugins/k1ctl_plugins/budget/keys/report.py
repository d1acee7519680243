"""``k1ctl budget keys report``: what a call with a key came to."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, say


@click.command(short_help="Tell what a call with a key came to, by its HTTP status.")
@click.argument("name", metavar="NAME")
@click.option("--status", type=click.IntRange(100, 599), required=True, metavar="CODE", help="Its HTTP status.")
@click.option("--retry-after", default="", metavar="S|DATE", help="The answer's Retry-After: seconds, or a date.")
@click.option("--tokens", metavar="N", help="Tokens the call really used (default: as reserved).")
@click.option("--id", "identity", default="", metavar="ID", help="The reservation, as `next --json` tells it.")
@click.option("--lift", is_flag=True, help="End its account's cool-down too: what was told of it was wrong.")
@json_option
@pass_context
def report(
    context: Context,
    name: str,
    status: int,
    retry_after: str,
    tokens: str | None,
    identity: str,
    lift: bool,
    as_json: bool,
) -> None:
    """Tell what a call with the key NAME came to: what it used, and whether its account has to rest.

    429 is the account's limit: all its keys cool down, until Retry-After or for a backoff that grows. 401 takes the key
    out, 402 its account; `--status 200` takes either back. 403 is a permission or a rule, not a limit: nothing cools
    down, and no other key is to be tried. 5xx counts for the provider's breaker.

    \b
    Example:
      k1ctl budget keys report team-a-1 --status 200 --tokens 18233
      k1ctl budget keys report team-a-1 --status 429 --retry-after "Wed, 21 Oct 2026 07:28:00 GMT"
    """
    from k1ctl.budget.keys_kept import Keys
    from k1ctl.units import parse_tokens

    if lift and not 200 <= status < 300:
        raise UsageError("--lift is for a call that worked", hint="with --status 200")
    try:
        spent = parse_tokens(tokens) if tokens is not None else None
    except ValueError as exc:
        raise UsageError(str(exc)) from None
    result = Keys(context.workspace, context.config).report(
        name, status, retry_after=retry_after, tokens=spent, identity=identity, lift=lift
    )
    if as_json:
        emit_json({"ok": True, **result})
        return
    if result["action"] == "cooled":
        say(f"k1ctl: {result['bucket']} cools down until {result['until']}: {result['why']}")
    elif result["action"] == "back":
        say(f"k1ctl: {name} is used again")
    elif result["action"] == "out":
        say(f"k1ctl: {name}: {result['why']}; once that is mended: k1ctl budget keys report {name} --status 200")
    elif status == 403:
        say(f"k1ctl: {name}: {result['why']}")
