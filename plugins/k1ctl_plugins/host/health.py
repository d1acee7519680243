"""``k1ctl host health``: does the host stall, and what is about to?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import UsageError
from k1ctl.nagios import NagiosCommand, format_option
from k1ctl.output import emit_json, json_option, put, say

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


@click.command(cls=NagiosCommand, short_help="Say whether the host stalls, and what is about to.")
@format_option
@click.option("--strict", is_flag=True, help="What should be known and is not is worse than a warning (exit 3).")
@click.option("--facts", "file", metavar="FILE", help="Judge the host that this file describes (default: K1CTL_FACTS).")
@json_option
@pass_context
def health(context: Context, form: str, strict: bool, file: str | None, as_json: bool) -> int:
    """Say how the host fares: by what waits for memory, not by how much runs.

    Checks: processes that stall for memory (PSI on Linux, the level of macOS), memory that can be had, processes
    killed for want of it in the last 15 minutes, swap and what goes out to it, k1ctl's own watermarks, bytes and inodes
    of the disks of the root and of the host's folder, promises that nobody watches, heat, GPUs. The load is shown and
    judged by nobody. What this machine cannot tell is `skip` and never worsens the whole.

    Exit codes: 0 ok; 1 warn; 2 crit; 3 with --strict when something should be known and is not, and with --format
    nagios when nothing could be checked. docs/host-health.md has every check with its marks.

    \b
    Example:
      k1ctl host health
      k1ctl host health --json | jq '.checks[] | select(.status != "ok")'
      k1ctl host health --format nagios
    """
    from k1ctl_plugins.host import verdict

    if as_json and form == "nagios":
        raise UsageError("--json and --format nagios exclude each other")
    workspace, config = _place(context)
    found = verdict.look(config, workspace, file=file, strict=strict)
    if form == "nagios":
        put(verdict.nagios(found))
    elif as_json:
        emit_json(verdict.document(found))
    else:
        put(verdict.text(found))
        for hint in verdict.hints(found):
            say(hint)
    return found.exit_code


def _place(context: Context) -> tuple[Workspace, Config]:
    """The workspace and its configuration; outside every repository the host's folder, with the defaults."""
    import os

    from k1ctl.config import load
    from k1ctl.workspace import Workspace, find_checkout, host_dir

    try:
        here = os.getcwd()
    except FileNotFoundError:  # a removed folder: the host is there all the same
        here = os.path.sep
    if context.root or {"K1CTL_ROOT", "CONDUCTOR_ROOT_PATH"} & set(os.environ) or find_checkout(here):
        return context.workspace, context.config
    host = Workspace(host_dir(), host_dir(), "host", inside=False)
    return host, load(host)
