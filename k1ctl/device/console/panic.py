"""Recognises in a device's output that it crashed: the texts of the ESP32's panic handler, and why the ROM began anew.

Source: esp-idf's documentation, "Fatal Errors" and "Watchdogs"; the ROM's first line ``rst:0xNN (REASON),boot:0xNN``.
Colours are taken away for recognition only. What is found does not depend on how the output was cut into pieces.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST = 8192  # bytes of a line that are looked at
KEPT_PANICS = 1000  # of a device that crashes for days
_LINES = 120  # after which a panic without an end is over: both cores' registers and a core dump's first lines
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_RESET = re.compile(r"\brst:(0x[0-9a-f]+) \(([^)]*)\)(?:,boot:(0x[0-9a-f]+(?: \([^)]*\))?))?", re.IGNORECASE)
_GURU = re.compile(r"Guru Meditation Error: Core\s+(\d+) panic'ed \((.*?)\)(?:\.|$)")
_ABORT = re.compile(r"abort\(\) was called at PC (0x[0-9a-f]+)(?: on core (\d+))?", re.IGNORECASE)
_CANARY = re.compile(r"Stack canary watchpoint triggered \((.*)\)")
_REGISTER = re.compile(r"\b([A-Z][A-Z0-9/]{1,8})\s*: (0x[0-9a-f]{8})\b", re.IGNORECASE)
_BACKTRACE = re.compile(r"Backtrace:((?:\s*0x[0-9a-f]+:0x[0-9a-f]+)+)(.*)", re.IGNORECASE)
_PAIR = re.compile(r"(0x[0-9a-f]+):(0x[0-9a-f]+)", re.IGNORECASE)
_ELF = re.compile(r"ELF file SHA256:\s*([0-9a-f]+)\b", re.IGNORECASE)
_DUMP = re.compile(r"Core\s+(\d+) register dump:")
_LOGGED = re.compile(r"^(?:[EWIDV] \(\d+\) |\[[EWIDV]\])")
_IDLE = re.compile(r"task_wdt: {1,2}- (.+)")

# What begins a panic, in the order in which they are looked for: kind, pattern; group 1 is the reason, if there is one.
_HEADS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("task-watchdog", r"(Task watchdog got triggered\.[^\r\n]*)"),
        ("brownout", r"(Brownout detector was triggered)"),
        ("stack-overflow", r"\*\*\*ERROR\*\*\* (A stack overflow in task .* has been detected)"),
        ("stack-smashing", r"(Stack smashing protect failure!.*)"),
        ("corrupt-heap", r"(CORRUPT HEAP: .*)"),
        ("assert", r"(assert failed: .*|assertion \".*\" failed.*)"),
        ("error-check", r"(ESP_ERROR_CHECK failed: .*)"),
        ("undefined-behavior", r"(Undefined behavior of type .*)"),
    )
)
_ABORTING = {"stack-overflow", "stack-smashing", "corrupt-heap", "assert", "error-check", "undefined-behavior"}
_KINDS = (  # of a guru meditation: what its reason contains
    ("interrupt-watchdog", "interrupt wdt"),
    ("interrupt-watchdog", "interrupt watchdog"),
    ("stack-overflow", "stack protection fault"),
    ("cache-error", "cache"),
    ("memory-protection", "memory protection"),
)


class Reset(NamedTuple):
    """Why the ROM began: the ``code`` and ``reason`` of its first line, and its ``boot`` mode."""

    code: str
    reason: str
    boot: str = ""

    def __str__(self) -> str:
        return f"rst:{self.code} ({self.reason})"


class Panic:
    """One crash: ``kind`` (guru, abort, assert, brownout, task-watchdog, ...), ``reason`` in the device's words.

    ``core`` and ``pc`` where they were told, ``task`` whose stack overflowed, ``registers`` by name, ``backtraces`` of
    (pc, sp) pairs with the panicking core's first, ``corrupted``: the stack was, so that it ends early; ``elf`` the
    first digits of the SHA-256 of the ELF file that the app says it was linked to.
    """

    def __init__(self, kind: str, reason: str, core: int | None = None) -> None:
        self.kind, self.reason, self.core = kind, reason, core
        self.pc, self.task, self.elf, self.corrupted = "", "", "", False
        self.registers: dict[str, str] = {}
        self.backtraces: list[list[tuple[str, str]]] = []

    @property
    def backtrace(self) -> list[tuple[str, str]]:
        """The (pc, sp) pairs of the core that panicked, innermost first."""
        return self.backtraces[0] if self.backtraces else []

    def __str__(self) -> str:
        where = f" at {self.pc}" if self.pc else ""
        from k1ctl.output import clean

        return clean(f"{self.kind}: {self.reason}{where}")

    def document(self) -> dict[str, Any]:
        """As JSON tells it."""
        return {
            "kind": self.kind,
            "reason": self.reason,
            "core": self.core,
            "pc": self.pc,
            "task": self.task,
            "registers": dict(self.registers),
            "backtrace": [{"pc": pc, "sp": sp} for pc, sp in self.backtrace],
            "backtrace_corrupted": self.corrupted,
            "elf_sha256": self.elf,
        }


class Reader:
    """Reads a device's output; ``panics`` and ``resets`` are what came so far, the last thousand; ``count`` panics in
    all."""

    def __init__(self) -> None:
        self.count = 0
        self.panics: list[Panic] = []
        self.resets: list[Reset] = []
        self.open: Panic | None = None
        self.left = 0  # lines that the open panic may still have
        self.rest = b""
        self.crashed = False  # since the last start

    def feed(self, data: bytes) -> list[Panic]:
        """Take a piece of output; the panics that are complete with it."""
        before = self.count
        *lines, rest = (self.rest + data).split(b"\n")
        self.rest = rest[:LONGEST]
        for line in lines:
            self._line(plain(line[:LONGEST]))
        return self._since(before)

    def _since(self, before: int) -> list[Panic]:
        new = self.panics[len(self.panics) - (self.count - before) :]
        for each in (self.panics, self.resets):
            del each[:-KEPT_PANICS]
        return new

    def settle(self) -> list[Panic]:
        """Nothing came for a while: a panic that has begun is complete, as on a device that halts."""
        before = self.count
        self._end()
        return self._since(before)

    def close(self) -> list[Panic]:
        """The output is over, or goes on somewhere else."""
        before = self.count
        found = self.feed(b"\n")
        self._end()
        return [*found, *self._since(before + len(found))]

    def _end(self) -> None:
        if self.open is not None:
            self._is(self.open)
            self.open, self.crashed = None, True

    def _is(self, panic: Panic) -> None:
        self.panics.append(panic)
        self.count += 1

    def _line(self, line: str) -> None:
        reset = _RESET.search(line)
        if reset:
            self._started(Reset(reset[1], reset[2], reset[3] or ""))
            return
        if self._begins(line) or self.open is None:
            return
        self.left -= 1
        self._collect(self.open, line)
        if self.left <= 0 or line.startswith(("Rebooting...", "ESP-ROM:")):
            self._end()

    def _started(self, reset: Reset) -> None:
        self._end()
        self.resets.append(reset)
        kind = "brownout" if "BROWN" in reset.reason.upper() else "watchdog" if "WDT" in reset.reason.upper() else ""
        if kind and not self.crashed:  # it said nothing before: the supply fell too fast, or interrupts were off
            self._is(Panic(kind, f"reset by {reset.reason} ({reset.code})"))
        self.crashed = False

    def _begins(self, line: str) -> bool:
        guru = _GURU.search(line)
        if guru:
            kind = next((kind for kind, text in _KINDS if text in guru[2].lower()), "guru")
            self._begin(Panic(kind, guru[2], int(guru[1])))
            return True
        for kind, pattern in _HEADS:
            found = pattern.search(line)
            if found and not (kind == "assert" and self.open is not None and self.open.kind == "corrupt-heap"):
                self._begin(Panic(kind, found[1].strip()))
                return True
        abort = _ABORT.search(line)
        if not abort:
            return False
        core = int(abort[2]) if abort[2] else None
        if self.open is None or self.open.kind not in _ABORTING | {"task-watchdog"} or self.open.pc:
            self._begin(Panic("abort", "abort() was called", core))
        assert self.open is not None
        self.open.pc, self.open.core = abort[1].lower(), core  # what came before it says why
        self.open.backtraces.clear()  # a task watchdog prints the one of the task that was running, too
        return True

    def _begin(self, panic: Panic) -> None:
        self._end()
        self.open, self.left = panic, _LINES

    def _collect(self, panic: Panic, line: str) -> None:
        canary, dump, trace, elf = (p.search(line) for p in (_CANARY, _DUMP, _BACKTRACE, _ELF))
        if canary:
            panic.kind, panic.task = "stack-canary", canary[1]
            panic.reason = f"stack canary watchpoint triggered ({canary[1]})"
        elif trace:
            panic.backtraces.append([(pc.lower(), sp.lower()) for pc, sp in _PAIR.findall(trace[1])])
            panic.corrupted = panic.corrupted or "CORRUPTED" in trace[2]
            if not panic.pc:
                panic.pc = panic.backtrace[0][0]
        elif elf:
            panic.elf = elf[1].lower()
        elif panic.kind == "task-watchdog" and (starved := _IDLE.search(line)):
            panic.task = ", ".join(filter(None, [panic.task, starved[1].strip()]))
        elif panic.kind == "task-watchdog" and panic.backtraces and _LOGGED.match(line) and "task_wdt" not in line:
            self._end()  # it only warned: the app goes on
        elif not dump and not panic.backtraces:
            for name, value in _REGISTER.findall(line):
                panic.registers.setdefault(name, value.lower())
            panic.pc = panic.pc or panic.registers.get("PC") or panic.registers.get("MEPC") or ""


def plain(line: bytes) -> str:
    """A line as text without colours, cursor movements, NULs and the return at its end."""
    text = line.replace(b"\0", b"").decode("utf-8", "replace")
    return ANSI.sub("", text).replace("\r", "")
