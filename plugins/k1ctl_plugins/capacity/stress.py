"""``k1ctl capacity stress``: run a command in a matrix of agents, memory and cores, and see what the host carries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import K1ctlError, UsageError
from k1ctl.output import LiveLine, emit_json, json_option, put, say, table

if TYPE_CHECKING:
    from k1ctl.capacity.stress import Matrix, Progress
    from k1ctl.capacity.stress_call import Asked
    from k1ctl.capacity.stress_folder import Folder
    from k1ctl.capacity.stress_report import Recommendation, Report


@click.command(short_help="Find by measuring how many agents fit, and with how much memory each.")
@click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--agents", default="1,2,4,6,8", show_default=True, metavar="N,...", help="Copies of CMD at once.")
@click.option("--mem", default="2G,4G,6G,8G", show_default=True, metavar="SIZE,...", help="Memory limit of a copy.")
@click.option("--cpu", default="unlimited", show_default=True, metavar="C,...", help="Cores a copy may use.")
@click.option(
    "--jobs", type=click.IntRange(1), default=4, show_default=True, metavar="N", help="Runs a cell, at least."
)
@click.option("--repeat", type=click.IntRange(1), metavar="N", help="Runs of each copy, instead of --jobs.")
@click.option("--timeout", type=DURATION, metavar="D", help="Stop a run after D; it counts as not completed.")
@click.option("--wait", type=DURATION, metavar="D", help="Wait at most D for room on the host (default: no limit).")
@click.option("--fresh", is_flag=True, help="Begin anew where an interrupted call would be gone on with.")
@click.option("--dry-run", is_flag=True, help="Run nothing; show the cells in their order.")
@click.option("--apply", is_flag=True, help="Write the recommendation into ops/k1ctl.toml.")
@json_option
@pass_context
def stress(context: Context, /, command: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Run copies of CMD at once, in every combination of --agents, --mem and --cpu, the smallest first.

    Each copy has its limits, {i} in CMD becomes its number, and its output is in a log of its own. A cell ends early
    when a copy runs out of memory, swap is used above 50 %, everything waits for memory more than 10 % of the time,
    less than the reserve is available, or the disk has less than 10 % left. Cells that cannot be better are left out.
    An interrupted call goes on where it stopped when it is called again.

    \b
    Example:
      k1ctl capacity stress --agents 1,2,4 --mem 2G,4G --cpu 2,unlimited -- npm test
      k1ctl capacity stress --agents 1,2,4,8 --mem 1G --dry-run -- make -C ../{i}
      k1ctl capacity stress --agents 1,2,4,6,8 --apply -- npm test --prefix ../w{i}
    """
    from k1ctl.capacity import cells
    from k1ctl.capacity.stress_call import Asked

    asked = Asked(
        command,
        cells.parse_agents(options["agents"]),
        cells.parse_memory(options["mem"]),
        cells.parse_cpus(options["cpu"]),
        jobs=options["jobs"],
        repeat=options["repeat"] or 0,
        timeout=options["timeout"] or 0.0,
    )
    asked.check_command()
    if 1 not in asked.agents:
        say("without 1 in --agents nothing can be compared with one alone, so nothing will be recommended")
    if options["apply"]:
        _check_apply(context, options["dry_run"])
    if options["dry_run"]:
        return _plan(context, asked, options["fresh"], as_json)
    return _run(context, asked, options, as_json)


def _run(context: Context, asked: Asked, options: dict[str, Any], as_json: bool) -> int:
    from k1ctl.capacity import executor, facts, stress_call, stress_folder
    from k1ctl.capacity.stress import Matrix
    from k1ctl.capacity.stress_report import Report

    ops, found = context.workspace.ops, facts.read()
    live = LiveLine()
    with stress_call.Ending() as ending, stress_folder.Alone(context.workspace.caller()):
        folder, resumed = stress_folder.take(ops, asked.spec(found), fresh=options["fresh"])
        _tell_before(folder, resumed, executor.end_left_behind(stress_folder.benchmarks(ops)))
        copies = executor.Copies(asked.command, folder.path, timeout=asked.timeout, cwd=asked.cwd, interrupt=ending.fd)
        promise = stress_call.Promised(context.workspace, context.config, copies, options["wait"], live.update)
        matrix = _matrix(context, asked, folder, Matrix, found, copies)
        matrix.promise, matrix.tell = promise, _teller(live)
        try:
            rows = matrix.run()
        except executor.Interrupted:
            raise ending.error(folder.path, len(matrix.rows), len(matrix.left())) from None
        finally:
            live.clear()
    report = Report(rows)
    document = {**folder.spec, "folder": folder.path, "resumed": resumed, **report.document()}
    applied, failed = _apply(context, report.recommendation) if options["apply"] else (None, None)
    _keep(context, folder, report, document)
    code = failed.exit_code if failed else 0 if report.recommendation else 1
    if as_json:
        emit_json({"ok": not code, **document, "applied": applied, **(failed.document() if failed else {})})
    else:
        _print(report, folder, applied)
    return code


def _matrix(context: Context, asked: Asked, folder: Folder, kind: type[Matrix], found: Any, copies: Any) -> Matrix:
    from k1ctl.capacity import cells, stress_call

    return kind(
        cells.matrix(asked.agents, asked.memory, asked.cpus),
        stress_call.room(context.config, found),
        copies,
        folder,
        jobs=asked.jobs,
        repeat=asked.repeat,
    )


def _keep(context: Context, folder: Folder, report: Report, document: dict[str, Any]) -> None:
    """The plot first: a folder with a report is a finished one."""
    from shlex import join

    from k1ctl.events import emit
    from k1ctl.files import write_atomic

    write_atomic(os.path.join(folder.path, "report.svg"), report.svg(join(folder.spec["command"])))
    folder.report(document)
    found = report.recommendation
    facts = {"agents": found.agents, "per_agent_bytes": found.memory} if found else {}
    emit(context.workspace, "capacity.stressed", folder=folder.path, cells=len(report.rows), **facts)


def _print(report: Report, folder: Folder, applied: dict[str, Any] | None) -> None:
    from k1ctl.capacity.stress_report import HEADERS

    put(table(report.table(), HEADERS))
    for sentence in report.sentences():
        put(sentence)
    say(f"{folder.path} has report.json, report.svg, cells.jsonl and the logs")
    if applied is not None:
        put(applied["diff"].rstrip("\n")) if applied["diff"] else say("ops/k1ctl.toml has these values already")
        for note in applied["notes"]:
            say(note)


def _plan(context: Context, asked: Asked, fresh: bool, as_json: bool) -> int:
    """What would run, in which order, and for how long as far as that is known."""
    from k1ctl.capacity import facts, stress_folder
    from k1ctl.capacity.stress import Matrix, row_of
    from k1ctl.capacity.stress_report import estimate
    from k1ctl.units import format_duration

    found = facts.read()
    spec = asked.spec(found)
    old = None if fresh else stress_folder.unfinished(context.workspace.ops)
    old = stress_folder.check_same(old, spec) if old else None
    folder = old or stress_folder.Folder("", spec)
    matrix = _matrix(context, asked, folder, Matrix, found, None)
    before = [row_of(line) for line in stress_folder.earlier(context.workspace.ops, spec)]
    plan = estimate(matrix, asked.timeout, before)
    if as_json:
        emit_json({"ok": True, **spec, "resumes": old.path if old else None, **plan})
        return 0
    rows = [(c["cell"], c["jobs"], c["rounds"], _time(c), c["status"]) for c in plan["cells"]]
    put(table(rows, ("CELL", "RUNS", "ROUNDS", "TIME", "STATE")))
    known, most = plan["estimated_seconds"], plan["at_most_seconds"]
    told = (
        f"about {format_duration(known)}" if known is not None else f"{plan['rounds']} times as long as one run of CMD"
    )
    say(f"{told}{f', {format_duration(most)} at most' if most is not None else ''}")
    return 0


def _time(cell: dict[str, Any]) -> str:
    from k1ctl.units import format_duration

    return "" if cell["estimated_seconds"] is None else format_duration(cell["estimated_seconds"])


def _teller(live: LiveLine) -> Any:
    def tell(now: Progress) -> None:
        text = f"cell {now.number} of {now.cells}, {now.cell.name}: {now.ended} of {now.jobs} runs ended"
        live.update(f"{text}, {now.running} under way", key=now.cell)

    return tell


def _tell_before(folder: Folder, resumed: bool, ended: int) -> None:
    if resumed:
        say(f"going on with {folder.path}; cells that are finished: {len(folder.finished())}")
    if ended:
        say(f"ended {ended} processes that an interrupted call had left behind")


def _check_apply(context: Context, dry_run: bool) -> None:
    """Say before hours of measuring that nothing could be written. Raises K1ctlError."""
    from k1ctl.config_change import set_settings

    if dry_run:
        raise UsageError("--apply and --dry-run exclude each other", hint="--dry-run runs nothing")
    set_settings(context.workspace, {"capacity.per_agent": "1G", "capacity.agents": "1"}, dry_run=True)


def _apply(context: Context, found: Recommendation | None) -> tuple[dict[str, Any] | None, K1ctlError | None]:
    """(the change of the file, why it could not be changed). Before the report is kept: a call that is killed between
    the two is gone on with, and not begun anew."""
    from k1ctl.config_change import set_settings

    if found is None:
        say("nothing is written: the figures support no recommendation")
        return None, None
    try:
        applied = set_settings(context.workspace, found.settings()).document()
        return {**applied, "notes": [*applied["notes"], *_let_in(context, found)]}, None
    except K1ctlError as exc:
        say(f"nothing is written: {exc.message}")
        return None, exc
    except OSError as exc:
        say(f"nothing is written: {exc.strerror}: {exc.filename or ''}")
        return None, K1ctlError(f"the recommendation cannot be written: {exc.strerror}", code="not-written")


def _let_in(context: Context, found: Recommendation) -> list[str]:
    """How many agents the gate lets in by the formula from now on, where that is not what was measured."""
    from k1ctl.capacity import facts, formula

    memory = facts.read().memory
    safe = formula.safe_agents(memory, formula.reserve(memory, context.config), found.memory)
    if safe == found.agents or (found.bounded and safe > found.agents):
        return []
    each = found.settings()["capacity.per_agent"]
    return [f"by its formula the gate lets in {safe} agents of {each}; measured were {found.agents} at once"]
