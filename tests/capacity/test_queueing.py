"""The model of turns against closed forms, conservation laws, and a hand calculation."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity.queueing import (
    Bounds,
    Kind,
    Model,
    erlang_c,
    knee,
    mean_wait,
    mmc_wait,
    mmc_wait_quantile,
    quantile,
    simulate,
)
from k1ctl.capacity.variates import BINS, quantiles


def model(agents: int = 12, slots: int = 4, think: float = 840.0, build: float = 270.0, **more: float) -> Model:
    """The annex's mixed load unless told otherwise."""
    kind = Kind("fw", slots, build, uploads=more.pop("uploads", 0.6), cv=more.pop("cv", 0.6))
    return Model(agents, think, [kind], more.pop("upload", 42.0), **more)  # type: ignore[arg-type]


def machine_repair(machines: int, repairers: int, think: float, repair: float) -> tuple[float, float]:
    """Throughput and mean response of the machine-repair model M/M/c//N, from its birth and death equations."""
    weights = [1.0]
    for down in range(1, machines + 1):
        weights.append(weights[-1] * (machines - down + 1) / think * repair / min(down, repairers))
    total = sum(weights)
    rate = sum(w * min(n, repairers) / repair for n, w in enumerate(weights)) / total
    return rate, sum(n * w for n, w in enumerate(weights)) / total / rate


@pytest.mark.parametrize("cv", [0.0, 0.2, 0.6, 1.0, 1.7, 3.0])
def test_the_table_of_variates_has_the_moments_of_its_distribution(cv: float) -> None:
    """Mean 1 exactly; the coefficient of variation within 0.3 %; in order and never negative."""
    table = quantiles(cv)
    assert len(table) == BINS
    assert sum(table) / BINS == pytest.approx(1, abs=1e-9)
    assert math.sqrt(sum((x - 1) ** 2 for x in table) / BINS) == pytest.approx(cv, rel=3e-3)
    assert all(b - a > -1e-9 for a, b in pairwise(table))
    assert table[0] >= 0


@pytest.mark.parametrize("cv", [5e-324, 1e-16, 1e-12, 9e-4])
def test_times_that_differ_by_no_more_than_rounding_are_constant(cv: float) -> None:
    """Thirty builds of 0.1 s have a variation of 1e-16: not 0, and no gamma distribution either."""
    assert quantiles(cv) == [1.0] * BINS


def test_the_exponential_table_is_that_of_the_logarithm() -> None:
    """cv 1: the n-th part's mean is the quantile of its middle, -ln(1 - p), within 0.01 up to the 99.5th percentile;
    the last part is what is beyond ln(4096), on average 1 more."""
    table = quantiles(1.0)
    for n, x in enumerate(table[: BINS * 995 // 1000]):
        assert x == pytest.approx(-math.log(1 - (n + 0.5) / BINS), abs=0.01)
    assert table[-1] == pytest.approx(math.log(BINS) + 1, abs=0.01)


def test_erlang_c_gives_the_values_of_the_tables() -> None:
    """One server: the load itself. Offered 1, 3, 12 on 2, 5, 18: 33 %, 24 %, 8 % wait."""
    assert erlang_c(1, 0.3) == pytest.approx(0.3)
    assert [round(erlang_c(c, a), 2) for c, a in ((2, 1), (5, 3), (18, 12))] == [0.33, 0.24, 0.08]
    assert erlang_c(4, 4) == 1.0
    assert erlang_c(10**15, 5.0) == 0.0, "at once: servers beyond any load are not gone through"
    assert mmc_wait(4, 1, 4) == math.inf == mmc_wait_quantile(4, 1, 4, 0.9)


def test_the_wait_of_one_server_is_the_textbooks() -> None:
    """M/M/1: rho / (mu - lambda); M/D/1 half of it; its p90 is ln(10 rho) / (mu - lambda); 0 where few wait."""
    assert mmc_wait(1, 0.8, 1.0) == pytest.approx(4.0)
    assert mmc_wait(1, 0.8, 1.0, cv=0) == pytest.approx(2.0)
    assert mmc_wait_quantile(1, 0.8, 1.0, 0.9) == pytest.approx(math.log(8) / 0.2)
    assert mmc_wait_quantile(1, 0.05, 1.0, 0.9) == 0.0


def test_the_open_mode_agrees_with_erlang_within_two_percent() -> None:
    """M/M/c, 4 servers, 85 % busy as in the heavy load: the simulated mean wait is within 2 % of the closed form
    (bench/turns.py has more of them, with longer runs)."""
    assert mean_wait(4, 3.4, 1.0, turns=8_000) == pytest.approx(mmc_wait(4, 3.4, 1.0), rel=0.02)


@pytest.mark.parametrize(("cv", "rel"), [(1.0, 0.04), (0.6, 0.03), (0.0, 0.03)])
def test_one_server_agrees_with_pollaczek_and_khinchine(cv: float, rel: float) -> None:
    """M/G/1 half busy, no control variate: M/M/1, gamma and constant service."""
    assert mean_wait(1, 0.5, 1.0, cv=cv, runs=4) == pytest.approx(mmc_wait(1, 0.5, 1.0, cv=cv), rel=rel)


@pytest.mark.parametrize(("machines", "repairers"), [(6, 1), (12, 4), (16, 4)])
def test_the_closed_mode_is_the_machine_repair_model(machines: int, repairers: int) -> None:
    """Exponential thinking and building, no upload: throughput and mean turn of M/M/c//N, which is exact."""
    rate, response = machine_repair(machines, repairers, 840.0, 270.0)
    found = simulate(model(machines, repairers, cv=1.0, uploads=0.0), turns=15_000)
    assert found.rate == pytest.approx(rate, rel=0.02)
    assert found.turn == pytest.approx(response, rel=0.035)


def test_nobody_waits_where_there_is_enough_of_everything() -> None:
    """As many slots and devices as workspaces: no wait, and the mean turn is build + share x upload."""
    found = simulate(model(8, 8, devices=8))
    assert found.build_wait == found.device_wait == 0.0
    assert found.turn == pytest.approx(270 + 0.6 * 42, rel=0.01)


def test_two_workspaces_on_one_slot_by_hand() -> None:
    """No thinking, constant times, one slot, no upload: each turn after the first waits one build; always busy."""
    found = simulate(model(2, 1, 0.0, 10.0, cv=0.0, uploads=0.0), turns=100)
    assert (found.turn, found.build_wait, found.p90, found.rate) == (20.0, 10.0, 20.0, 0.1)
    assert found.busy == {"fw": pytest.approx(1.0), "device": 0.0}


def test_a_burst_by_hand() -> None:
    """Five at once, two slots, constant 10 s builds, 3 s uploads to one device: builds end at 10, 10, 20, 20,
    30, uploads at 13, 16, 23, 26, 33."""
    found = simulate(model(5, 2, 60.0, 10.0, cv=0.0, uploads=1.0, upload=3.0, upload_cv=0.0, burst=True), turns=50)
    assert (found.turns, found.last) == (50, 33.0)
    assert found.turn == pytest.approx((13 + 16 + 23 + 26 + 33) / 5)
    assert found.busy == {"fw": pytest.approx(50 / 66), "device": pytest.approx(15 / 33)}


@pytest.mark.parametrize("hosts", [1, 2])
def test_conservation_laws_hold(hosts: int) -> None:
    """Several kinds, a device, hosts: N = X (Z + R) (interactive response time), U = X D (utilisation), forced flow."""
    kinds = [Kind("fw", 2, 270.0, uploads=0.6), Kind("web", 3, 100.0, share=2.0, cv=1.2)]
    busy = Model(16, 500.0, kinds, 42.0, hosts=hosts)
    found = simulate(busy, turns=15_000)
    assert found.rate * (500.0 + found.turn) == pytest.approx(16, rel=0.02)
    for station, demand in busy.demands().items():
        assert found.busy[station] == pytest.approx(found.rate * demand, rel=0.04)
    assert found.upload_rate == pytest.approx(found.rate * busy.uploads, rel=0.04)
    parts = found.build_wait + busy.no_wait + busy.uploads * found.device_wait
    assert found.turn == pytest.approx(parts, rel=0.03)


def test_the_same_seed_gives_the_same_answer() -> None:
    """A run is a function of its arguments; another seed is another run."""
    first, again, other = (simulate(model(), turns=500, seed=s) for s in (1, 1, 2))
    assert (first.turn, first.p90, first.busy) == (again.turn, again.p90, again.busy)
    assert first.turn != other.turn


def test_two_hosts_are_two_halves() -> None:
    """Twice the agents on two hosts, each host with its own slots and nothing shared: the turns of one host."""
    one, two = model(8, 2, uploads=0.0), model(16, 2, uploads=0.0, hosts=2)
    assert simulate(two, turns=12_000).turn == pytest.approx(simulate(one, turns=12_000).turn, rel=0.04)
    assert knee(two) == pytest.approx(2 * knee(one))


def test_the_knee_and_the_bounds_of_the_mixed_load() -> None:
    """N* = (14 + 4.5 + 0.42) / (4.5 / 4) minutes = 16.8; the slots are the bottleneck."""
    bounds = Bounds(model(32))
    assert bounds.knee == pytest.approx(16.82, abs=0.01)
    assert bounds.station == "fw"
    assert bounds.turn == pytest.approx(32 * 67.5 - 840)
    assert bounds.rate == pytest.approx(1 / 67.5)
    assert Bounds(model(2)).turn == pytest.approx(295.2)


@settings(max_examples=10, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(1, 6),
    st.floats(0, 2000),
    st.floats(10, 900),
    st.floats(0, 1),
    st.sampled_from(["slots", "devices", "hosts", "faster", "fewer uploads"]),
)
def test_more_of_anything_never_makes_turns_longer(
    agents: int, slots: int, think: float, build: float, uploads: float, more: str
) -> None:
    """At one seed one more slot, device or host, faster builds and fewer uploads make the mean turn no longer beyond
    the noise of the run, and no mean turn is below the bound."""
    base = model(agents, slots, think, build, uploads=uploads)
    kind = base.kinds[0]
    other = {
        "slots": lambda: base.changed(kinds=[kind.changed(slots=slots + 1)]),
        "devices": lambda: base.changed(devices=2),
        "hosts": lambda: base.changed(hosts=2),
        "faster": lambda: base.changed(kinds=[kind.changed(seconds=build * 0.8)]),
        "fewer uploads": lambda: base.changed(kinds=[kind.changed(uploads=uploads / 2)]),
    }[more]()
    before, after = simulate(base, turns=2000), simulate(other, turns=2000)
    assert after.turn <= before.turn * 1.05
    assert after.p90 <= before.p90 * 1.08
    assert before.turn >= Bounds(base).turn * 0.93


def test_what_cannot_be_a_model_is_refused() -> None:
    """No agents, no slots, a share above 1, no kind with a share: ValueError with the rule."""
    for wrong in (
        lambda: model(0),
        lambda: model(1, 0),
        lambda: model(uploads=1.5),
        lambda: Model(1, 1.0, [], 1.0),
        lambda: Model(1, 1.0, [Kind("fw", 1, 1.0, share=0.0)], 1.0),
    ):
        with pytest.raises(ValueError, match=r"slots|agents|kind"):
            wrong()


def test_more_servers_than_workspaces_cost_nothing() -> None:
    """Of a billion of each only as many are kept as there are workspaces: the turns are those of three."""
    kind = Kind("fw", 3, 10.0, uploads=0.5)
    few = Model(3, 5.0, [kind], 4.0, devices=3, hosts=3)
    most = few.changed(kinds=[kind.changed(slots=10**15)], devices=10**15, hosts=10**15)
    assert simulate(most, turns=50).p90 == simulate(few, turns=50).p90
    assert simulate(most.changed(burst=True), turns=30).last == simulate(few.changed(burst=True), turns=30).last


def test_the_line_of_many_has_built_up_before_turns_count() -> None:
    """500 workspaces on one slot, fewer turns asked for than workspaces: a turn is N B - Z, as in the long run."""
    found = simulate(model(500, 1, 100.0, 10.0, uploads=0.0, cv=0.0), turns=400)
    assert found.turn == pytest.approx(500 * 10 - 100, rel=0.01)


def test_of_too_few_turns_the_error_is_not_known() -> None:
    """Ten batches of 100 at least: with fewer nothing may be told from nothing."""
    assert simulate(model(), turns=999).p90_error == math.inf
    assert 0 < simulate(model(), turns=2000).p90_error < 60


def test_quantile_of_few() -> None:
    """Nearest rank; none gives 0."""
    assert [quantile([1.0, 2.0, 3.0], q) for q in (0, 0.5, 0.9, 1)] == [1.0, 2.0, 3.0, 3.0]
    assert quantile([], 0.5) == 0.0
    assert [quantile(range(1, n + 1), 0.9) for n in (1, 9, 10, 11, 100)] == [1, 9, 9, 10, 90]
