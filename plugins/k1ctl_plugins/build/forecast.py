"""How long a build will take: the median of those like it, kept in ``ops/builds/<target>/<variant>.seconds``.

Like it means: the same target, environment and optimisation in this repository, and whether it started from nothing.
How much of an incremental build is out of date, nobody knows before it ends; the median of the recent ones stands
for it. A line is ``<from nothing: 1 or 0> <seconds>``.
"""

from __future__ import annotations

from k1ctl.artifacts import file_name
from k1ctl.files import append_recent, read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.builds import BuildCommand, BuildRequest

_KEEP = 15  # builds the median is taken over
_LATE = 1.0  # s behind the expected end from which a build is told to take longer
_LIMIT = 8192  # bytes a file may grow to before the older half is dropped


def expected(request: BuildRequest, command: BuildCommand, from_nothing: bool) -> float | None:
    """Seconds that the command will probably run, or None without an earlier build like it."""
    times = []
    for line in (read_bytes(_file(request, command)) or b"").splitlines():
        sort, _, seconds = line.partition(b" ")
        try:
            if sort == b"%d" % from_nothing:
                times.append(float(seconds))
        except ValueError:
            continue
    recent = sorted(times[-_KEEP:])
    return recent[len(recent) // 2] if recent else None


def add(request: BuildRequest, command: BuildCommand, from_nothing: bool, seconds: float) -> None:
    """Remember a build that succeeded. A full disk loses only the estimate."""
    append_recent(_file(request, command), f"{from_nothing:d} {seconds:.3f}", _LIMIT)


def left(expected_seconds: float | None, elapsed: float) -> str:
    """What the live line adds: ``, about 12 s left``; "" when nothing can be said."""
    from k1ctl.units import format_duration

    if expected_seconds is None:
        return ""
    rest = expected_seconds - elapsed
    if rest > 0:
        return f", about {format_duration(max(1, round(rest)))} left".replace(".0 s", " s")
    return f", longer than the usual {format_duration(expected_seconds)}" if rest < -_LATE else ", about done"


def _file(request: BuildRequest, command: BuildCommand) -> str:
    name = file_name(command.variant or "-") + ("+release" if request.release else "")
    return request.workspace.ops_path("builds", file_name(request.target), f"{name}.seconds")
