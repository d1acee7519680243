"""``k1ctl init``: prepare a repository's ``ops/``."""

from __future__ import annotations

import os

import click

from k1ctl.cli import Context, pass_context
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say


@click.command()
@click.option("--dry-run", is_flag=True, help="Change nothing; print the configuration file that would be written.")
@json_option
@pass_context
def init(ctx: Context, dry_run: bool, as_json: bool) -> None:
    """Make ops/ with a commented ops/k1ctl.toml that fits this host.

    What changes by itself under ops/ is excluded from git through .git/info/exclude. Run again, it keeps what is
    there and adds what is missing; an existing k1ctl.toml is never touched.

    \b
    Examples:
      k1ctl init
      k1ctl init --dry-run > /tmp/k1ctl.toml
    """
    from k1ctl_plugins.init.prepare import prepare
    from k1ctl_plugins.init.template import host_facts, render

    text = render(host_facts(), ctx.workspace.root)
    report = prepare(ctx.workspace, text, dry_run=dry_run)
    if as_json:
        emit_json(report.document() | ({"config": text} if dry_run else {}))
        return
    verb = "would be made" if dry_run else "made"
    for done, paths in ((verb, report.created), ("kept as they are", report.kept)):
        if paths:
            say(f"{done} in {report.root}: {', '.join(os.path.relpath(path, report.root) for path in paths)}")
    for note in report.notes:
        say(note)
    if not dry_run:
        file = os.path.relpath(ctx.workspace.config_file, report.root)
        say(f"next: fill in [devices.k1] in {file} and commit it")
    if dry_run:
        put(text.rstrip("\n"))


@hookimpl
def k1ctl_command() -> click.Command:
    return init
