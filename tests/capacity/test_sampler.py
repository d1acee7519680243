"""The sampler: when it looks, when it asks for PSS, what it keeps, and that peaks are found or bracketed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from k1ctl.capacity import processes, sampler
from k1ctl.capacity.processes import Member, Tree
from k1ctl.capacity.sampler import Sampler, Together, Trace

MB = 1 << 20


class Scene:
    """A tree whose resident bytes follow a function of time, under a clock that only goes when it is told to."""

    def __init__(self, rss, *, share: float = 1.0, pss_takes: float = 0.001, told: bool = True) -> None:  # type: ignore[no-untyped-def]
        self.now, self.rss, self.share, self.pss_takes, self.told = 1000.0, rss, share, pss_takes, told
        self.members: dict[int, Member] = {7: Member(7, b"1")}
        self.pss_at: list[float] = []

    def clock(self) -> float:
        return self.now

    def look(self) -> Tree:
        tree = Tree()
        size = self.rss(self.now - 1000)
        if size is not None:
            tree.take(7, int(size), 0.0)
            self.members[7].high = self.members[7].reached = max(self.members[7].high, int(size))
        return tree

    def pss(self, pids: object) -> tuple[int, bool]:
        self.pss_at.append(self.now - 1000)
        self.now += self.pss_takes
        return int(self.rss(self.now - 1000) * self.share), self.told

    def play(self, seconds: float, interval: float = 1.0) -> Sampler:
        self.sampler = Sampler(interval=interval, clock=self.clock, watch=self, read_pss=self.pss)
        while self.now < 1000 + seconds:
            pause = self.sampler.look()
            if pause is None:
                break
            self.now += pause
        return self.sampler


def times(found: Sampler) -> list[float]:
    return [row[0] for row in found.trace.rows]


def test_it_looks_often_at_first_and_while_memory_moves() -> None:
    """Every 0.25 s for 30 s and while RSS moves by more than 10 %, else every interval."""
    found = times(Scene(lambda t: 100 * MB if t < 60 else 400 * MB).play(90, 5.0))
    gaps = [(a, b - a) for a, b in pairwise(found)]
    assert all(gap < 0.3 for at, gap in gaps if at < 29.5)
    assert all(gap == pytest.approx(5.0) for at, gap in gaps if 30.5 < at < 59.9 or at > 67)
    assert next(gap for at, gap in gaps if at >= 60) < 0.3


def test_pss_is_asked_for_at_new_maxima_and_not_oftener_than_its_price_allows() -> None:
    """A tree that grows for a minute and then keeps still: cheap looks at 5 % more each, dear ones 2 s apart, and a
    tree that stays at its maximum is asked no more."""
    cheap = Scene(lambda t: min(100 + 10 * t, 700) * MB)
    found = cheap.play(300).memory()
    assert len(cheap.pss_at) < 45 and max(cheap.pss_at) < 70
    assert found["peak_metric"] == "pss" and found["peak_bytes"] == pytest.approx(700 * MB, rel=0.05)
    dear = Scene(lambda t: (100 + 200 * t) * MB, pss_takes=0.1)
    dear.play(20)
    assert min(b - a for a, b in pairwise(dear.pss_at)) >= 2.0


def test_pss_is_asked_again_where_less_is_shared() -> None:
    """Eight processes that share their pages, then one that shares none with a smaller sum: its PSS is the peak."""
    scene = Scene(lambda t: 2900 * MB if t < 60 else 2000 * MB)
    scene.pss = lambda pids: ((330 if scene.now < 1060 else 2000) * MB, True)  # type: ignore[method-assign, assignment]
    found = scene.play(200).memory()
    assert (
        found["peak_metric"] == "pss" and found["peak_bytes"] == 2000 * MB and found["rss_sum_peak_bytes"] == 2900 * MB
    )


def test_pss_is_asked_again_where_shared_pages_are_written_to() -> None:
    """Four forked workers make 100 MB their own and end soon: RSS tells nothing of it, their page faults do. Where
    pages are touched all the time, asking stays within half a percent of a core."""
    scene = Scene(lambda t: 500 * MB if t < 5 else None, pss_takes=0.005)

    def pss(pids: object) -> tuple[int, bool]:
        scene.now += scene.pss_takes
        scene.pss_at.append(scene.now)
        return (500 if scene.members[7].faults else 100) * MB, True

    scene.pss = pss  # type: ignore[method-assign]
    rss = scene.rss
    scene.rss = lambda t: (setattr(scene.members[7], "faults", 102_400 * (t > 1)), rss(t))[1]  # type: ignore[func-returns-value]
    found = scene.play(6).memory()
    assert (found["peak_metric"], found["peak_bytes"]) == ("pss", 500 * MB) and len(scene.pss_at) == 2
    busy = Scene(lambda t: 500 * MB, share=0.2, pss_takes=0.005)
    busy.rss = lambda t: (setattr(busy.members[7], "faults", int(t * 1e6)), 500 * MB)[1]  # type: ignore[func-returns-value]
    busy.play(330)
    late = [at for at in busy.pss_at if at > 30]
    assert 0 < len(late) * busy.pss_takes <= 0.005 * 300


def test_a_peak_that_pss_did_not_see_is_told_by_rss() -> None:
    """Over before PSS could be read again, or PSS not told at all: the metric is rss, and says so."""
    scene = Scene(lambda t: 900 * MB if 0.2 < t < 1.5 else 100 * MB, pss_takes=0.1)
    found = scene.play(60).memory()
    assert (found["peak_metric"], found["peak_bytes"]) == ("rss", 900 * MB) and found["pss_peak_bytes"] < 200 * MB
    found = Scene(lambda t: 300 * MB, told=False).play(60).memory()
    assert (found["peak_metric"], found["pss_peak_bytes"]) == ("rss", None)
    seen = Scene(lambda t: 100 * MB).play(60)
    assert seen.memory(largest=500 * MB)["peak_bytes"] == 500 * MB  # wait4 knows of a peak between two looks
    assert seen.memory(largest=500 * MB)["at_most_bytes"] >= 500 * MB
    assert Scene(lambda t: None).play(1).look() is None


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.lists(st.integers(1, 1000), min_size=1, max_size=40)), min_size=1, max_size=12
    ),
    st.integers(1, 15),
)
def test_the_truth_lies_between_what_was_seen_and_the_bound(lives: list[tuple[int, list[int]]], every: int) -> None:
    """Processes whose memory changes at each tick, looked at every few ticks: the largest true sum of those that were
    looked at is no less than what was seen and no more than the bound. Who grows after his last look is left out."""
    bound, seen, truth = Together(), 0, [0] * 120
    highs: list[dict[object, int]] = []
    for at in range(0, 120, every):
        alive = [n for n, (born, sizes) in enumerate(lives) if born <= at < born + len(sizes)]
        highs.append({n: max(lives[n][1][: at - lives[n][0] + 1]) for n in alive})
        bound.look(highs[-1])
        seen = max(seen, sum(lives[n][1][at - lives[n][0]] for n in alive))
    marks = {n: mark for look in highs for n, mark in look.items()}
    for n, (born, sizes) in enumerate(lives):
        for age, size in enumerate(sizes):
            truth[born + age] += min(size, marks.get(n, 0))
    assert seen <= max(truth) <= bound.bytes


@settings(max_examples=30)
@example([(n % 7, n) for n in range(100)])
@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.one_of(st.none(), st.integers(0, 10**9))), min_size=1, max_size=400)
)
def test_a_thinned_trace_keeps_its_ends_its_peaks_and_its_floor(values: list[tuple[int, int | None]]) -> None:
    """However long: at most twice as many rows as wanted, in order, the extremes among them."""
    trace = Trace(kept=30)
    for n, (rss, pss) in enumerate(values):
        trace.add((float(n), rss, pss, rss, 1, 0.0))
        assert len(trace.rows) < 60
    trace.thin()
    rows = trace.rows
    assert len(rows) <= 30 and rows == sorted(rows) and (rows[0][0], rows[-1][0]) == (0.0, float(len(values) - 1))
    assert max(row[1] for row in rows) == max(v[0] for v in values) and min(r[1] for r in rows) == min(
        v[0] for v in values
    )
    assert max(row[2] or 0 for row in rows) == max(v[1] or 0 for v in values) and trace.taken == len(values)


@pytest.mark.skipif(not processes._LINUX, reason="needs VmHWM")
def test_a_spike_between_two_looks_is_found_and_one_of_two_processes_is_bracketed() -> None:
    """One process that has 90 MB for a moment: its high-water mark tells, though no look fell into it. Two children
    that have 60 MB at the same time: the truth lies between what was seen and the bound."""
    alone = "import sys\nx = bytearray(b'x') * (90 << 20)\ndel x\nprint(flush=True)\nsys.stdin.read()"
    twins = (
        "import os, sys\nout, into = os.pipe()\nmay, let = os.pipe()\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0:\n"
        "        x = bytearray(b'x') * (60 << 20); os.write(into, b'x'); os.read(may, 1)\n"
        "        del x; os.write(into, b'x'); break\n"
        "else:\n"
        "    os.read(out, 1), os.read(out, 1), os.write(let, b'xx')\n"
        "    os.read(out, 1), os.read(out, 1), print(flush=True)\n"
        "sys.stdin.read()"
    )
    for code, least, truth in ((alone, 90, 90), (twins, 60, 120)):
        child = subprocess.Popen(
            [sys.executable, "-c", code], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin is not None and child.stdout is not None
        found = Sampler(session=child.pid)
        child.stdout.readline()
        found.look()
        rss = found.peak_row[1] if found.peak_row else 0
        memory = found.memory()
        with child:
            child.kill()
        assert rss < least * MB <= memory["peak_bytes"] and memory["peak_metric"] == "rss"
        assert memory["peak_bytes"] <= truth * MB * 1.5 and truth * MB <= memory["at_most_bytes"]


@pytest.mark.skipif(not processes._LINUX, reason="needs VmHWM")
def test_what_was_before_is_no_peak_of_what_runs_already() -> None:
    """A process that had 90 MB once and is watched since: its past bounds what cannot be told, and is not told as seen;
    a new maximum is."""
    code = (
        "import sys\nx = bytearray(b'x') * (90 << 20)\ndel x\nprint(flush=True)\nsys.stdin.readline()\n"
        "x = bytearray(b'x') * (120 << 20)\ndel x\nprint(flush=True)\nsys.stdin.readline()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    child.stdout.readline()
    found = Sampler(root=child.pid)
    found.look()
    memory = found.memory()
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.stdout.readline()
    found.look()
    with child:
        child.kill()
    assert memory["largest_process_bytes"] < 60 * MB and memory["peak_bytes"] < 60 * MB
    assert memory["at_most_bytes"] >= 90 * MB and found.memory()["peak_bytes"] >= 120 * MB


def test_what_an_interval_may_miss_is_named() -> None:
    """By the measured table; slower than it goes, nothing is promised."""
    assert sampler.missed(1.0) == {"of_a_compile_percent": 1.8, "of_a_spike_of_200_ms_percent": 25}
    assert sampler.missed(0.2)["of_a_spike_of_200_ms_percent"] == 0
    assert sampler.missed(60.0) == {"of_a_compile_percent": None, "of_a_spike_of_200_ms_percent": None}


def test_its_own_cost_is_told() -> None:
    """Looks and CPU seconds of the sampler itself."""
    found = Scene(lambda t: 100 * MB).play(10).sampling()
    assert 40 <= found["looks"] <= 48 and found["own_cpu_seconds"] >= 0 and time.process_time() > 0


def test_on_a_mac_it_is_the_footprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers made after Apple's documentation: the footprint is what counts, its lifetime maximum bounds it, there is
    no PSS, and the RSS that wait4 tells is another measure."""
    monkeypatch.setattr(processes, "_LINUX", False)
    monkeypatch.setattr("k1ctl.capacity.footprint.footprint", lambda pid: (50 * MB, 80 * MB))
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(sysname="Darwin"))
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    found = Sampler(session=child.pid, read_pss=lambda pids: (0, True))
    found.look()
    with child:
        child.kill()
    memory = found.memory(largest=900 * MB)
    assert (memory["peak_metric"], memory["peak_bytes"], memory["at_most_bytes"]) == ("footprint", 80 * MB, 80 * MB)
    assert memory["rss_sum_peak_bytes"] == 50 * MB and memory["pss_peak_bytes"] is None
    assert found.last is not None and found.last[2] is None
