"""``k1ctl budget keys list``: which keys there are, and what their accounts have left."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, say, table


@click.command(short_help="List keys by name with what their accounts have left.")
@json_option
@pass_context
def list(context: Context, as_json: bool) -> None:
    """List the keys: where each is, whether it is there, how much of its account is used, and until when it cools down.

    No value is shown, nor a part of one. "set" is as seen from here: another agent's environment may differ. What was
    found invalid (401) or without credit (402) is out for everybody; with it is told what brings it back.

    \b
    Example:
      k1ctl budget keys list
      k1ctl budget keys list --json | jq '.buckets[] | select(.ready | not)'
    """
    from k1ctl.budget.keys_kept import Keys

    document = Keys(context.workspace, context.config).document()
    if as_json:
        emit_json({"ok": True, **document})
        return
    buckets = {bucket["bucket"]: bucket for bucket in document["buckets"]}
    if document["keys"]:
        rows = [_row(key, buckets[key["bucket"]]) for key in document["keys"]]
        put(table(rows, ("KEY", "BUCKET", "PROVIDER", "WHERE", "STATE", "REQUESTS", "TOKENS", "WINDOW", "NEXT")))
    else:
        say("k1ctl: no key is configured; see [budget.buckets.NAME] and [budget.keys.NAME] in docs/budget-keys.md")
    for warning in document["warnings"]:
        say(f"k1ctl: {warning}")


def _row(key: dict[str, Any], bucket: dict[str, Any]) -> tuple[str, ...]:
    from k1ctl.units import format_duration

    def use(what: str) -> str:
        limit = bucket[f"{what}_limit"]
        return f"{bucket[what]}/{limit * bucket['percent'] // 100}" if limit else f"{bucket[what]}/-"

    state = f"as {key['same_as']}" if key["same_as"] else key["why"] or key["state"]
    state += f" ({key['forbidden']} x 403)" if key["forbidden"] else ""
    when = f"{bucket['until'] or 'not by itself'}: {bucket['why']}" if not bucket["ready"] else "now"
    window = format_duration(bucket["window_seconds"])
    names = (key["key"], key["bucket"], key["provider"] or "-", key["name"], state)
    return (*names, use("requests"), use("tokens"), window, when)
