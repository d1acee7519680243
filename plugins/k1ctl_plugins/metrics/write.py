"""``k1ctl metrics write``: the samples into a file, for the textfile collector of node_exporter."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, say


@click.command(short_help="Write the samples into a file for node_exporter.")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--dry-run", is_flag=True, help="Take the samples, say what would be written, write nothing.")
@json_option
@pass_context
def write(context: Context, file: str | None, dry_run: bool, as_json: bool) -> None:
    """Write the samples into FILE (default: ops/metrics/k1ctl.prom), in one step, readable by everybody.

    For cron and node_exporter's textfile collector, which reads files *.prom of one folder and nothing else; so FILE
    has to end so. Off a terminal nothing is said unless something is wrong. k1_exported_at_seconds tells when it was
    written: older than twice [metrics] period, it is stale.

    \b
    Example:
      k1ctl metrics write
      k1ctl metrics write /var/lib/prometheus/node-exporter/k1ctl.prom
      * * * * * cd /path/to/repo && k1ctl metrics write
    """
    import sys

    from k1ctl.metrics.textfile import checked, replace
    from k1ctl_plugins.metrics.taking import take

    path = checked(context.workspace, file)
    found = take(context)
    if not dry_run:
        replace(path, found.families)
    facts = {"path": path, "families": len(found.families), "failed": found.failed}
    if as_json:
        emit_json({"ok": True, "dry_run": dry_run, **facts})
        return
    if dry_run:
        say(f"would write {len(found.families)} families of samples into {path}")
    elif sys.stderr.isatty():  # cron sends mail for every word
        say(f"wrote {len(found.families)} families of samples into {path}")
