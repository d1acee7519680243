"""``k1ctl metrics json``: the figures of the annex, with its keys."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option


@click.command("json", short_help="Print the annex's eight figures as JSON.")
@json_option
@pass_context
def json(context: Context, as_json: bool) -> None:
    """Print one JSON document with the annex's keys, durations as it has them ("45s"); null is what is not known.

    With or without --json it is the same: print --json has every family of samples.

    \b
    Example:
      k1ctl metrics json
      k1ctl metrics json | jq .agent_success_rate
    """
    from k1ctl_plugins.metrics.taking import take

    emit_json(take(context, False).annex)
