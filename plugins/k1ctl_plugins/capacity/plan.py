"""``k1ctl capacity plan``: how long turns take with so many agents, slots, devices and hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, say

if TYPE_CHECKING:
    from k1ctl_plugins.capacity.plan_study import Study

_LOADS = ("usual", "light", "mixed", "heavy", "burst", "all")


@click.command(short_help="Turn times of a load, what binds, and what would help.")
@click.option("--scenario", type=click.Choice(_LOADS), default="all", help="The load: usual is this host's own.")
@click.option("--agents", type=click.IntRange(1, 1000), default=None, help="Workspaces, instead of the load's number.")
@click.option(
    "--what-if",
    "what_if",
    metavar="CHANGES",
    multiple=True,
    help="Another host or load beside it: slots=5,devices=2,hosts=2,agents=20,build=3m,upload=20s,uploads=0.4. Repeat.",
)
@click.option(
    "--turns",
    type=click.IntRange(200, 1_000_000),
    default=20_000,
    show_default=True,
    help="Turns to simulate for each load.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 1_000_000),
    default=1,
    show_default=True,
    help="The same seed gives the same answer.",
)
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="Days of history that count.")
@click.option("--no-history", is_flag=True, help="The annex's load as documented, with this host's slots.")
@click.option("--plot", metavar="FILE", default="", help="Turn times over the number of agents, as .svg or .png.")
@click.option("--facts", "facts_file", metavar="FILE", default="", help="Another host: its facts as JSON.")
@json_option
@pass_context
def plan(
    context: Context,
    scenario: str,
    agents: int | None,
    what_if: tuple[str, ...],
    turns: int,
    seed: int,
    days: int,
    no_history: bool,
    plot: str,
    facts_file: str,
    as_json: bool,
) -> None:
    """How long agents' turns take, from a simulation of workspaces that think, wait for a slot, build, and upload.

    The annex's loads (light, mixed, heavy, a burst of 20 at once) stand beside its own minutes. Build, upload and think
    times come from this host's history where there is enough of it: then light, mixed and heavy are to what is usual
    here as the annex's are to its mixed load, and `usual` is the load with the agents of the history. Which number is
    from where, and from how many samples, is printed. A single load is shown with all it is made of, what binds,
    whether the annex's goals hold, and what would help most.

    Only turns that build are turns here, and a slot is as fast alone as beside others: docs/capacity-plan.md says where
    that is wrong. Nothing is changed, and nobody waits for it.

    \b
    Examples:
      k1ctl capacity plan
      k1ctl capacity plan --scenario heavy --what-if slots=5 --what-if devices=2,hosts=2
      k1ctl capacity plan --scenario usual --agents 20 --plot turns.svg
    """
    from k1ctl.capacity import facts
    from k1ctl_plugins.capacity import place, plan_study

    if plot:
        from k1ctl.capacity.plot import check_name

        check_name(plot)
    study = plan_study.Study(
        *place.settings(context),
        facts.from_file(facts_file) if facts_file else facts.read(),
        scenario,
        agents=agents or 0,
        changes=what_if,
        turns=turns,
        seed=seed,
        days=days,
        history=not no_history,
    )
    if as_json:
        emit_json(study.document())
    else:
        from k1ctl_plugins.capacity import plan_text

        for line in plan_text.lines(study):
            put(line)
    if plot:
        _draw(study, plot)


def _draw(study: Study, path: str) -> None:
    from k1ctl.capacity.plot import save

    save(study.plot(), path)
    say(f"wrote {path}")
