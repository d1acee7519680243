"""The ports of a workspace: a block each, on this host, for as long as the worktree is there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl import ports
from k1ctl.config import Config, load
from k1ctl.errors import BusyError, ConfigError
from tests.kit import Project


@pytest.fixture(autouse=True)
def _nobody_else_listens(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host's other programs, and other tests, listen on matters to those alone that look for it."""
    if "stranger" not in request.fixturenames:
        monkeypatch.setattr(ports, "listened_on", lambda port: False)


@pytest.fixture
def desk(make_workspace: Callable[..., Project]) -> Project:
    """A repository with the worktrees oslo and bern, with a range of its own."""
    made = make_workspace()
    made.configure("[ports]\nfirst = 47000\nlast = 47999\n")
    for name in ("oslo", "bern"):  # as git makes them (gitrepository-layout(5)), without starting it
        made.write(f"{name}/.git", f"gitdir: {made.root}/.git/worktrees/{name}\n", within=made.worktree(name).parent)
        made.write(f".git/worktrees/{name}/commondir", "../..\n")
        made.write(f".git/worktrees/{name}/gitdir", f"{made.worktree(name)}/.git\n")
        made.write(f".git/worktrees/{name}/HEAD", "ref: refs/heads/main\n")
    return made


def config(project: Project, **ports_section: int) -> Config:
    if ports_section:
        project.configure("[ports]\n" + "".join(f"{k} = {v}\n" for k, v in ports_section.items()))
    return load(project.facts(), {})


def leased(project: Project, name: str, **environ: str) -> ports.Ports:
    return ports.lease(project.facts(project.worktree(name)), config(project), environ)


def stored() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(Path(os.environ["K1CTL_HOST_DIR"], "ports.json").read_text())
    return rows


def test_a_worktree_keeps_its_block(desk: Project) -> None:
    """Ten ports a worktree, the same ones at each call, none of them another's; the record says who and since when."""
    oslo, bern = leased(desk, "oslo"), leased(desk, "bern")
    assert (oslo.count, oslo.origin) == (10, "leased")
    assert not oslo.meets(bern)
    assert leased(desk, "oslo") == oslo and ports.of(desk.facts(desk.worktree("oslo"))) == oslo
    assert [h.path for h in ports.holders()] == [str(desk.worktree(name)) for name in ("oslo", "bern")]
    assert {row["workspace"] for row in stored()} == {"oslo", "bern"} and all(row["leased_at"] for row in stored())
    assert oslo.first in oslo and oslo.last in oslo and oslo.last + 1 not in oslo


def _fork(call: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    return pid


def test_forty_at_once_get_forty_blocks(workspace: Project, tmp_path: Path) -> None:
    """Two repositories' worktrees that ask at the same moment: all succeed, no port is given twice."""
    other = Project(tmp_path / "other")
    folders = [project.root / f"tree{i}" for i in range(20) for project in (workspace, other)]
    for folder in folders:
        folder.mkdir()
    settings = config(workspace, first=47000, last=47999)

    def one(folder: Path) -> None:
        facts = workspace.facts()
        facts.path, facts.name = str(folder), folder.name
        ports.lease(facts, settings, {})

    started = [_fork(lambda folder=folder: one(folder)) for folder in folders]  # type: ignore[misc]
    assert [os.waitpid(pid, 0)[1] for pid in started] == [0] * 40
    blocks = [range(row["first"], row["last"] + 1) for row in stored()]
    assert len(blocks) == 40 and len({port for block in blocks for port in block}) == 400


def test_a_kill_in_the_middle_changes_nothing(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL right before the file is replaced, with the lock held: the next call goes on and nothing is lost."""
    oslo = leased(desk, "oslo")

    def die() -> None:
        monkeypatch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        leased(desk, "bern")

    assert os.WTERMSIG(os.waitpid(_fork(die), 0)[1]) == signal.SIGKILL
    assert [row["workspace"] for row in stored()] == ["oslo"]
    bern = leased(desk, "bern")
    assert leased(desk, "oslo") == oslo and not bern.meets(oslo)


def test_ports_are_free_when_the_folder_is_gone(desk: Project) -> None:
    """A removed worktree's block goes to the next who asks, and `holders` does not name it meanwhile."""
    oslo = leased(desk, "oslo")
    shutil.rmtree(desk.worktree("oslo"))
    assert ports.holders() == []
    assert leased(desk, "bern") == oslo
    assert [row["workspace"] for row in stored()] == ["bern"]


def test_a_block_can_be_given_up(desk: Project) -> None:
    """`release` frees it, once."""
    oslo = leased(desk, "oslo")
    assert ports.release(str(desk.worktree("oslo"))) is True
    assert ports.release(str(desk.worktree("oslo"))) is False
    assert leased(desk, "bern") == oslo


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_worktree_that_is_moved_keeps_its_block(desk: Project, by_hand: bool) -> None:
    """`git worktree move`, or mv with or without a repair behind it; who comes to the old path gets another block."""
    bern, moved = leased(desk, "bern"), desk.worktree("bern").with_name("genf")
    if by_hand:
        desk.worktree("bern").rename(moved)
    else:
        desk.git("worktree", "move", str(desk.worktree("bern")), str(moved))
        desk.worktree("bern").mkdir()
        facts = desk.facts()
        facts.path = str(desk.worktree("bern"))
        assert not ports.lease(facts, config(desk), {}).meets(bern)
        assert str(moved) in [holder.path for holder in ports.holders()]
    assert ports.lease(desk.facts(moved), config(desk), {}) == bern
    assert bern in [holder.ports for holder in ports.holders() if holder.path == str(moved)]
    assert str(moved) in [row["path"] for row in stored()]


def test_a_worktree_in_two_places_keeps_one_block(desk: Project) -> None:
    """Mounted a second time (a container), it has a block there, too, which is free when that place is gone."""
    oslo, second = leased(desk, "oslo"), desk.root / "second"
    shutil.copytree(desk.worktree("oslo"), second)
    there = ports.lease(desk.facts(second), config(desk), {})
    shutil.rmtree(second)
    assert [holder.ports for holder in ports.holders()] == [oslo]
    assert leased(desk, "bern") == there


def test_a_copied_worktree_is_another(desk: Project) -> None:
    """Its .git file names the same git folder; the block stays with the folder that it was leased for."""
    oslo = leased(desk, "oslo")
    copied = shutil.copytree(desk.worktree("oslo"), desk.worktree("oslo").with_name("copied"))
    assert not ports.lease(desk.facts(copied), config(desk), {}).meets(oslo)
    assert leased(desk, "oslo") == oslo


def test_a_folder_that_may_not_be_looked_at_keeps_its_ports(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's worktree, where users share the host's folder: not seen is not gone."""
    oslo, hidden, stat = leased(desk, "oslo"), str(desk.worktree("oslo")), os.stat

    def refuse(path: Any, *args: Any, **more: Any) -> os.stat_result:
        if isinstance(path, str) and path.startswith(hidden):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return stat(path, *args, **more)

    monkeypatch.setattr(os, "stat", refuse)
    assert not leased(desk, "bern").meets(oslo)
    assert {row["workspace"] for row in stored()} == {"oslo", "bern"}


@pytest.fixture(
    params=[
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "127.0.0.2"),  # as an address of the network: not the one that most ask
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
    ]
)
def stranger(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that a program listens on, without any lease."""
    family, address = request.param
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"{address} is no address of this host")
        server.listen()
        yield server.getsockname()[1]


def test_a_block_that_a_stranger_listens_in_is_passed_over(desk: Project, stranger: int) -> None:
    """One port in use is enough; in one's own block it changes nothing, since it is one's own server."""
    first = stranger - 3
    settings = config(desk, first=first, last=min(first + 99, 65535))
    facts = desk.facts(desk.worktree("oslo"))
    assert ports.listened_on(stranger)
    block = ports.lease(facts, settings, {})
    assert stranger not in block
    ports.release(facts.path)
    settings = config(desk, first=first, last=first + 9)
    with pytest.raises(BusyError, match="other programs listen in 1"):
        ports.lease(facts, settings, {})


def test_its_own_server_does_not_move_a_worktree(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What listens in a block that is leased is its worktree's own."""
    oslo = leased(desk, "oslo")
    monkeypatch.setattr(ports, "listened_on", lambda port: port in oslo)
    assert leased(desk, "oslo") == oslo
    assert not leased(desk, "bern").meets(oslo)


def test_no_block_left_names_who_holds_them(desk: Project) -> None:
    """Exit 75 with holders, range and where to look; nothing is written."""
    settings = config(desk, first=47000, last=47012)
    ports.lease(desk.facts(desk.worktree("oslo")), settings, {})
    with pytest.raises(BusyError, match=r"47000-47012: held by oslo \(47000-47009\)") as caught:
        ports.lease(desk.facts(desk.worktree("bern")), settings, {})
    assert (caught.value.exit_code, caught.value.code) == (75, "ports-exhausted")
    assert caught.value.details["holders"][0]["path"] == str(desk.worktree("oslo"))
    assert "ports.last" in caught.value.hint
    assert len(stored()) == 1


def test_a_range_without_room_is_a_wrong_configuration(desk: Project) -> None:
    """Fewer ports than a block has: exit 78 that names the settings."""
    with pytest.raises(ConfigError, match="first 47000, last 47005"):
        ports.lease(desk.facts(), config(desk, first=47000, last=47005), {})


def test_a_changed_range_moves_a_block(desk: Project) -> None:
    """What [ports] says now holds for a leased block: another range or number leases anew."""
    leased(desk, "oslo")
    assert ports.lease(desk.facts(desk.worktree("oslo")), config(desk, first=48000, last=48999), {}).first == 48000
    smaller = ports.lease(desk.facts(desk.worktree("oslo")), config(desk, first=48000, last=48999, count=3), {})
    assert (smaller.count, len(stored())) == (3, 1)


def test_what_conductor_gives_wins_and_is_nobody_elses(desk: Project) -> None:
    """CONDUCTOR_PORT takes a leased block's place, is kept in a shell without the variable, and is passed over."""
    path = str(desk.worktree("oslo"))
    assert leased(desk, "oslo").origin == "leased"
    ours = leased(desk, "oslo", CONDUCTOR_PORT="47000", CONDUCTOR_WORKSPACE_PATH=path)
    assert (ours.first, ours.count, ours.origin) == (47000, 10, "conductor")
    assert leased(desk, "oslo") == ours
    assert leased(desk, "bern").first == 47010
    assert len(stored()) == 2


def test_conductors_port_of_another_workspace_is_not_ours(desk: Project) -> None:
    """The variable counts in the worktree it was set for, and not below a command that k1ctl told of its own ports."""
    theirs = str(desk.worktree("oslo"))
    assert leased(desk, "bern", CONDUCTOR_PORT="47500", CONDUCTOR_WORKSPACE_PATH=theirs).origin == "leased"
    ports.release(str(desk.worktree("bern")))
    oslo = leased(desk, "oslo")
    told = ports.variables(oslo)
    assert told == {"K1CTL_PORT": str(oslo.first), "CONDUCTOR_PORT": str(oslo.first)}
    assert leased(desk, "oslo", **told) == oslo
    assert leased(desk, "bern", **told).origin == "leased"


@pytest.mark.parametrize("environ", [{"CONDUCTOR_PORT": "47500"}, {}])
def test_a_variable_that_means_another_worktrees_ports_is_refused(desk: Project, environ: dict[str, str]) -> None:
    """Exported in a shell that went to another worktree: exit 75 names whose they are. Conductor itself may reuse."""
    oslo = leased(desk, "oslo", **environ)
    wanted = str(oslo.first + 5)
    with pytest.raises(BusyError, match="oslo") as caught:
        leased(desk, "bern", CONDUCTOR_PORT=wanted)
    assert caught.value.code == "ports-taken"
    theirs = {"CONDUCTOR_PORT": wanted, "CONDUCTOR_WORKSPACE_PATH": str(desk.worktree("bern"))}
    assert [h.workspace for h in ports.rivals(desk.facts(desk.worktree("bern")), theirs)] == ["oslo"]
    assert str(leased(desk, "bern", **theirs).first) == wanted
    assert [row["workspace"] for row in stored()] == (["bern"] if environ else ["oslo", "bern"])


def test_a_leased_block_makes_way_for_conductors(desk: Project) -> None:
    """Conductor knows nothing of leases: the block that meets its own is leased anew when its worktree asks."""
    oslo = leased(desk, "oslo")
    path = str(desk.worktree("bern"))
    bern = leased(desk, "bern", CONDUCTOR_PORT=str(oslo.first + 5), CONDUCTOR_WORKSPACE_PATH=path)
    assert not leased(desk, "oslo").meets(bern)


def test_a_variable_that_is_no_port_is_said(desk: Project) -> None:
    """Exit 78 with the text as it is."""
    for text in ("abc", "0", "65530", "-1", "٣٠١٠", "3010 "):
        with pytest.raises(ConfigError, match=f"CONDUCTOR_PORT is '{text}'"):
            leased(desk, "oslo", CONDUCTOR_PORT=text)


ROW = {"path": "/", "first": 1, "count": 1, "origin": "leased", "workspace": "x", "root": "/", "leased_at": "x"}


FOREIGN = [
    "",
    "[",
    "[" * 100_000,
    '{"format": 2, "blocks": []}',
    '[{"path": 1}]',
    json.dumps([ROW | {"path": 5}]),
    json.dumps([ROW | {"first": 65535, "count": 2}]),
    json.dumps([ROW]).replace('"count": 1', '"count": 1e400'),
]


def test_a_file_that_is_not_ours_is_not_overwritten(desk: Project) -> None:
    """Damaged, or of a k1ctl to come: exit 78 names it and says what to do; it stays as it is."""
    file = Path(os.environ["K1CTL_HOST_DIR"], "ports.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    for text in FOREIGN:
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"ports\.json is damaged, or of another version"):
            leased(desk, "oslo")
        assert file.read_text() == text


def test_a_file_that_cannot_be_read(desk: Project) -> None:
    """Exit 78 names it."""
    Path(os.environ["K1CTL_HOST_DIR"], "ports.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"ports\.json cannot be read: Is a directory"):
        leased(desk, "oslo")


def test_a_host_folder_that_cannot_be_written(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 78 names the file and the way out."""
    desk.write("in-the-way", "a file")
    monkeypatch.setenv("K1CTL_HOST_DIR", str(desk.root / "in-the-way" / "host"))
    with pytest.raises(ConfigError, match="cannot be written: Not a directory") as caught:
        leased(desk, "oslo")
    assert "K1CTL_HOST_DIR" in caught.value.hint


def test_names_that_are_no_text_are_kept(desk: Project) -> None:
    """A worktree whose path is not UTF-8 holds its ports like any other."""
    folder = os.fsencode(desk.root) + b"/tr\xe9e\n"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this filesystem wants UTF-8")
    facts = desk.facts()
    facts.path = os.fsdecode(folder)
    block = ports.lease(facts, config(desk), {})
    assert ports.of(facts) == block and ports.holders()[0].path == facts.path
