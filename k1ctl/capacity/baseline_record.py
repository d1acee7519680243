"""Where baselines are kept: ``ops/benchmarks/YYYYMMDD-HHMM-resource-baseline.json`` and a plot of each beside it.

They are figures that people keep and compare, so nothing there is ever overwritten, and git does not ignore them.
"""

from __future__ import annotations

import os
import time
from errno import EACCES
from itertools import count, pairwise

from k1ctl.capacity import plot
from k1ctl.capacity.sampler import COLUMNS
from k1ctl.files import write_atomic
from k1ctl.jsontext import dumps
from k1ctl.units import format_duration, format_size, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.capacity.baseline import Measured
    from k1ctl.workspace import Workspace

FOLDER, _NAME = "benchmarks", "-resource-baseline"
_OLD = 3600.0  # s
_SAW_ALL = 95.0  # % of the CPU time: less, and short-lived processes matter


def prepare(workspace: Workspace) -> dict[str, Any]:
    """What must not fail once the work is done: the folder is there, and the host's facts are read; returns those.

    Raises ConfigError, OSError.
    """
    from k1ctl.capacity import facts

    folder = workspace.ops_path(FOLDER)
    os.makedirs(folder, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), folder)
    _sweep(folder)
    return facts.read().document()


def _sweep(folder: str) -> None:
    """Take away what a baseline that was killed while it wrote has left."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            ours = f"{_NAME}." in name and name.endswith(".tmp")
            if ours and os.stat(path).st_mtime < time.time() - _OLD:
                os.unlink(path)
        except OSError:
            continue


def document(
    measured: Measured, workspace: Workspace, host: dict[str, Any], *, label: str, class_: str
) -> dict[str, Any]:
    """The whole record of a baseline: figures, samples, and the ``host`` as it was before."""
    from k1ctl import __version__

    measured.sampler.trace.thin()
    trace = measured.sampler.trace
    return {
        "kind": "resource-baseline",
        "version": 1,
        "k1ctl": __version__,
        "label": label,
        "class": class_ or None,
        "workspace": workspace.name,
        "started_at": rfc3339(measured.at),
        "ended_at": rfc3339(measured.at + measured.wall_seconds),
        **measured.document(),
        "host": host,
        "samples": {"columns": [*COLUMNS], "taken": trace.taken, "rows": [[*row] for row in trace.rows]},
    }


def save(workspace: Workspace, found: dict[str, Any], at: float) -> str:
    """Write a record under the name of its minute (UTC), with a number when there is one already; returns its path.

    Its plot lies beside it. Raises OSError.
    """
    folder = workspace.ops_path(FOLDER)
    stem = os.path.join(folder, time.strftime("%Y%m%d-%H%M", time.gmtime(at)) + _NAME)
    temporary = f"{stem}.{os.getpid()}.{os.urandom(3).hex()}.tmp"
    write_atomic(temporary, dumps(found) + "\n")
    try:
        for number in count(1):
            name = stem if number == 1 else f"{stem}-{number}"
            if not os.path.lexists(f"{name}.svg") and _taken_over(temporary, f"{name}.json"):
                break
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)
    write_atomic(f"{name}.svg", svg(found))
    return f"{name}.json"


def _taken_over(temporary: str, path: str) -> bool:
    """Give the file its name, in one step and only when nobody has it; False when somebody does."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a filesystem without links
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        except FileExistsError:
            return False
        os.replace(temporary, path)
    return True


def svg(found: dict[str, Any]) -> str:
    """The plot of a record: memory and CPU over time."""
    rows = found["samples"]["rows"]
    memory = found["memory"]
    resident = "footprint" if memory["peak_metric"] == "footprint" else "RSS, summed"
    series = [plot.Series(resident, [(row[0], row[1]) for row in rows])]
    told = [(row[0], row[2]) for row in rows if row[2] is not None]
    if told:
        series.append(plot.Series("PSS where read", told, plot.DOTS))
    series.append(plot.Series("largest process", [(row[0], row[3]) for row in rows], plot.STEP))
    peak = memory["peak_bytes"]
    levels = [] if peak is None else [(peak, f"peak {format_size(peak)}, {memory['peak_metric'].upper()}")]
    return plot.stacked(
        [
            plot.Panel(series, "memory", plot.BYTES, levels=levels),
            plot.Panel([plot.Series("cores", cores(rows), plot.STEP)], "CPU, cores", height=110),
        ],
        title=name(found),
        x_title=f"time from {found['started_at'][:16].replace('T', ' ')} UTC",
        x_unit=plot.SECONDS,
    )


def cores(rows: list[list[Any]]) -> list[tuple[float, float]]:
    """The cores that were busy from each look to the next one, as steps."""
    steps = [(a[0], max(0.0, (b[5] - a[5]) / (b[0] - a[0]))) for a, b in pairwise(rows) if b[0] > a[0]]
    return [*steps, (rows[-1][0], steps[-1][1])] if steps else []


def name(found: dict[str, Any]) -> str:
    """What a baseline is called: its label, else its command."""
    argv = found["argv"]
    text = found["label"] or " ".join([os.path.basename(argv[0]), *argv[1:]] if argv else [f"process {found['pid']}"])
    return text if len(text) <= 70 else text[:67] + "..."


def told(found: dict[str, Any]) -> list[str]:
    """A record in lines for people."""
    memory, cpu, leak = found["memory"], found["cpu"], found["leak"]
    lines = [
        f"peak    {_peak(memory, cpu['of_processes_seen_percent'])}",
        f"cpu     {format_duration(cpu['seconds'])} in {format_duration(found['wall_seconds'])}, "
        f"{cpu['cores_mean']:.2f} cores ({cpu['source']})",
        f"leak    {leak['text']}",
        f"looks   {_looks(found['sampling'], cpu['of_processes_seen_percent'])}",
    ]
    if found["processes_left"]:
        lines.append(f"left    {found['processes_left']} of its processes go on")
    return lines


def _peak(memory: dict[str, Any], saw: float | None) -> str:
    if memory["peak_bytes"] is None:
        return "not known: it ended before it was looked at"
    most, bound = memory["processes_most"], memory["at_most_bytes"]
    whose = "" if saw is None or saw >= _SAW_ALL else " of what was seen"
    return (
        f"{format_size(memory['peak_bytes'])} {memory['peak_metric'].upper()} ("
        f"{'' if bound is None else f'at most {format_size(bound)}{whose}; '}"
        f"largest process {format_size(memory['largest_process_bytes'])}; {most} process{'es' * (most != 1)} at once)"
    )


def _looks(sampling: dict[str, Any], saw: float | None) -> str:
    missed = sampling["missed"]
    pace = f"{sampling['looks']}, every {format_duration(sampling['interval_seconds'])}"
    if not sampling["looks"]:
        return pace
    if saw is not None and saw < _SAW_ALL:
        pace += f"; {100 - saw:.0f} % of the CPU time fell between looks"
    if missed["of_a_compile_percent"] is None:
        return f"{pace}; short peaks may be missed whole"
    spike = f"{missed['of_a_spike_of_200_ms_percent']} % of a spike of 200 ms"
    return f"{pace}; may miss {missed['of_a_compile_percent']:g} % of a compile's peak and {spike}"


def container(found: dict[str, Any]) -> str:
    """What a container added, in a line."""
    more, text = found["overhead"], f"{found['tool']}, {found['image']}: "
    if not found["ran"]:
        return text + f"did not run, exit code {found['exit_code']}"
    if more["wall_seconds"] is None:
        return text + "was ended before its end; there is nothing to compare"
    if found["exit_code"]:
        text += f"exit code {found['exit_code']}, "
    text += f"{_signed(more['wall_seconds'], format_duration)} of time ({more['wall_percent']:+.0f} %)"
    if more["peak_bytes"] is None:
        return text + "; its processes are not seen from here, so its memory is not known"
    return (
        text + f", {_signed(more['peak_bytes'], format_size)} of memory, "
        f"{_signed(more['cpu_seconds'], format_duration)} of CPU"
    )


def _signed(value: float, shown: Callable[[float], str]) -> str:
    return f"{'-' if value < 0 else '+'}{shown(abs(value))}"
