"""``k1ctl slo``: objectives, and what is left of their error budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.durations import DURATION
from k1ctl.hookspecs import hookimpl
from k1ctl.nagios import NagiosCommand, format_option
from k1ctl.output import emit_json, json_option, put

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace


@purpose("Look", example="k1ctl slo")
@click.command(cls=NagiosCommand, short_help="Objectives, and what is left of their error budgets.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--window", type=DURATION, metavar="TIME", help="Over this time, up to 35d (default: each its own, 7d).")
@format_option
@json_option
@pass_context
def slo(context: Context, names: tuple[str, ...], window: float | None, form: str, as_json: bool) -> int:
    """Objectives, whether each is kept in its window, and what is left of its error budget; of the NAMEs only, if any.

    Builds and uploads that succeed, uploads within a minute, turns within 15: [slo.NAME] in ops/k1ctl.toml changes them
    and adds others. With too few events there is no verdict. Below the table: budgets that burn, and failures that are
    somebody's to mend, with their runs. docs/slo.md has every rule.

    Exit codes: 0 none is broken; 1 one is. With --format nagios: 0 kept; 1 a step is due; 2 broken or burning; 3 not
    enough data for any verdict.

    \b
    Example:
      k1ctl slo
      k1ctl slo upload-success --window 24h --json | jq '.objectives[0].budget_left_ratio'
      k1ctl slo --format nagios
    """
    from k1ctl.errors import UsageError
    from k1ctl.slo import BROKEN, look
    from k1ctl.slo.objectives import LONGEST
    from k1ctl.tally import current
    from k1ctl_plugins.slo import report

    if as_json and form == "nagios":
        raise UsageError("--json and --format nagios exclude each other")
    if window is not None and not 0 < window <= LONGEST:
        raise UsageError("--window is above 0 and at most 35d", hint="the tally of events goes back 35 days")
    found = look(context.workspace, context.config, current(context.workspace), window=window or 0.0, names=names)
    if form == "nagios":
        text, code = report.nagios(found)
        put(text)
        return code
    broken = [objective for objective in found if objective.state == BROKEN]
    if as_json:
        emit_json(report.document(found))
    else:
        report.tell(found)
    return 1 if broken else 0


@hookimpl
def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
    from k1ctl_plugins.slo.samples import families

    return families(workspace, config)


@hookimpl
def k1ctl_command() -> click.Command:
    return slo
