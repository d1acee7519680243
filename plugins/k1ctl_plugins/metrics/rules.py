"""``k1ctl metrics rules``: files for Prometheus and Grafana."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, say


@click.command(short_help="Write rules for Prometheus and a dashboard for Grafana.")
@click.option("--out", "folder", metavar="FOLDER", help="Where to (default: ops/metrics).")
@click.option("--dry-run", is_flag=True, help="Say what would be written, write nothing.")
@json_option
@pass_context
def rules(context: Context, folder: str | None, dry_run: bool, as_json: bool) -> None:
    """Write prometheus.yml, alert and recording rules with their tests, and a dashboard, into FOLDER.

    The limits are those of [alerts] and [slo] in ops/k1ctl.toml: change them there and call this again. A file of the
    same name that did not come from here is left alone.

    \b
    Example:
      k1ctl metrics rules --out /etc/prometheus && promtool check config /etc/prometheus/prometheus.yml
      k1ctl metrics rules --dry-run
      cd ops/metrics && promtool test rules k1ctl.*.test.yml
    """
    import os

    from k1ctl.errors import UsageError
    from k1ctl.metrics.rules import files, write

    place = os.path.abspath(folder) if folder else context.workspace.ops_path("metrics")
    if folder and not os.path.isdir(place):
        raise UsageError(f"there is no folder {place}", hint="make it, or leave --out away: ops/metrics")
    rows = write(place, files(context.config), dry_run=dry_run)
    if as_json:
        emit_json({"ok": True, "dry_run": dry_run, "folder": place, "files": rows})
        return
    for row in rows:
        put(f"{row['state']:10} {row['path']}")
    if any(row["state"] == "kept" for row in rows):
        say("kept: not written by `k1ctl metrics rules`; take over what you need from another folder (--out)")
