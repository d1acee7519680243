"""`k1ctl worktree ports` and `k1ctl worktree which`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from k1ctl import ports
from k1ctl.config import load
from k1ctl_plugins.worktree import listeners, steps
from tests.kit import Project, finish


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    made = make_workspace(worktrees=["oslo", "bern"])
    made.configure("[ports]\nfirst = 47000\nlast = 47999\n")
    return made


def lease(project: Project, name: str) -> ports.Ports:
    facts = project.facts(project.worktree(name))
    return ports.lease(facts, load(facts, {}), {})


SERVER = """
import socket, sys
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(project: Project) -> Iterator[tuple[int, int]]:
    """(port, pid) of a program that listens, in the worktree bern."""
    argv = [sys.executable, "-c", SERVER]
    cwd = project.worktree("bern")
    process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdin is not None
    yield int(process.stdout.readline()), process.pid
    process.stdin.close()
    finish(process)


def test_set_up_leases_and_ports_lists(project: Project) -> None:
    """The step says which ports it leased; the table has every worktree of the host, a name or path picks one."""
    tree = project.worktree("oslo")
    steps = project.run("worktree", "setup", "--only", "ports", "--json", cwd=tree).assert_ok().json["steps"]
    first = steps[0]["details"]["first"]
    assert (steps[0]["status"], steps[0]["details"]["origin"]) == ("done", "leased")
    bern = lease(project, "bern")
    rows = project.run("worktree", "ports", "--json").assert_ok().json
    assert [(row["workspace"], row["first"]) for row in rows] == [("oslo", first), ("bern", bern.first)]
    assert project.run("worktree", "ports", str(tree), "--json").assert_ok().json == rows[:1]
    table = project.run("worktree", "ports", cwd=tree).assert_ok().stdout.splitlines()
    assert table[1].split() == ["*", f"{first}-{first + 9}", "oslo", "leased", str(tree)]
    project.run("worktree", "ports", "riga").assert_fails(2, "'riga'", "ports lists")


def test_ports_can_be_given_up(project: Project) -> None:
    """--release wants a name, --dry-run changes nothing; a list of nobody is a list."""
    oslo = lease(project, "oslo")
    project.run("worktree", "ports", "--release").assert_fails(2, "NAME")
    told = project.run("worktree", "ports", "oslo", "--release", "--dry-run").assert_ok()
    assert "would be given up" in told.stderr and len(ports.holders()) == 1
    told = project.run("worktree", "ports", "oslo", "--release", "--json").assert_ok()
    assert told.json[0]["first"] == oslo.first
    assert project.run("worktree", "ports", "--json").assert_ok().json == []


def test_ports_are_the_hosts(project: Project, tmp_path: Path) -> None:
    """Outside every repository they can be listed, asked for and given up."""
    oslo, away = lease(project, "oslo"), tmp_path / "away"
    away.mkdir()
    assert project.run("worktree", "ports", "--json", cwd=away).assert_ok().json[0]["first"] == oslo.first
    assert "oslo" in project.run("worktree", "which", str(oslo.first), cwd=away).assert_ok().stdout
    project.run("worktree", "ports", "oslo", "--release", cwd=away).assert_ok()
    assert ports.holders() == []


def test_set_up_tells_whose_ports_conductor_gave(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONDUCTOR_PORT of two workspaces at once: the later one has it, and hears of the other; a dry run, too."""
    oslo, path = lease(project, "oslo"), str(project.worktree("bern"))
    monkeypatch.setenv("CONDUCTOR_PORT", str(oslo.first))
    monkeypatch.setenv("CONDUCTOR_WORKSPACE_PATH", path)
    facts = project.facts(project.worktree("bern"))
    assert steps._lease(facts, load(facts, {}), dry_run=True).changed
    told = steps._lease(facts, load(facts, {})).summary
    assert f"(from CONDUCTOR_PORT); some were those of oslo ({project.worktree('oslo')})" in told
    assert "oslo" not in steps._lease(facts, load(facts, {})).summary
    told = project.run("worktree", "which", str(oslo.first), "--json").assert_ok().json["holder"]
    assert (told["workspace"], told["origin"]) == ("bern", "conductor")


def test_of_two_with_one_name_this_repositorys_is_meant(project: Project, tmp_path: Path) -> None:
    """From a third repository the name alone is no answer, and the path is."""
    other, third = Project(tmp_path / "other", worktrees=["oslo"]), Project(tmp_path / "third")
    other.configure("[ports]\nfirst = 47000\nlast = 47999\n")
    lease(project, "oslo")
    lease(other, "oslo")
    paths = [str(p.worktree("oslo")) for p in (project, other)]
    third.run("worktree", "ports", "oslo", "--release").assert_fails(2, *paths)
    other.run("worktree", "ports", "oslo", "--release").assert_ok()
    assert [holder.path for holder in ports.holders()] == paths[:1]
    third.run("worktree", "ports", paths[0], "--release").assert_ok()


def test_which_names_holder_and_listener(project: Project, server: tuple[int, int]) -> None:
    """The block's worktree and, apart from it, the process that listens and the worktree it works in."""
    port, pid = server
    project.configure(f"[ports]\nfirst = {port - 2}\nlast = {port - 2 + 9}\n")
    path = str(project.worktree("oslo"))
    facts = project.facts(project.worktree("oslo"))
    held = ports.lease(facts, load(facts, {}), {"CONDUCTOR_PORT": str(port - 2), "CONDUCTOR_WORKSPACE_PATH": path})
    told = project.run("worktree", "which", str(port), "--json").assert_ok().json
    assert (told["holder"]["workspace"], told["holder"]["offset"], told["in_use"]) == ("oslo", 2, True)
    (found,) = told["listeners"]
    bern = str(project.worktree("bern"))
    assert (found["pid"], found["cwd"], found["worktree"]) == (pid, bern, bern)
    assert (found["protocol"], found["address"]) == ("tcp", "127.0.0.1")
    said = project.run("worktree", "which", str(port)).assert_ok().stdout
    assert f"oslo ({path}), its port + 2 of {held}, CONDUCTOR_PORT" in said
    assert f"(pid {pid})" in said and "worktree bern" in said


def test_which_of_a_leased_port_that_is_idle(project: Project) -> None:
    """Held and not in use is an answer; a port of nobody is exit 1."""
    oslo = lease(project, "oslo")
    told = project.run("worktree", "which", str(oslo.last)).assert_ok().stdout
    assert "oslo" in told and "listens:  nobody" in told
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    failed = project.run("worktree", "which", str(port), "--json").assert_fails(1)
    assert failed.json["error"]["code"] == "port-free"
    project.run("worktree", "which", "65536").assert_fails(2)


def test_listeners_where_only_ones_own_processes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: the system refuses the list of all connections, so each process is asked. UDP counts, too."""

    def refuse(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    monkeypatch.setattr(psutil, "pids", lambda: [os.getpid(), 2**22 + 1])
    with socket.socket() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        assert listeners.at(port) == []  # bound, and nobody listens
        one.listen()
        two.bind(("127.0.0.1", port))
        found = listeners.at(port)
    assert [(each.pid, each.protocol) for each in found] == [(os.getpid(), "tcp"), (os.getpid(), "udp")]
    assert json.loads(json.dumps(found[0].document()))["cwd"] == os.getcwd()
