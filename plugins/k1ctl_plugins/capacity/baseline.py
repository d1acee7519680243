"""``k1ctl capacity baseline``: what a command takes, measured, drawn and remembered."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import K1ctlError, UsageError
from k1ctl.output import LiveLine, emit_json, json_option, put, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.capacity.baseline import Measured
    from k1ctl.capacity.sampler import Sampler

_FASTEST, _SLOWEST = 0.05, 3600.0  # s between two looks
_FEWEST = 3  # looks from which a peak is learned: the first 30 ms are over
_LONGEST_NAME = 64  # characters of a class
_HINT = "k1ctl capacity baseline -- make -j4"


@click.command(
    short_help="Measure what a command takes: peak memory, CPU, leaks, cost of a container.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("command", metavar="-- CMD...", nargs=-1, type=click.UNPROCESSED)
@click.option("--interval", type=DURATION, default=1.0, metavar="D", help="Time between two looks (default: 1s).")
@click.option("--class", "class_", metavar="NAME", default="", help="Learn for small, medium, large, or another class.")
@click.option("--duration", type=DURATION, default=0.0, metavar="D", help="End it after D: TERM, grace, KILL; exit 0.")
@click.option(
    "--pid", type=click.IntRange(min=1), metavar="PID", help="Watch what runs already; nothing is done to it."
)
@click.option("--container", metavar="IMAGE", default="", help="Run it once more in IMAGE and tell the difference.")
@click.option("--plot", "plot_file", metavar="FILE", default="", help="Draw it to FILE as well, .svg or .png.")
@click.option("--label", metavar="TEXT", default="", help="What it is called instead of the command.")
@json_option
@pass_context
def baseline(context: Context, /, command: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Run CMD, sample its process tree to its end, and exit with its status.

    Tells the peak of the tree with what it can have been at most, CPU time, and whether memory grows (from half an hour
    on). Looks are 0.25 s apart in the first 30 s and while memory moves, then --interval. The figures and a plot go
    into ops/benchmarks; with --class they are learned. ^C is passed on to CMD, and what was seen is kept; should this
    call be killed, CMD goes on. With --json what CMD prints goes to stderr.

    \b
    Examples:
      k1ctl capacity baseline --class build:fw -- pio run
      k1ctl capacity baseline --container node:20 -- npm test
      k1ctl capacity baseline --pid 4711 --duration 1h --interval 5s
    """
    from k1ctl.capacity import baseline_record, plot

    _check(command, **options)
    if options["plot_file"]:
        plot.check_name(options["plot_file"])
    workspace = context.workspace
    host = baseline_record.prepare(workspace)
    measured, container = _measure(context, command, as_json, options)
    found = baseline_record.document(measured, workspace, host, label=options["label"], class_=options["class_"])
    found["container"] = container
    found["learned"] = _learn(measured, options["class_"])
    path, problem = "", None
    try:
        path = baseline_record.save(workspace, found, measured.at)
        if options["plot_file"]:
            plot.save(baseline_record.svg(found), options["plot_file"])
    except OSError as exc:  # what was seen is told all the same
        problem = f"{exc.filename or path}: {exc.strerror}"
    if as_json:
        emit_json({"ok": problem is None, "file": path, "problem": problem, **found})
    else:
        _tell(found, path, put if options["pid"] else say)
    if problem is not None:
        say(f"not all could be written: {problem}")
    code = 0 if measured.ended_by == "duration" else measured.exit_code or (container or {}).get("exit_code") or 0
    return code or int(problem is not None)


def _check(
    command: tuple[str, ...], *, interval: float, class_: str, pid: int | None, container: str, **_: object
) -> None:
    if bool(command) == bool(pid):
        what = "a command and --pid are two things to watch" if pid else "no command: write it behind --"
        raise UsageError(what, hint=f"{_HINT}, or --pid PID")
    if pid and container:
        raise UsageError("--container runs a command a second time; a process that runs already has none")
    if not _FASTEST <= interval <= _SLOWEST:
        raise UsageError(f"--interval {interval:g} s: 50ms to 1h")
    if len(class_) > _LONGEST_NAME or not class_.isprintable():
        raise UsageError(f"--class: at most {_LONGEST_NAME} characters, none of them for control")


def _measure(
    context: Context, command: tuple[str, ...], as_json: bool, options: dict[str, Any]
) -> tuple[Measured, dict[str, Any] | None]:
    """The command's figures, and those of the container where one was wanted."""
    from k1ctl.capacity import baseline as engine
    from k1ctl.capacity import baseline_container

    tool = baseline_container.tool(options["container"]) if options["container"] else ""
    times = {name: options[name] for name in ("interval", "duration")}
    live = LiveLine()
    show = _shower(live) if live.terminal and (options["pid"] or not sys.stdout.isatty()) else None
    try:
        if options["pid"]:
            return engine.process(options["pid"], show=show, **times), None
        sys.stdout.flush()
        folder = os.getcwd()
        more = {"grace": context.config.get("process", "grace"), "stdout": 2 if as_json else None, "show": show}
        measured = engine.command(command, **times, **more)
        if not tool or measured.exit_code or measured.ended_by != engine.COMMAND:
            if tool:
                say(f"not run in {options['container']}: {engine.unfinished(measured) or 'its time was over'}")
            return measured, None
        container = baseline_container.Container(tool, options["container"])
        try:
            contained = container.run(command, cwd=folder, **times, **more)
        except K1ctlError as exc:  # the tool is gone; what the command itself took is known
            say(f"not run in {options['container']}: {exc.message}")
            return measured, None
        return measured, baseline_container.overhead(measured, contained, container)
    finally:
        live.clear()


def _shower(live: LiveLine) -> Callable[[Sampler], None]:
    from k1ctl.units import format_duration, format_size

    def show(sampler: Sampler) -> None:
        row, peak = sampler.last, sampler.peak_row
        if row is not None and peak is not None:
            live.update(
                f"{format_duration(row[0])}: {format_size(row[1])} in {row[4]} process{'es' * (row[4] != 1)}, "
                f"most so far {format_size(peak[1])}; {format_duration(row[5])} of CPU"
            )

    return show


def _learn(measured: Measured, class_: str) -> dict[str, Any] | None:
    """Give the peak to the class's history; a run that did not come to its end teaches nothing."""
    from k1ctl.capacity import baseline as engine
    from k1ctl.capacity import histogram

    if not class_:
        return None
    peak = measured.memory()["peak_bytes"]
    few = measured.sampler.trace.taken < _FEWEST
    why = engine.unfinished(measured) or ("it was over before it could be measured" if few else "")
    if why or peak is None:
        say(f"{class_} learns nothing from it: {why}")
        return None
    whole = measured.exit_code is not None and measured.ended_by == engine.COMMAND
    told = histogram.add(class_, peak, measured.wall_seconds if whole else 0.0)
    if told:
        say(told)
    estimate = histogram.of(class_)
    return estimate.document() if estimate is not None else None


def _tell(found: dict[str, Any], path: str, line: Callable[[str], None]) -> None:
    from k1ctl.capacity import baseline_record
    from k1ctl.output import clean
    from k1ctl.units import format_size

    line(clean(f"baseline of {baseline_record.name(found)}"))
    for text in baseline_record.told(found):
        line(f"  {text}")
    if found["learned"] is not None:
        known = found["learned"]
        sure = f"{known['runs']} run{'s' * (known['runs'] != 1)}, confidence {known['confidence']}"
        line(clean(f"  class   {known['class']}: promise {format_size(known['target_bytes'])} ({sure})"))
    if found["container"] is not None:
        line(clean(f"  in      {baseline_record.container(found['container'])}"))
    if path:
        line(f"  file    {path}")
