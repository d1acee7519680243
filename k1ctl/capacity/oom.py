"""Whether a command ended for lack of memory, told without trusting its exit code, and the limit that fits next time.

A killed leaf surfaces as 137 through sh, as 2 through make, as 1 through ninja and gcc, as 125 through xargs, and not
at all through a pipeline; a program that exits with 137 by itself lacked nothing. So evidence is: our own kill, the
kernel's counters (memory.events, memory.oom_control, oom_kill of /proc/vmstat), and what runtimes print.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_MIB = 1 << 20


class Verdict:
    """Memory was the reason.

    ``by``: limit (our watchdog), cgroup, kernel, or program (it gave up by itself); ``confidence``: certain, likely,
    possible; ``evidence`` sentences; ``guilty`` {pid, name, rss_bytes} or None; ``next_limit`` bytes that are worth a
    try (0: nothing to go by); ``message`` one line.
    """

    __slots__ = ("by", "confidence", "evidence", "guilty", "message", "next_limit")

    def __init__(
        self,
        by: str,
        confidence: str,
        message: str,
        evidence: Sequence[str],
        guilty: Mapping[str, Any] | None,
        next_limit: int,
    ) -> None:
        self.by, self.confidence, self.message, self.evidence = by, confidence, message, list(evidence)
        self.guilty, self.next_limit = dict(guilty) if guilty else None, next_limit

    def document(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {
            "by": self.by,
            "confidence": self.confidence,
            "message": self.message,
            "evidence": self.evidence,
            "guilty": self.guilty,
            "next_limit_bytes": self.next_limit or None,
        }

    @property
    def worth_more(self) -> bool:
        """Whether another attempt with more memory may do: not for a guess, nor where a program has its own limit."""
        return self.confidence != "possible" and self.next_limit > 0


# what runtimes and compilers print when memory is refused: (pattern, who, what raises the limit of its own that it met)
_WORDS = (
    (
        rb"JavaScript heap out of memory|FATAL ERROR: .*(?:Allocation failed|heap limit)",
        "V8",
        "node --max-old-space-size",
    ),
    (rb"ERR_WORKER_OUT_OF_MEMORY", "node worker", "its resourceLimits"),
    (rb"Array buffer allocation failed", "V8", ""),
    (rb"java\.lang\.OutOfMemoryError", "the JVM", "java -Xmx"),
    (rb"insufficient memory for the Java Runtime Environment", "the JVM", ""),
    (rb"(?m)^(?:\w+\.)*_?(?:Array)?MemoryError\b", "Python", ""),
    (rb"std::bad_alloc", "C++", ""),
    (rb"virtual memory exhausted|out of memory allocating \d+ bytes", "gcc", ""),
    (rb"fatal error: (?:runtime: )?(?:out of memory|cannot allocate memory)", "Go", ""),
    (rb"memory allocation of \d+ bytes failed", "Rust", ""),
    (rb"LLVM ERROR: out of memory", "LLVM", ""),
    (rb"(?:ld|ld\.\w+|collect2)\S*: (?:fatal error: )?.*memory exhausted", "the linker", ""),
    (rb"Cannot allocate memory|\bENOMEM\b", "the system", ""),
)
# what wrappers print of a child that SIGKILL ended; the group is the child's name where they tell it
_KILLED = (
    rb"fatal error: Killed signal terminated program (\S+)",
    rb"collect2: (?:fatal )?error: (\S+) terminated with signal 9",
    rb"(?m)^xargs: (\S+): terminated by signal 9",
    rb"(?m)^make(?:\[\d+\])?: \*\*\* .*\bKilled\b",
    rb"died with <Signals\.SIGKILL|BrokenProcessPool|BrokenExecutor",
    rb"(?:signal|SIGKILL)\W+.?SIGKILL|npm (?:ERR!|error) signal SIGKILL",
    rb"\(signal: 9, SIGKILL",
    rb"(?m)^(?:.*: )?(?:line )?\d*:? *\d* *Killed\b",
)
_CERTAIN, _LIKELY, _POSSIBLE = "certain", "likely", "possible"
_TAIL = 64 << 10  # bytes of a log that are read
_FULL = 0.8  # of its limit that a program had to use before more may help one that was refused memory


def next_limit(limit: int, peak: int) -> int:
    """The limit that fits next time: what was used and 100 MiB or a fifth more, whichever is more; in whole MiB.

    (As the Vertical Pod Autoscaler takes an OOM into account.) 0 when nothing is known of what was used.
    """
    base = max(limit, peak)
    return -(-max(base + 100 * _MIB, base * 6 // 5) // _MIB) * _MIB if base else 0


def verdict(
    judged: Mapping[str, Any] | None,
    *,
    limit: int = 0,
    peak: int = 0,
    status: int = 0,
    tail: bytes = b"",
    cgroup_kills: int = 0,
    kernel_kills: int | None = None,
) -> Verdict | None:
    """The verdict, or None when nothing says that memory lacked.

    ``judged``: what the watchdog left when it ended the command; ``limit`` and ``peak`` bytes; ``status``: the exit
    code, negative for a signal; ``tail`` of what it printed; ``cgroup_kills``: how many of it the kernel ended in its
    cgroup; ``kernel_kills``: how many on the whole host meanwhile (None where nobody tells).
    """
    if judged is not None:
        if judged.get("code") != "oom":
            return None  # we ended it for another reason
        peak = max(peak, int(judged.get("peak_bytes") or 0))
        message = str(judged.get("message", ""))
        found = [f"the watchdog ended it: {message}"]
        by = str(judged.get("by") or "limit")
        return Verdict(by, _CERTAIN, message, found, judged.get("guilty"), next_limit(limit, peak))
    killed, name = _killed(tail)
    guilty = {"pid": None, "name": name, "rss_bytes": None} if name else None
    if cgroup_kills:
        message = f"the kernel ended {cgroup_kills} of its processes at the limit of its cgroup"
        return Verdict("cgroup", _CERTAIN, message, [message, *killed], guilty, next_limit(limit, peak))
    died = status == -9
    signs = [*(["SIGKILL, and not by k1ctl"] if died else []), *killed]
    if kernel_kills and (signs or status == 137):
        counted = f"oom_kill of /proc/vmstat grew by {kernel_kills} meanwhile"
        sure = _LIKELY if signs else _POSSIBLE  # 137 may be the program's own, and the kernel's kill another's
        message = "the kernel ended it, or a process of it, for lack of memory on the host"
        found = [counted, *(signs or ["exit code 137"])]
        return Verdict("kernel", sure, message, found, guilty, next_limit(limit, peak))
    told = _told(tail)
    if told is not None:
        return _program(told, status, limit, peak)
    if died and kernel_kills is None:
        return Verdict("kernel", _POSSIBLE, "killed by nobody that is known; the system does not tell whom it ends",
                       signs, guilty, next_limit(0, peak))  # fmt: skip
    return None


def _program(told: tuple[str, str, str], status: int, limit: int, peak: int) -> Verdict:
    """A program says itself that memory was refused; one that exits with 0 got over it."""
    who, line, own = told
    sure = _POSSIBLE if status == 0 else _LIKELY
    fits = 0 if peak < limit * _FULL else next_limit(limit, peak)  # far below it, it was not our limit that refused
    message = f"{who} was refused memory: {line}"
    if own and not fits:
        message += f" (a limit of its own, which {own} raises)"
    return Verdict(
        "program", sure, message, [f"it printed: {line}"], {"pid": None, "name": who, "rss_bytes": None}, fits
    )


def _told(tail: bytes) -> tuple[str, str, str] | None:
    import re

    for pattern, who, own in _WORDS:
        match = re.search(pattern, tail)
        if match:
            return who, _line(tail, match.start()), own
    return None


def _killed(tail: bytes) -> tuple[list[str], str]:
    """(the line that tells of a killed child, the child's name where it is told)."""
    import re

    for pattern in _KILLED:
        match = re.search(pattern, tail)
        if match:
            name = match.group(1).decode("utf-8", "replace") if match.groups() else ""
            return [f"it printed: {_line(tail, match.start())}"], name
    return [], ""


def _line(tail: bytes, at: int) -> str:
    start, end = tail.rfind(b"\n", 0, at) + 1, tail.find(b"\n", at)
    text = tail[start : end if end >= 0 else len(tail)].decode("utf-8", "replace").strip()
    return text if len(text) <= 160 else text[:157] + "..."


def kernel_kills() -> int | None:
    """How many processes the kernel ended for lack of memory since boot (oom_kill of /proc/vmstat); None: not told."""
    try:
        with open("/proc/vmstat", "rb") as f:
            for line in f:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def tail_of(file: int | str, *, start: int = 0) -> bytes:
    """The last part of what was printed into a file, by path or by descriptor, from ``start`` on."""
    import os
    import stat

    try:
        fd = os.open(f"/dev/fd/{file}" if isinstance(file, int) else file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return b""
        return os.pread(fd, _TAIL, max(start, status.st_size - _TAIL))
    finally:
        os.close(fd)
