"""What a stress run decides, on a host whose every figure follows from a formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k1ctl.capacity import cells, stress_folder
from k1ctl.capacity.cells import Cell, Limits
from k1ctl.capacity.stress import Matrix, quantile
from k1ctl.capacity.stress_folder import Folder
from k1ctl.capacity.stress_report import HEADERS, Report, estimate
from k1ctl.errors import BusyError, ConfigError, K1ctlError
from k1ctl.testing.executor import ClosedForm

GIB = 1 << 30
ROOM = Limits(room=56 * GIB, reserve=8 * GIB)


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "run"
    path.mkdir(exist_ok=True)
    return Folder(str(path), {})


def matrix(
    tmp_path: Path, host: ClosedForm, agents: list[int], mem: list[float], cpus: tuple[float, ...] = (0.0,), **more: Any
) -> Matrix:
    """A matrix with sizes in GiB, run by ``host`` in a folder of its own."""
    limits = more.pop("limits", ROOM)
    found = cells.matrix(agents, [int(m * GIB) for m in mem], cpus)
    return Matrix(found, limits, host, folder(tmp_path), **{"jobs": 4, **more})


def names(run: list[Cell]) -> list[str]:
    return [cell.name for cell in run]


def test_every_figure_is_the_formulas(tmp_path: Path) -> None:
    """Throughput, wall time and slowing are exactly those of the law, and the law comes back out of them."""
    host = ClosedForm(lambda_=0.5, sigma=0.05, kappa=0.02, need=GIB)
    report = Report(matrix(tmp_path, host, [1, 2, 4, 8, 12], [2]).run())
    for row in report.rows:
        n, figures = row.cell.agents, row.figures
        assert figures is not None
        assert figures["throughput_per_second"] == pytest.approx(host.throughput(n, 0.0), rel=1e-5)
        assert figures["wall_p50_seconds"] == pytest.approx(n / host.throughput(n, 0.0), rel=1e-4)
        assert report.slower[row.cell] == pytest.approx(n * 0.5 / host.throughput(n, 0.0), abs=0.001)
        assert (figures["completed"], figures["completion_rate"]) == (figures["started"], 1.0)
    fit = report.fits[2 * GIB, 0.0]
    assert fit.sigma == pytest.approx(0.05, rel=0.005)
    assert fit.kappa == pytest.approx(0.02, rel=0.005)
    assert (fit.peak, fit.origin) == (7, "law")


def test_the_largest_n_that_is_not_twice_as_slow_is_recommended(tmp_path: Path) -> None:
    """With N / X(N) = 1 + 0.1 (N-1) + 0.02 N (N-1), 6 copies take 2.1 times as long as one, 5 copies 1.8 times."""
    host = ClosedForm(sigma=0.1, kappa=0.02, need=GIB)
    report = Report(matrix(tmp_path, host, [1, 2, 5, 6, 8], [2, 4]).run())
    found = report.recommendation
    assert found is not None
    assert (found.agents, found.memory) == (5, 2 * GIB)
    assert found.settings() == {"capacity.per_agent": "2G", "capacity.agents": "5"}
    assert any("not 6: 2.10 times as long as alone; the limit is 2" in reason for reason in found.reasons)
    assert "no smaller limit was measured" in found.reasons[1]
    assert [c["cell"] for c in report.document()["cells"] if c["degraded"]] == ["6x2G", "6x4G", "8x2G", "8x4G"]


def test_the_smallest_limit_that_holds_is_recommended(tmp_path: Path) -> None:
    """What runs out of its limit alone is not run in company; the smallest limit that held is the recommendation."""
    host = ClosedForm(sigma=0.01, need=3 * GIB)
    run = matrix(tmp_path, host, [1, 2, 4], [2, 4, 6])
    report = Report(run.run())
    assert names(host.ran) == ["1x2G", "1x4G", "1x6G", "2x4G", "2x6G", "4x4G", "4x6G"]
    statuses = {row.cell.name: (row.status, row.reason) for row in report.rows}
    assert statuses["1x2G"] == ("stopped", "1 ran out of the memory of its limit")
    assert statuses["2x2G"] == ("pruned", "out of memory at 1x2G, which has no more agents and no smaller limit")
    assert statuses["4x2G"][0] == "pruned"
    found = report.recommendation
    assert found is not None and (found.agents, found.memory) == (4, 4 * GIB)
    assert "with 2G: out of memory at 1x2G" in found.reasons[1]
    assert "more may fit" in found.reasons[2]
    assert found.settings() == {"capacity.per_agent": "4G"}  # what limits the agents was not found
    one = next(row.figures for row in report.rows if row.cell.name == "1x2G")
    assert one is not None and (one["oom"], one["ended"], one["completed"]) == (1, 0, 0)


def test_the_wall_of_the_host_ends_the_matrix(tmp_path: Path) -> None:
    """Where the host itself runs out of memory no larger company runs, whatever its limits."""
    host = ClosedForm(need=4 * GIB, memory=15 * GIB)
    limits = Limits(room=64 * GIB, reserve=0)
    report = Report(matrix(tmp_path, host, [1, 2, 4, 6], [5, 8], limits=limits).run())
    assert names(host.ran) == ["1x5G", "1x8G", "2x5G", "2x8G", "4x5G"]
    assert {r.cell.name: r.reason for r in report.rows}["6x5G"] == "the host ran out of memory at 4x5G"
    stopped = next(row.figures for row in report.rows if row.cell.name == "4x5G")
    assert stopped is not None
    assert (stopped["host_oom"], stopped["oom_kills"], stopped["ended"], stopped["completion_rate"]) == (1, 1, 3, 0.0)
    assert report.recommendation is not None and report.recommendation.agents == 2


def test_swap_and_stall_stop_a_cell(tmp_path: Path) -> None:
    """At more than half of the swap, or stalled more than a tenth of the time, a cell is stopped with its figures."""
    limits = Limits(room=64 * GIB, reserve=0)
    (tmp_path / "a").mkdir()
    swapping = ClosedForm(lambda_=0.01, need=4 * GIB, memory=14 * GIB, swap=3 * GIB)
    stopped = {r.cell.name: r for r in matrix(tmp_path / "a", swapping, [1, 2, 4, 6], [5, 8], limits=limits).run()}
    assert (stopped["4x5G"].status, stopped["4x8G"].status) == ("stopped", "pruned")
    figures = stopped["4x5G"].figures
    assert figures is not None
    assert figures["stop"]["rule"] == "swap" and figures["stop"]["value"] == pytest.approx(66.7)
    assert (figures["swap_used_peak_bytes"], figures["swapped_out_pages"]) == (2 * GIB, 2 * GIB >> 12)
    (tmp_path / "b").mkdir()
    stalling = ClosedForm(lambda_=0.01, need=4 * GIB, memory=15 * GIB, swap=4 * GIB, stall=0.2)
    found = {r.cell.name: r for r in matrix(tmp_path / "b", stalling, [1, 4], [5], limits=limits).run()}
    figures = found["4x5G"].figures
    assert figures is not None
    assert (figures["stop"]["rule"], figures["stall_full_percent"], figures["stall_some_percent"]) == (
        "stall",
        20.0,
        40.0,
    )


@pytest.mark.parametrize("at", range(7))
def test_killed_at_any_cell_it_goes_on_there(tmp_path: Path, at: int) -> None:
    """Killed within any cell, the next call runs that cell and those behind it, and says what a quiet one does."""

    def kill(cell: Cell) -> None:
        if len(host.ran) == at:
            raise Killed

    quiet = tmp_path / "quiet"
    quiet.mkdir()
    whole = ClosedForm(sigma=0.01, need=3 * GIB)
    expected = Report(matrix(quiet, whole, [1, 2, 4], [2, 4, 6]).run()).document()
    host = ClosedForm(sigma=0.01, need=3 * GIB, at_cell=kill)
    with pytest.raises(Killed):
        matrix(tmp_path, host, [1, 2, 4], [2, 4, 6]).run()
    again = ClosedForm(sigma=0.01, need=3 * GIB)
    found = Report(matrix(tmp_path, again, [1, 2, 4], [2, 4, 6]).run()).document()
    assert names(host.ran) + names(again.ran) == names(whole.ran)
    for cell in [*expected["cells"], *found["cells"]]:
        cell.pop("at", None)
    assert found == expected


def test_a_torn_last_line_is_a_cell_that_did_not_finish(tmp_path: Path) -> None:
    """After a power cut within the last line that cell runs again, and the file is whole."""
    matrix(tmp_path, ClosedForm(), [1, 2], [2]).run()
    file = Path(folder(tmp_path).cells_file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    host = ClosedForm()
    assert len(matrix(tmp_path, host, [1, 2], [2]).run()) == 2
    assert names(host.ran) == ["2x2G"]
    assert file.read_bytes().count(b"\n") == 2


def test_a_damaged_line_is_a_cell_that_did_not_finish(tmp_path: Path) -> None:
    """What cannot be read as a finished cell is measured again; it ends nothing."""
    matrix(tmp_path, ClosedForm(), [1, 2], [2]).run()
    file = Path(folder(tmp_path).cells_file)
    file.write_bytes(b"\0" * 40 + b"\n[]\n" + file.read_bytes().partition(b"\n")[2])
    host = ClosedForm()
    assert len(matrix(tmp_path, host, [1, 2], [2]).run()) == 2
    assert names(host.ran) == ["1x2G"]


def test_failures_that_are_no_oom_are_no_support(tmp_path: Path) -> None:
    """A cell with a failed run does not hold; nor is what held with more agents recommended behind it."""
    host = ClosedForm(fails=[6])  # the second run of the second cell
    report = Report(matrix(tmp_path, host, [1, 2, 4], [2]).run())
    assert [(r.figures or {})["failed"] for r in report.rows] == [0, 1, 0]
    found = report.recommendation
    assert found is not None and found.agents == 1
    assert "not 2: 3 of 4 runs were completed" in found.reasons[2]


def test_a_command_that_always_fails_is_told_and_not_kept(tmp_path: Path) -> None:
    """When no run was ever completed and memory is not the reason, the command is what is wrong."""
    host = ClosedForm(fails=range(1, 99))
    with pytest.raises(K1ctlError) as caught:
        matrix(tmp_path, host, [1, 2], [2]).run()
    assert caught.value.code == "command-fails"
    assert names(host.ran) == ["1x2G"] and folder(tmp_path).finished() == []


def test_a_full_disk_ends_the_run_with_what_there_is(tmp_path: Path) -> None:
    """Nothing begins on a disk with less than 10 % left, and the same call goes on once there is room."""
    with pytest.raises(BusyError) as caught:
        matrix(tmp_path, ClosedForm(disk=9.0), [1], [2]).run()
    assert caught.value.code == "host-not-fit" and caught.value.details["stop"]["rule"] == "disk"
    assert len(matrix(tmp_path, ClosedForm(), [1], [2]).run()) == 1


def test_without_support_nothing_is_recommended(tmp_path: Path) -> None:
    """Without a one-agent cell, or with none that holds, there is no recommendation, and the reason is told."""
    report = Report(matrix(tmp_path, ClosedForm(), [2, 4], [2]).run())
    assert report.recommendation is None and "add 1 to --agents" in report.why_not[0]
    (tmp_path / "oom").mkdir()
    report = Report(matrix(tmp_path / "oom", ClosedForm(need=9 * GIB), [1, 2], [2, 4]).run())
    assert report.recommendation is None
    assert report.why_not == [f"1x{m}G: 1 ran out of the memory of its limit" for m in (2, 4)]


def test_runs_too_short_to_compare_support_nothing(tmp_path: Path) -> None:
    """Of a command of 20 ms the start of a process is what was measured."""
    report = Report(matrix(tmp_path, ClosedForm(lambda_=50.0), [1, 2], [2]).run())
    assert report.recommendation is None
    assert report.why_not == ["one run takes 20 ms; it takes 100 ms to compare"]


def test_runs_that_differ_are_in_doubt(tmp_path: Path) -> None:
    """When one copy alone takes now this long, now that, the recommendation says so."""
    rows = matrix(tmp_path, ClosedForm(), [1, 2], [2]).run()
    assert rows[0].figures is not None
    rows[0].figures["wall_p95_seconds"] = 1.3 * rows[0].figures["wall_p50_seconds"]
    found = Report(rows).recommendation
    assert found is not None and "in doubt: one alone took 1.0 s in the median and 1.3 s at p95" in found.reasons[3]


def test_copies_that_were_not_under_way_together_are_in_doubt(tmp_path: Path) -> None:
    """When each start takes as long as a run, four copies are never under way at once, and none was slowed by three."""
    rows = matrix(tmp_path, ClosedForm(need=GIB), [1, 4], [2]).run()
    assert [row.figures["concurrency"] for row in rows if row.figures] == [1.0, 4.0]
    found = Report(rows).recommendation
    assert found is not None and not any("in doubt" in reason for reason in found.reasons)
    assert rows[1].figures is not None
    rows[1].figures["concurrency"] = 3.1
    found = Report(rows).recommendation
    assert found is not None and "in doubt: of 4 copies 3.1 were under way in the mean" in found.reasons[3]


def test_a_limit_without_room_is_in_doubt(tmp_path: Path) -> None:
    """A limit that was just met holds until the input grows."""
    found = Report(matrix(tmp_path, ClosedForm(need=int(1.9 * GIB)), [1, 2], [2]).run()).recommendation
    assert found is not None and "in doubt: the largest copy took 95% of its limit" in found.reasons[3]


def test_what_holds_only_with_fewer_cores_limits_no_agents(tmp_path: Path) -> None:
    """Each cell is compared with one copy of the same cores. The recommendation is of the most cores, as nothing holds
    an agent to fewer; what held with fewer is told beside it, and is no limit on agents by itself."""
    host = ClosedForm(sigma=0.4, kappa=0.1, uses=2.0)
    report = Report(matrix(tmp_path, host, [1, 2, 4], [2], (0.5, 0.0)).run())
    assert report.slower[Cell(2, 2 * GIB, 0.5)] == report.slower[Cell(2, 2 * GIB, 0.0)] == pytest.approx(1.6)
    found = report.recommendation
    assert found is not None and (found.agents, found.cpus, found.bounded) == (2, 0.0, True)
    assert found.reasons[-1] == "with 0.5 cores each (capacity run --cpu-limit 0.5): 2 of 2G"
    (tmp_path / "limited").mkdir()
    found = Report(matrix(tmp_path / "limited", host, [1, 2, 4], [2], (0.5,)).run()).recommendation
    assert found is not None and found.settings() == {"capacity.per_agent": "2G"}
    assert "that is so with capacity run --cpu-limit 0.5" in found.reasons[2]


def test_the_table_and_the_plot_show_every_cell(tmp_path: Path) -> None:
    """Pruned and stopped cells are in the table with their reason; the plot has a line for each column of limits."""
    report = Report(matrix(tmp_path, ClosedForm(sigma=0.1, kappa=0.02, need=3 * GIB), [1, 4, 8, 30], [2, 4]).run())
    table = report.table()
    assert {len(line) for line in table} == {len(HEADERS)}
    states = {(line[0], line[1]): line[-1] for line in table}
    assert states["1", "4G"] == "ok"
    assert states["8", "4G"] == "2.82 times as long as alone; the limit is 2"
    assert states["30", "4G"].startswith("pruned: 30 x 4.0 GiB = 120 GiB of memory")
    assert states["1", "2G"].startswith("stopped: ")
    svg = report.svg("npm test")
    assert svg.startswith("<svg") and ">4G<" in svg and ">2G<" in svg


def test_the_estimate_knows_what_was_measured(tmp_path: Path) -> None:
    """Before the first cell only rounds are known, and with --timeout the most it can take; then the time of a run."""
    run = matrix(tmp_path, ClosedForm(lambda_=0.1), [1, 2, 40], [2])
    plan = estimate(run, 60.0)
    assert [c["status"].partition(":")[0] for c in plan["cells"]] == ["to run", "to run", "pruned"]
    assert (plan["rounds"], plan["estimated_seconds"], plan["at_most_seconds"]) == (6, None, 360.0)
    run.cells = run.cells[:1]
    run.run()
    assert estimate(matrix(tmp_path, ClosedForm(), [1, 2], [2]), 0.0)["estimated_seconds"] == pytest.approx(20.0)
    (tmp_path / "next").mkdir()
    later = estimate(matrix(tmp_path / "next", ClosedForm(), [1, 2], [2]), 0.0, run.rows)
    assert later["estimated_seconds"] == pytest.approx(60.0)


def test_an_interrupted_run_is_gone_on_with_only_by_the_same_call(tmp_path: Path) -> None:
    """Another command or another host is refused with what differs; --fresh gives the old run up."""
    ops = str(tmp_path)
    spec = {"at": "t", "command": ["make", "-j2"], "agents": [1], "host": {"name": "a", "cores": 2}}
    first, resumed = stress_folder.take(ops, spec)
    assert not resumed
    again, resumed = stress_folder.take(ops, spec)
    assert (again.path, resumed) == (first.path, True)
    first.add({"cell": "1x2G"})
    for other, differs in (
        ({"command": ["make", "-j4"]}, "command"),
        ({"agents": [1, 2]}, "agents"),
        ({"host": {"name": "a", "cores": 4}}, "host.cores"),
    ):
        with pytest.raises(ConfigError) as caught:
            stress_folder.take(ops, {**spec, **other})
        assert (caught.value.code, caught.value.details["differs"]) == ("other-stress", differs)
        assert "--fresh" in caught.value.hint
    assert stress_folder.earlier(ops, {**spec, "agents": [4]}) == [{"cell": "1x2G"}]
    assert stress_folder.earlier(ops, {**spec, "command": ["true"]}) == []
    fresh, resumed = stress_folder.take(ops, {**spec, "command": ["true"]}, fresh=True)
    assert not resumed and fresh.path != first.path
    other, resumed = stress_folder.take(ops, {**spec, "command": ["corrected"]})  # no cell of it was finished
    assert not resumed and other.path != fresh.path
    other.report({})
    assert stress_folder.unfinished(ops) is None


def test_only_one_stress_runs_on_a_host() -> None:
    """A second one is told who measures; when the first has ended there is room."""
    with stress_folder.Alone("ada in oslo"):
        with pytest.raises(BusyError) as caught, stress_folder.Alone("bob in rome"):
            pass
        assert caught.value.code == "stress-runs" and "ada in oslo" in caught.value.message
    with stress_folder.Alone("bob in rome"):
        pass


def test_quantiles_are_interpolated() -> None:
    """Type 7 of Hyndman and Fan, as numpy and R have it by default."""
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert quantile([1.0, 2.0], 0.95) == pytest.approx(1.95)
    assert quantile([7.0], 0.95) == 7.0
    assert quantile([], 0.5) is None
