"""Who works in a folder: a current folder, a program, an open file; looked at once for all folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from k1ctl.archive import processes
from k1ctl.archive.processes import Processes, named
from tests.kit import finish

READY = "import os, sys\nos.write(1, b'x')\nsys.stdin.read()"


@pytest.fixture(params=["proc", "psutil"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of looking: Linux has its own, other systems psutil's."""
    if request.param == "psutil":
        monkeypatch.setattr(processes, "_LINUX", False)
    elif not processes._LINUX:
        pytest.skip("needs /proc")
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "a tree"
    (made / "deep").mkdir(parents=True)
    (tmp_path / "a tree.more").mkdir()
    return made


@pytest.fixture
def child(folder: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes that work in the folder, each in one way, and one in a folder whose name begins alike."""
    program = folder / "tool"
    shutil.copy2(shutil.which("cat") or "", program)
    calls: dict[str, tuple[list[str], str]] = {
        "cwd": ([sys.executable, "-c", READY], str(folder / "deep")),
        "open": ([sys.executable, "-c", f"f = open({str(folder / 'deep' / 'log')!r}, 'w')\n{READY}"], "/"),
        "program": ([str(program)], "/"),
        "beside": ([sys.executable, "-c", READY], str(folder) + ".more"),
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = {name: subprocess.Popen(argv, cwd=cwd, **pipes) for name, (argv, cwd) in calls.items()}  # type: ignore[call-overload]
    for name, process in started.items():
        if name == "program":
            process.stdin.write(b"x")
            process.stdin.flush()
        process.stdout.read(1)
    yield started
    for process in started.values():
        process.stdin.close()
        finish(process)


def test_who_works_in_a_folder(way: str, folder: Path, child: dict[str, subprocess.Popen[bytes]]) -> None:
    """By its current folder, its program, an open file; not who works in a folder beside it."""
    looked = Processes()
    found = {p.pid: p for p in looked.below(str(folder))}
    assert {p.pid: name for name, p in child.items() if name != "beside"} == {p: f.how for p, f in found.items()}
    cwd = found[child["cwd"].pid]
    assert str(cwd).endswith(f"(pid {cwd.pid}) is in {os.path.realpath(folder / 'deep')}")
    assert [p.pid for p in looked.below(f"{folder}.more")] == [child["beside"].pid]
    assert looked.below(str(folder / "none")) == []


def test_the_caller_counts_itself(way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also through a link to the folder: it is the real one that is asked about."""
    monkeypatch.chdir(folder / "deep")
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert os.getpid() in [p.pid for p in Processes().below(str(link))]


def test_who_only_passes_does_not_count(folder: Path) -> None:
    """A process that is gone a moment later; one that came meanwhile counts at the next look."""
    argv = [sys.executable, "-c", READY]
    with subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stays:
        passing = subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for process in (stays, passing):
            assert process.stdout and process.stdout.read(1)
        looked = Processes()
        passing.communicate()
        assert [p.pid for p in looked.below(str(folder))] == sorted([stays.pid, passing.pid])
        assert [p.pid for p in looked.lasting([str(folder)]).below(str(folder))] == [stays.pid]
        assert looked.lasting([f"{folder}.more"]) is looked
        stays.communicate()


def test_many_are_told_in_one_line() -> None:
    """The first few by name, the others as a number."""
    many = [processes.Process(n, "zsh", "cwd", "/w") for n in range(1, 8)]
    assert named(many).endswith("zsh (pid 4) is in /w; and 3 more") and named([]) == ""
