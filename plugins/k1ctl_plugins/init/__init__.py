"""``k1ctl init``: prepare a repository's ``ops/``, and Conductor's scripts where they are wanted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say, table

if TYPE_CHECKING:
    from k1ctl_plugins.init.conductor import Report as ConductorReport
    from k1ctl_plugins.init.imports import Row
    from k1ctl_plugins.init.prepare import Report


@purpose("Set up")
@click.command()
@click.option("--dry-run", is_flag=True, help="Change nothing; print the configuration file that would be written.")
@click.option(
    "--conductor",
    is_flag=False,
    flag_value="auto",
    type=click.Choice(("json", "toml", "auto")),
    metavar="[json|toml]",
    help="Also write Conductor's scripts and its file, and take an existing conductor.json over.",
)
@json_option
@pass_context
def init(ctx: Context, dry_run: bool, conductor: str | None, as_json: bool) -> None:
    """Make ops/ with a commented ops/k1ctl.toml that fits this host.

    What changes by itself under ops/ is excluded from git through .git/info/exclude. Run again, it keeps what is
    there and adds what is missing; what stands in an existing k1ctl.toml stays.

    --conductor puts conductor-setup, conductor-run and conductor-archive into ops/hooks (and weekly-archive, which
    `k1ctl archive schedule --install` has started every week), writes .conductor/settings.toml or conductor.json
    (default: the one that is there, else the first) unless it exists, and prints what became of each key of an
    existing conductor.json: what k1ctl has a setting for goes to ops/k1ctl.toml, as a section at its end where there
    is none.

    \b
    Examples:
      k1ctl init
      k1ctl init --dry-run > /tmp/k1ctl.toml
      k1ctl init --conductor --json
    """
    from k1ctl_plugins.init.prepare import prepare
    from k1ctl_plugins.init.template import host_facts, render

    found = imported = None
    if conductor:
        from k1ctl_plugins.init import conductor as scripts

        found = scripts.plan(ctx.workspace, ctx.config, conductor)
        imported = scripts.imported(found)
    text = render(host_facts(), ctx.workspace.root, imported)
    fresh = not os.path.lexists(ctx.workspace.config_file)
    report = prepare(ctx.workspace, text, dry_run=dry_run)
    if found:
        scripts.carry_out(ctx.workspace, found, fresh=fresh, dry_run=dry_run)
    if as_json:
        more = {"conductor": {**found.document(), "text": scripts.file_text(found)}} if found else {}
        emit_json(report.document() | ({"config": text} if dry_run else {}) | more)
        return
    _tell(ctx, report)
    if found:
        _tell_conductor(found, report.root, dry_run=dry_run)
    elif dry_run:
        put(text.rstrip("\n"))


def _tell(ctx: Context, report: Report) -> None:
    verb = "would be made" if report.dry_run else "made"
    for done, paths in ((verb, report.created), ("kept as they are", report.kept)):
        if paths:
            say(f"{done} in {report.root}: {', '.join(os.path.relpath(path, report.root) for path in paths)}")
    for note in report.notes:
        say(note)
    if not report.dry_run:
        file = os.path.relpath(ctx.workspace.config_file, report.root)
        say(f"next: fill in [devices.k1] in {file} and commit it")


def _tell_conductor(found: ConductorReport, root: str, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    new = [w.path for w in found.scripts if w.how in ("made", "renewed")] + [found.file] * found.written
    if new:
        say(f"{would}written for Conductor: {', '.join(os.path.relpath(path, root) for path in new)}")
    if found.added:
        say(f"{would}added to ops/k1ctl.toml: {' '.join(line for line in found.added if line[:1] not in ('', '#'))}")
    for place, line in found.by_hand:
        say(f"to add by hand: {line} under [{'.'.join(place[:-1])}] of ops/k1ctl.toml")
    for note in found.notes:
        say(note)
    if found.rows:
        cells = [(row.key, row.value or "-", row.became, _setting(row), row.why) for row in found.rows]
        put(table(cells, ("KEY OF conductor.json", "VALUE", "BECAME", "SETTING", "WHY")))


def _setting(row: Row) -> str:
    return ".".join(row.place) or "-"


@hookimpl
def k1ctl_command() -> click.Command:
    return init
