"""Crashes are recognised in what a device prints, however it was cut into pieces."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.device.console.panic import LONGEST, Panic, Reader

# The texts are those of esp-idf's documentation ("Fatal Errors", "Watchdogs") and of its panic handler's sources.
REGISTERS = """\
Core 0 register dump:
PC      : 0x400e14ed  PS      : 0x00060030  A0      : 0x800d0805  A1      : 0x3ffb5030
A2      : 0x00000000  A3      : 0x00000001  A4      : 0x00000001  A5      : 0x3ffb50dc
A14     : 0x3ffb7078  A15     : 0x00000000  SAR     : 0x00000014  EXCCAUSE: 0x0000001d
EXCVADDR: 0x00000000  LBEG    : 0x4000c46c  LEND    : 0x4000c477  LCOUNT  : 0xffffffff

Backtrace: 0x400e14ed:0x3ffb5030 0x400d0802:0x3ffb5050

ELF file SHA256: 1a2b3c4d5e6f7081

Rebooting...
"""
GURU = "Guru Meditation Error: Core 0 panic'ed (StoreProhibited). Exception was unhandled.\n\n" + REGISTERS
SMASHED = """\
Stack smashing protect failure!

abort() was called at PC 0x400d2138 on core 0

Backtrace: 0x4008e6c0:0x3ffc1780 0x4008e8b7:0x3ffc17a0 0x400d2138:0x3ffc17c0
"""
HEAP = """\
CORRUPT HEAP: Bad tail at 0x3ffe270a. Expected 0xbaad5678 got 0xbaac5678
assertion "head != NULL" failed: file "/Users/user/esp/esp-idf/components/heap/multi_heap_poisoning.c", line 201
abort() was called at PC 0x400dca43 on core 0
"""
CANARY = (
    """\
Guru Meditation Error: Core  0 panic'ed (Unhandled debug exception).
Debug exception reason: Stack canary watchpoint triggered (main)
"""
    + REGISTERS
)
TASK_WATCHDOG = """\
E (10653) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:
E (10653) task_wdt:  - IDLE0 (CPU 0)
E (10653) task_wdt: Tasks currently running:
E (10653) task_wdt: CPU 0: main
E (10653) task_wdt: CPU 1: IDLE1
E (10653) task_wdt: Print CPU 0 (current core) backtrace
Backtrace: 0x420073EA:0x3FC95D80 0x42007789:0x3FC95DA0
"""
INTERRUPT = """\
Guru Meditation Error: Core  1 panic'ed (Interrupt wdt timeout on CPU1).

Core  1 register dump:
PC      : 0x420081b2  PS      : 0x00060034  A0      : 0x82012f50  A1      : 0x3fcebe20

Backtrace: 0x420081af:0x3fcebe20 0x42012f4d:0x3fcebe40

Core  0 register dump:
PC      : 0x40378f1e  PS      : 0x00060634  A0      : 0x82003b3d  A1      : 0x3fcb7a10

Backtrace: 0x40378f1b:0x3fcb7a10 0x42003b3a:0x3fcb7a30 |<-CORRUPTED
"""
ERROR_CHECK = """\
ESP_ERROR_CHECK failed: esp_err_t 0x107 (ESP_ERR_TIMEOUT) at 0x400d1fdf

file: "/Users/user/esp/example/main/main.c" line 20
func: app_main
expression: sdmmc_card_init(host, &card)

abort() was called at PC 0x400d1fdf on core 0

Backtrace: 0x400d1fdc:0x3ffb5030
"""
RISCV = """\
Guru Meditation Error: Core  0 panic'ed (Illegal instruction). Exception was unhandled.

Core  0 register dump:
MEPC    : 0x420048b4  RA      : 0x420048b4  SP      : 0x3fc8f2f0  GP      : 0x3fc8a600
MSTATUS : 0x00001881  MTVEC   : 0x40380001  MCAUSE  : 0x00000007  MTVAL   : 0x00000000
"""
RST = "ESP-ROM:esp32s3-20210327\nBuild:Mar 27 2021\nrst:{},boot:0x8 (SPI_FAST_FLASH_BOOT)\n"

TABLE: list[tuple[str, dict[str, Any]]] = [
    (GURU, {"kind": "guru", "reason": "StoreProhibited", "core": 0, "pc": "0x400e14ed", "elf": "1a2b3c4d5e6f7081"}),
    (GURU.replace("StoreProhibited", "Double exception"), {"kind": "guru", "reason": "Double exception"}),
    (GURU.replace("StoreProhibited", "Cache disabled but cached memory region accessed"), {"kind": "cache-error"}),
    (GURU.replace("StoreProhibited", "Memory protection fault"), {"kind": "memory-protection"}),
    (GURU.replace("StoreProhibited", "Stack protection fault"), {"kind": "stack-overflow"}),
    (CANARY, {"kind": "stack-canary", "task": "main", "pc": "0x400e14ed"}),
    (INTERRUPT, {"kind": "interrupt-watchdog", "core": 1, "pc": "0x420081b2", "corrupted": True}),
    (SMASHED, {"kind": "stack-smashing", "pc": "0x400d2138", "core": 0}),
    (HEAP, {"kind": "corrupt-heap", "pc": "0x400dca43"}),
    (TASK_WATCHDOG, {"kind": "task-watchdog", "task": "IDLE0 (CPU 0)", "pc": "0x420073ea"}),
    (ERROR_CHECK, {"kind": "error-check", "pc": "0x400d1fdf"}),
    (
        "abort() was called at PC 0x42001234 on core 1\n\nBacktrace: 0x42001231:0x3fcebe20\n",
        {"kind": "abort", "core": 1},
    ),
    (
        "assert failed: xQueueGenericSend queue.c:832 (pxQueue->pcHead != ((void *)0))\n\nBacktrace: 0x4:0x5\n",
        {"kind": "assert", "pc": "0x4"},
    ),
    ("***ERROR*** A stack overflow in task loopTask has been detected.\n", {"kind": "stack-overflow"}),
    ("Undefined behavior of type out_of_bounds\n\nBacktrace:0x4:0x5\n", {"kind": "undefined-behavior"}),
    (RISCV, {"kind": "guru", "reason": "Illegal instruction", "pc": "0x420048b4"}),
    ("\nBrownout detector was triggered\n\n" + RST.format("0x3 (RTC_SW_SYS_RST)"), {"kind": "brownout"}),
    (RST.format("0xf (RTCWDT_BROWN_OUT_RESET)"), {"kind": "brownout"}),
    (RST.format("0x10 (RTCWDT_RTC_RST)"), {"kind": "watchdog"}),
    (RST.format("0x8 (TG1WDT_SYS_RST)"), {"kind": "watchdog"}),
]


def read(*pieces: bytes) -> Reader:
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
    reader.close()
    return reader


@pytest.mark.parametrize(("text", "wanted"), TABLE, ids=[f"{w['kind']}-{n}" for n, (_, w) in enumerate(TABLE)])
def test_recorded_texts(text: str, wanted: dict[str, Any]) -> None:
    """Each text of the panic handler, also with colours, behind a prompt and with CR LF, is one panic of its kind."""
    coloured = f"k1> \x1b[0;31m{text}\x1b[0m".replace("\n", "\r\n").replace("Backtrace", "\x1b[1mBacktrace\x1b[0m")
    for way in (text, coloured):
        (panic,) = read(way.encode()).panics
        assert {key: getattr(panic, key) for key in wanted} == wanted


def test_both_cores() -> None:
    """The backtrace is that of the core that panicked; the other core's is kept beside it."""
    (panic,) = read(INTERRUPT.encode()).panics
    assert panic.backtrace == [("0x420081af", "0x3fcebe20"), ("0x42012f4d", "0x3fcebe40")]
    assert panic.backtraces[1][0] == ("0x40378f1b", "0x3fcb7a10")
    assert panic.registers["PC"] == "0x420081b2"


def test_a_warning_of_the_task_watchdog_is_over_with_the_next_line() -> None:
    """Where it does not abort the app goes on: the panic is complete with the app's next line."""
    reader = Reader()
    assert reader.feed(TASK_WATCHDOG.encode()) == []
    (panic,) = reader.feed(b"I (11000) main: still here\n")
    assert panic.kind == "task-watchdog"


def test_a_device_that_halts() -> None:
    """A panic without an end is complete when nothing more comes."""
    reader = Reader()
    assert reader.feed(GURU.partition("ELF file")[0].encode()) == []
    (panic,) = reader.settle()
    assert panic.kind == "guru" and len(panic.backtrace) == 2


def test_resets() -> None:
    """Why it started is told each time; a watchdog's reset behind a panic's text is no panic of its own."""
    text = RST.format("0x1 (POWERON)") + GURU + RST.format("0x7 (TG0WDT_SYS_RST)") + RST.format("0xc (RTC_SW_CPU_RST)")
    reader = read(text.encode())
    assert [r.reason for r in reader.resets] == ["POWERON", "TG0WDT_SYS_RST", "RTC_SW_CPU_RST"]
    assert [p.kind for p in reader.panics] == ["guru"]
    assert str(reader.resets[0]) == "rst:0x1 (POWERON)" and reader.resets[0].boot == "0x8 (SPI_FAST_FLASH_BOOT)"


def test_what_is_no_panic() -> None:
    """Words that only resemble one are left alone."""
    text = "I (1) app: abort requested\nE (2) app: assert?\nBacktrace: none\nPC      : 0x40000000\nI was reset\n"
    reader = read(text.encode())
    assert reader.panics == [] and reader.resets == []


def test_a_megabyte_without_a_line_end() -> None:
    """Bytes without an end of line, NULs and what is no UTF-8 cost no memory, and the panic behind them is found."""
    reader = Reader()
    for _ in range(64):
        reader.feed(bytes(range(10)) * 100 + b"\xff\xfe\x00" * 5000)
        assert len(reader.rest) <= LONGEST
    reader.feed(b"\n" + GURU.replace("Guru", "G\0uru").encode())
    assert [p.kind for p in reader.panics] == ["guru"]


EVERYTHING = "".join(text for text, _ in TABLE)
CUTS = st.lists(st.integers(0, len(EVERYTHING.encode())), max_size=30)


def told(panics: list[Panic]) -> list[dict[str, Any]]:
    return [panic.document() for panic in panics]


@given(cuts=CUTS, junk=st.binary(max_size=40))
def test_pieces(cuts: list[int], junk: bytes) -> None:
    """However the output was cut into pieces, and whatever came before it, the panics are the same."""
    data = junk + b"\n" + EVERYTHING.encode()
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    whole, cut = read(data), read(*pieces)
    assert told(cut.panics) == told(whole.panics) and cut.resets == whole.resets
    assert len(whole.panics) == len(TABLE)
