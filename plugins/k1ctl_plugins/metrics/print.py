"""``k1ctl metrics print``: the samples on stdout."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put


@click.command("print", short_help="Print the samples.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("prometheus", "openmetrics")),
    default="prometheus",
    show_default=True,
    help="Text format of Prometheus (0.0.4) or OpenMetrics (1.0.0).",
)
@click.option("--no-aliases", is_flag=True, help="Leave out the annexes' names (default: [metrics] aliases).")
@json_option
@pass_context
def print(context: Context, form: str, no_aliases: bool, as_json: bool) -> None:
    """Print what all plugins tell now. A plugin that fails is a sample, k1_collector_up 0, and a line on stderr.

    \b
    Example:
      k1ctl metrics print | promtool check metrics
      k1ctl metrics print --format openmetrics --no-aliases
      k1ctl metrics print --json | jq '.families[] | select(.name == "k1_queue_waiting").samples'
    """
    from k1ctl.metrics.exposition import render
    from k1ctl_plugins.metrics.taking import take

    found = take(context, False if no_aliases else None)
    if as_json:
        from k1ctl.metrics.document import document

        emit_json({"ok": True, "root": context.workspace.root, **document(found)})
        return
    put(render(found.families, form).removesuffix("\n"))
