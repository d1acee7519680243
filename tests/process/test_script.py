"""A script holds a lease by a descriptor of its own: the kernel ends it with the descriptor's last copy."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import Config
from k1ctl.errors import K1ctlError
from k1ctl.process import script as scripts
from k1ctl.process.view import View
from k1ctl.queue import offer, view
from k1ctl.workspace import Workspace
from tests.kit import Project, finish, wait_until

K1CTL = f"{sys.executable} -m k1ctl"
DEVICE = '[devices.k1]\nhost = "127.0.0.1"\nmac = "02:4B:31:00:00:01"\n'
SHELLS = [shell for shell in ("dash", "bash", "zsh") if shutil.which(shell)]
TAKE = f'exec 9<>"$({K1CTL} queue ticket "$r" --label mine)" || exit 90; {K1CTL} queue acquire --fd 9 || exit $?; '
STAY = "touch began.$$; while ! test -e go; do sleep 0.02; done"


def start(project: Project, script: str, resource: str = "r", shell: str = "sh", **more: str) -> subprocess.Popen[str]:
    """A script of its own, its resource in ``$r``."""
    return subprocess.Popen(
        [shell, "-c", script],
        cwd=project.root,
        env={**project.environment(), "r": resource, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(script: subprocess.Popen[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a script that ends."""
    out, err = script.communicate(timeout=30)
    return script.returncode, out, err


def holds(project: Project, script: subprocess.Popen[str]) -> None:
    """Wait until the script has its lease."""
    wait_until(lambda: (project.root / f"began.{script.pid}").exists() or script.poll() is not None)
    assert script.poll() is None, script.communicate()


def tickets(project: Project) -> list[dict[str, Any]]:
    return view.entries(str(project.ops / "queue"))


def claim_of(project: Project) -> int:
    """The process that keeps the guard for the only lease."""
    [entry] = tickets(project)
    return int(entry["pid"])


def kill_with_children(script: subprocess.Popen[str]) -> None:
    """SIGKILL: a script's children hold its descriptor too."""
    import psutil

    if script.poll() is None:
        family = [*psutil.Process(script.pid).children(recursive=True), script]
        for each in family:
            each.kill()


@pytest.mark.parametrize(("shell", "resource"), [*zip(SHELLS, ("device:k1", "r", "r"), strict=False)])
def test_in_each_shell(workspace: Project, shell: str, resource: str) -> None:
    """Held from `acquire` to `exec 9>&-`, seen by others, asked for twice without harm; then the next one has it."""
    workspace.configure(DEVICE)
    script = TAKE + (
        f"{K1CTL} queue acquire --fd 9 || exit 91; {K1CTL} queue list; "
        f'{K1CTL} queue run "$r" --key k --wait 0 -- echo inner || exit 92; '
        f'exec 9>&-; {K1CTL} queue run "$r" --wait 10s -- echo next'
    )
    code, out, err = done(start(workspace, script, resource, shell))
    assert (code, err) == (0, "")
    listed, inner, after = out.splitlines()[1:]
    assert (listed.split()[1:5], inner, after) == (["running", resource, "repo", "mine"], "inner", "next")
    wait_until(lambda: tickets(workspace) == [])
    assert os.listdir(workspace.ops / "queue" / "offers") == []


@pytest.mark.parametrize("resource", ["r", "device:k1"])
@pytest.mark.parametrize("how", ["close", "exit", "kill"])
def test_whatever_ends_it_the_next_has_its_turn(workspace: Project, resource: str, how: str) -> None:
    """A run and a script wait behind a script, in order; closing, leaving and SIGKILL let them in one by one."""
    workspace.configure(DEVICE)
    first = start(workspace, TAKE + STAY + "; exec 9>&-; sleep 60 & wait" * (how == "close"), resource)
    holds(workspace, first)
    run = workspace.popen("queue", "run", resource, "--", "sh", "-c", "echo run >> order")
    wait_until(lambda: len(tickets(workspace)) == 2)
    second = start(workspace, TAKE + "echo script >> order; exit 7", resource)
    wait_until(lambda: len(tickets(workspace)) == 3)
    assert [t["state"] for t in tickets(workspace)] == ["running", "waiting", "waiting"]

    if how == "kill":
        kill_with_children(first)
    else:
        (workspace.root / "go").touch()

    assert finish(run) == 0
    assert done(second)[0] == 7
    ended = [e["event"] for e in workspace.events() if e.get("ticket") == 1 and e["event"] != "queue.granted"]
    assert set(ended) == {"queue.released"}, "a descriptor that was closed is no crash"
    assert (workspace.root / "order").read_text().split() == ["run", "script"]
    kill_with_children(first)
    first.communicate()
    workspace.run("queue", "run", resource, "--wait", "10s", "--", "true").assert_ok()
    assert tickets(workspace) == []


def test_children_keep_it_unless_they_close_it(workspace: Project) -> None:
    """A child that inherited the descriptor holds on when the script has ended; one with 9>&- does not."""
    ended = start(workspace, TAKE + "sleep 60 9>&- >&- 2>&- & echo $! > closed; sleep 60 >&- 2>&- & echo $! > open")
    assert done(ended)[0] == 0
    assert [t["state"] for t in tickets(workspace)] == ["running"]
    workspace.run("queue", "run", "r", "--wait", "50ms", "--", "true").assert_fails(75, "held by repo (mine, for ")
    os.kill(int((workspace.root / "open").read_text()), signal.SIGKILL)
    workspace.run("queue", "run", "r", "--wait", "10s", "--", "true").assert_ok()
    os.kill(int((workspace.root / "closed").read_text()), signal.SIGKILL)


def test_an_offer_claims_nothing(workspace: Project) -> None:
    """Made, and opened, a ticket stands in nobody's way and in no list; its number comes when it is acquired."""
    path = Path(workspace.run("queue", "ticket", "r", "b=1", "--json").assert_ok().json["path"])
    assert path.parent == workspace.ops / "queue" / "offers"
    waiting = start(workspace, f'exec 9<>"{path}"; {STAY}; {K1CTL} queue acquire --fd 9 --json')
    holds(workspace, waiting)
    workspace.run("queue", "run", "r", "--wait", "0", "--", "true").assert_ok()
    assert tickets(workspace) == []
    (workspace.root / "go").touch()
    code, out, _ = done(waiting)
    assert (code, '"ticket":2' in out) == (0, True)


def test_waiting_too_long_and_again(workspace: Project) -> None:
    """--wait ends with 75 and the ticket is an offer again; the next `acquire` on it takes the kept place."""
    holder = start(workspace, TAKE + STAY)
    holds(workspace, holder)
    script = (
        f'exec 9<>"$({K1CTL} queue ticket r)"; {K1CTL} queue acquire --fd 9 --wait 50ms; echo $?; ls ops/queue/offers'
    )
    script += f"; touch again; {K1CTL} queue acquire --fd 9 --wait 20s; echo $?"
    waiter = start(workspace, script)
    wait_until((workspace.root / "again").exists)
    later = workspace.popen("queue", "run", "r", "--", "true")
    wait_until(lambda: len(tickets(workspace)) == 3 and "parked" not in {t["state"] for t in tickets(workspace)})
    assert [t["ticket"] for t in tickets(workspace)] == [1, 2, 3]
    (workspace.root / "go").touch()
    code, out, err = done(waiter)
    assert (code, out.split()[0], out.split()[-1]) == (0, "75", "0")
    assert out.split()[1].startswith("o50."), "offered again"
    assert "took the kept place 2 over" in err
    assert finish(later) == 0
    assert finish(holder) == 0


def test_one_call_at_a_time(workspace: Project) -> None:
    """A second `acquire` of a ticket that another one stands in line for is refused, and harms the first in nothing:
    waiting too, it would hold the very lease it waits for.
    """
    holder = start(workspace, TAKE + STAY)
    holds(workspace, holder)
    again = f"{K1CTL} queue acquire --fd 9"
    second = f"while ! test -e second; do sleep 0.02; done; {again}; echo $?; touch go; wait"
    waiter = start(workspace, f'exec 9<>"$({K1CTL} queue ticket r)"; {again} & {second}')
    wait_until(lambda: len(tickets(workspace)) == 2)
    (workspace.root / "second").touch()
    code, out, err = done(waiter)
    assert (code, out, err.count("another call acquires this ticket")) == (0, "75\n", 1)
    assert finish(holder) == 0
    workspace.run("queue", "run", "r", "--wait", "10s", "--", "true").assert_ok()
    assert [e["ticket"] for e in workspace.events("queue.granted") if e["run"].startswith("script")] == [1, 2]
    assert os.listdir(workspace.ops / "queue" / "offers") == []


def test_ended_while_it_waits(workspace: Project) -> None:
    """TERM to `acquire` leaves the line; SIGKILL of it parks the place; `queue cancel` of it is told as for a run."""
    holder = start(workspace, TAKE + STAY)
    holds(workspace, holder)
    codes = []
    for way in (signal.SIGTERM, signal.SIGKILL, "cancel"):
        path = workspace.run("queue", "ticket", "r").stdout.strip()
        argv = [sys.executable, "-m", "k1ctl", "queue", "acquire", "--fd", "9"]
        shell = ["sh", "-c", f'exec 9<>"{path}"; exec "$@"', "sh", *argv]
        call = subprocess.Popen(shell, cwd=workspace.root, stderr=subprocess.DEVNULL)
        wait_until(lambda: tickets(workspace)[1:] and tickets(workspace)[1]["state"] == "waiting")
        number = str(tickets(workspace)[1]["ticket"])
        if isinstance(way, str):
            workspace.run("queue", "cancel", number).assert_ok()
        else:
            call.send_signal(way)
        codes.append(finish(call))
        wait_until(lambda: "waiting" not in {t["state"] for t in tickets(workspace)})
        if way != "cancel":
            workspace.run("queue", "cancel", number).assert_ok()  # parked
    assert codes == [143, -9, 75]
    workspace.run("queue", "cancel", str(tickets(workspace)[0]["ticket"])).assert_fails(1, "held by a script")
    (workspace.root / "go").touch()
    assert finish(holder) == 0


def test_another_repository_waits_for_the_device(make_workspace: Callable[..., Project]) -> None:
    """The host-wide guard goes with the script's lease; its keeper shuns TERM; a new `acquire` replaces a dead one."""
    one, two = make_workspace("one"), make_workspace("two")
    for project in (one, two):
        project.configure(DEVICE)
    script = (
        TAKE + STAY + f"; {K1CTL} queue acquire --fd 9 && rm go && touch kept; while ! test -e go; do sleep 0.02; done"
    )
    holder = start(one, script, "device:k1")
    holds(one, holder)
    two.run("queue", "run", "device:k1", "--wait", "100ms", "--", "true").assert_fails(75, "held by", str(one.root))
    keeper = claim_of(one)
    os.kill(keeper, signal.SIGTERM)
    two.run("queue", "run", "device:k1", "--wait", "100ms", "--", "true").assert_fails(75)
    os.kill(keeper, signal.SIGKILL)
    two.run("queue", "run", "device:k1", "--wait", "10s", "--", "true").assert_ok()
    assert [t["state"] for t in tickets(one)] == ["running"], "the lease is the script's, whoever dies"

    (one.root / "go").touch()
    wait_until((one.root / "kept").exists)
    two.run("queue", "run", "device:k1", "--wait", "100ms", "--", "true").assert_fails(75)
    waiter = two.popen("queue", "run", "device:k1", "--", "true")
    (one.root / "go").touch()
    assert finish(holder) == 0
    assert finish(waiter) == 0
    one.run("queue", "run", "device:k1", "--wait", "10s", "--", "true").assert_ok()
    wait_until(lambda: len(one.events("queue.released")) == 1)


def test_a_device_held_elsewhere_is_waited_for(make_workspace: Callable[..., Project]) -> None:
    """`acquire` and a submitted run wait for the guard too and say who has it; when time is over no place is kept."""
    one, two = make_workspace("one"), make_workspace("two")
    for project in (one, two):
        project.configure(DEVICE)
    holder = start(one, TAKE + STAY, "device:k1")
    holds(one, holder)
    script = TAKE.replace("--fd 9", "--fd 9 --wait 150ms")
    code, _, err = done(start(two, script, "device:k1"))
    assert (code, f"held by {one.root}" in err) == (75, True)
    assert tickets(two) == []
    run = two.run("queue", "submit", "device:k1", "--", "true").assert_ok().stdout.strip()
    told = two.run("queue", "wait", run, "--timeout", "50ms", "--json").assert_fails(75).json["error"]
    assert (told["code"], f"held by {one.root}" in told["message"]) == ("device-guarded", True)
    with two.popen("queue", "wait", run) as watcher:
        assert watcher.stderr is not None
        assert f"held by {one.root}" in watcher.stderr.readline()
        (one.root / "go").touch()
        assert finish(watcher) == 0
    assert finish(holder) == 0


def test_what_is_no_ticket(workspace: Project) -> None:
    """A closed descriptor, another file, a ticket cleaned away or claimed elsewhere: said, with what to type."""
    (workspace.ops / "queue").mkdir()
    for number in ("9", "99999999999"):
        told = workspace.run("queue", "acquire", "--fd", number)
        told.assert_fails(2, f"descriptor {number} is not open", "queue ticket")
    workspace.run("queue", "acquire", "--fd", "1").assert_fails(2, "--fd")
    workspace.run("queue", "ticket", "r=2").assert_fails(2, "r has 1 slot")
    workspace.run("queue", "ticket", "a/b").assert_fails(2, "not a resource name")
    code, _, err = done(start(workspace, f"exec 9<>other; {K1CTL} queue acquire --fd 9"))
    assert (code, "is no ticket" in err) == (2, True)
    gone = f'p=$({K1CTL} queue ticket r); exec 9<>"$p"; rm "$p"; {K1CTL} queue acquire --fd 9'
    code, _, err = done(start(workspace, gone))
    assert (code, "cleaned away" in err) == (1, True)
    twice = f'p=$({K1CTL} queue ticket r); exec 9<>"$p"; {K1CTL} queue acquire --fd 9; '
    twice += f'exec 8<>"$(ls $PWD/ops/queue/tickets/r*)"; {K1CTL} queue acquire --fd 8'
    code, _, err = done(start(workspace, twice))
    assert (code, "another descriptor" in err) == (75, True)


def test_a_lease_put_away_in_between_is_not_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second descriptor of a lease whose script ends just now: put away before it is locked, it is no lease."""
    lease = tmp_path / "tickets" / f"r50.0000000001.{os.getpid()}.-.r=1"
    lease.parent.mkdir()
    lease.write_text('{"kind":"script"}')
    monkeypatch.setattr(scripts, "queue_folder", lambda *_: str(tmp_path))
    locked = offer.lock
    monkeypatch.setattr(offer, "lock", lambda fd: (lease.unlink(), locked(fd)))
    somewhere = Workspace(str(tmp_path), str(tmp_path), "oslo")
    with lease.open("r+") as f, pytest.raises(K1ctlError, match="cleaned away"):
        scripts.acquire(somewhere, Config("", {}, {}), f.fileno(), None, View())


def test_what_a_script_may_ask_for_besides(workspace: Project) -> None:
    """What sorts behind its lease may be waited for; what sorts before is refused with the ticket to ask for instead;
    a program that closed the descriptor for its child waits like any other.
    """
    before, behind = (f"{K1CTL} queue run {r} --wait 5s -- echo ran" for r in ("build:fw", "tree:1"))
    blind = (
        f"{sys.executable} -c 'import subprocess; subprocess.run(\"{K1CTL} queue run m --wait 0 -- echo ran\".split())'"
    )
    code, out, err = done(start(workspace, TAKE + f"{behind}; {blind}; {before}", "m"))
    assert (code, out) == (2, "ran\n")
    assert "k1ctl queue ticket build:fw m" in err
    assert "held by repo (mine, for " in err


def test_under_a_run_that_holds_it_already(workspace: Project) -> None:
    """A script under `queue run r` needs no ticket for r; it is told so instead of waiting for itself."""
    told = workspace.run("queue", "run", "r", "--", "sh", "-c", TAKE, env={"r": "r"})
    told.assert_fails(2, "the run around this script holds r already")


def test_old_offers_are_swept(workspace: Project) -> None:
    """An offer that nobody acquired is removed after a day, by the next `ticket`; a claimed one is not."""
    old, claimed = (Path(workspace.run("queue", "ticket", "r").assert_ok().stdout.strip()) for _ in range(2))
    for path in (old, claimed):
        os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    import fcntl

    with claimed.open("r+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        workspace.run("queue", "ticket", "r").assert_ok()
    assert (old.exists(), claimed.exists()) == (False, True)
