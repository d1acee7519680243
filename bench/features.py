"""What the tools can do, found out by doing it: k1ctl, flock(1), tsp, nq and sem side by side.

Each line is one question, tried on each tool in a place of its own; an answer in brackets is the manual's, where a
tool has no such option that could be tried. Nothing here is a bar; the table is for choosing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable

import kit
from arena import Arena, Tool, flock, k1ctl, nq, sem, tsp
from crash import crash
from handover import measure, most_at_once
from report import Report

NO_OPTION = "(no option)"


def make(name: str, *options: str, slots: int = 1) -> Tool:
    """A tool by name."""
    if name == "flock":
        return flock(*options)
    if name == "nq":
        return nq()
    return {"k1ctl": k1ctl, "tsp": tsp, "sem": sem}[name](*options, slots=slots)


def call(arena: Arena, command: list[str], seconds: float = 20.0) -> tuple[int, str, float]:
    """(exit code, stdout, seconds) of a call of the arena's tool."""
    began = time.monotonic()
    argv = arena.tool.argv(arena, command)
    done = subprocess.run(
        argv,
        cwd=arena.repository.worktree,
        env=arena.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout, time.monotonic() - began


def script(arena: Arena, text: str) -> str:
    """A program that runs a line of shell; sem takes no quoted words."""
    path = f"{arena.folder}/script"
    with open(path, "w") as f:
        f.write(f"#!/bin/sh\n{text}\n")
    os.chmod(path, stat.S_IRWXU)
    return path


def in_order(name: str) -> str:
    tau = float(measure(make(name), 12)["tau"])
    return "yes" if tau == 1 else f"no, tau {tau:g}"


def slots(name: str) -> str:
    if name in ("flock", "nq"):
        return NO_OPTION
    return "yes" if measure(make(name, slots=2), 6)["at_once"] == 2 else "no"


def priority(name: str) -> str:
    """A call that comes last with precedence is served first."""
    option = {"k1ctl": ["--priority", "high"], "tsp": ["-u"]}.get(name)
    if option is None:
        return NO_OPTION
    with Arena(make(name)) as arena:
        gate = arena.gated("gate")[1]
        arena.line_up(2)
        if name == "k1ctl":
            arena.tool = make(name, *option)
            arena.start("urgent")
        else:  # tsp names a job by its number, the last by none
            arena.start("urgent")
            time.sleep(0.3)
            subprocess.run(["tsp", *option], env=arena.env, check=True)
        time.sleep(0.5)
        os.close(gate)
        arena.ended(4)
        starts = arena.events()[0]
        return "yes" if starts["urgent"] < starts["0"] else "no"


def _killed(mode: str) -> Callable[[str], str]:
    def ask(name: str) -> str:
        found = crash(make(name), mode)
        if found.get("double_use_ms"):
            return "no, a second one runs beside it"
        after = found["next_ms"]
        return "no, it stays taken" if after is None else f"yes, after {after:.0f} ms"

    return ask


def daemon(name: str) -> str:
    """A command leaves a process in a session of its own behind: does that keep the place?"""
    with Arena(make(name)) as arena:
        arena.start("gate", command=[script(arena, f"{' '.join(arena.hold('gate', 300))}; setsid sleep 3 & exit 0")])
        arena.until(lambda: "gate" in arena.events()[0])
        arena.start("0")
        arena.until(lambda: "0" in arena.events()[0], 10)
        starts, ends = arena.events()
        late = (starts["0"] - ends["gate"]) / 1e9
        return "yes" if late < 1 else f"no, {late:.1f} s late"


def place_kept(name: str) -> str:
    """The first of two waiters is killed with SIGKILL and calls again: is it still before the second?"""
    with Arena(make(name)) as arena:
        gate = arena.gated("gate")[1]
        first = arena.start("first")
        time.sleep(0.5)
        arena.start("second")
        time.sleep(0.5)
        for pid in arena.processes("first") if name == "nq" else [first.pid]:
            arena.kill(pid)
        time.sleep(0.3)
        arena.start("first")
        time.sleep(0.7)
        os.close(gate)
        arena.ended(3, 10)
        starts = arena.events()[0]
        return "yes" if starts.get("first", 1 << 62) < starts["second"] else "no"


def stopped(name: str) -> str:
    """The first waiter is stopped (SIGSTOP) when its turn comes: does the next one go on?"""
    with Arena(make(name)) as arena:
        gate = arena.gated("gate")[1]
        arena.line_up(2)
        victims = arena.processes("0")
        if name == "tsp":
            victims = [pid for pid in victims if os.getsid(pid) == arena.clients[1].pid]
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.close(gate)
        began = time.monotonic()
        passed = arena.until(lambda: "1" in arena.events()[0], 6)
        late = time.monotonic() - began
        for pid in victims:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)
        return f"yes, after {late:.1f} s" if passed else "no"


def wait_limit(name: str) -> str:
    """A wait of 0.3 s at most is given up with an exit code of its own, and the command is not run."""
    options = {"k1ctl": ("--wait", "300ms"), "flock": ("-w", "0.3", "-E", "75"), "sem": ("--st", "-1")}.get(name)
    if options is None:
        return NO_OPTION
    with Arena(make(name)) as arena:
        gate = arena.gated("gate")[1]
        arena.tool = make(name, *options)
        code, _, _ = call(arena, arena.hold("late"))
        ran = "late" in arena.events()[0]
        os.close(gate)
        return "no" if ran or not code else f"yes, exit {code}"


def run_limit(name: str) -> str:
    """A command that runs too long is stopped."""
    options = {"k1ctl": ("--timeout", "300ms"), "sem": ("--timeout", "1")}.get(name)
    if options is None:
        return NO_OPTION
    with Arena(make(name, *options)) as arena:
        code, _, seconds = call(arena, ["sleep", "10"])
        return f"yes, exit {code}" if seconds < 5 else "no"


def status(name: str) -> str:
    with Arena(make(name)) as arena:
        code, _, _ = call(arena, [script(arena, "exit 7")])
        return "yes" if code == 7 else f"no, {code}"


def output(name: str) -> str:
    with Arena(make(name)) as arena:
        _, text, _ = call(arena, [script(arena, "echo here")])
        return "yes" if text == "here\n" else "no"


def log_kept(name: str) -> str:
    """What a finished command printed can be read later."""
    with Arena(make(name)) as arena:
        call(arena, [script(arena, "echo something-to-find")])
        time.sleep(0.3)
        found = subprocess.run(
            ["grep", "-rl", "--include=*", "^something-to-find", arena.folder], stdout=subprocess.PIPE, text=True
        )
        return "yes" if [p for p in found.stdout.split() if not p.endswith("/script")] else "no"


def listing(name: str) -> str:
    """The tool itself lists the one that runs and the one that waits."""
    argv = {"k1ctl": [kit.K1CTL, "queue", "list"], "tsp": ["tsp", "-l"]}.get(name)
    if argv is None:
        return NO_OPTION
    with Arena(make(name)) as arena:
        gate = arena.gated("holder")[1]
        arena.start("waiter")
        time.sleep(0.6)
        done = subprocess.run(argv, cwd=arena.repository.worktree, env=arena.env, stdout=subprocess.PIPE, text=True)
        os.close(gate)
        return "yes" if "holder" in done.stdout and "waiter" in done.stdout else "no"


def cancel(name: str) -> str:
    """A waiter is taken out of the line by the tool, without looking for its process."""
    if name not in ("k1ctl", "tsp"):
        return NO_OPTION
    with Arena(make(name)) as arena:
        gate = arena.gated("gate")[1]
        arena.start("victim")
        time.sleep(0.6)
        if name == "k1ctl":
            (waiting,) = (f for f in os.listdir(arena.repository.tickets) if f[0] == "w")
            argv = [kit.K1CTL, "queue", "cancel", str(int(waiting.split(".")[1]))]
        else:
            argv = ["tsp", "-r"]
        subprocess.run(
            argv, cwd=arena.repository.worktree, env=arena.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(gate)
        arena.ended(1)
        time.sleep(0.5)
        return "no" if "victim" in arena.events()[0] else "yes"


def together(name: str) -> str:
    """Calls that want the same two resources, named in opposite order, never wait for each other for ever."""
    if name != "k1ctl":
        return NO_OPTION
    with Arena(make(name)) as arena:
        calls = []
        for i in range(10):
            wanted = ["R", "S"] if i % 2 else ["S", "R"]
            argv = [kit.K1CTL, "queue", "run", *wanted, "--", *arena.hold(str(i), 5)]
            calls.append(subprocess.Popen(argv, cwd=arena.repository.worktree, env=arena.env))
        ended = all(process.wait(20) == 0 for process in calls)
        return "yes" if ended and most_at_once(*arena.events()) == 1 else "no"


QUESTIONS: dict[str, Callable[[str], str]] = {
    "served in the order of arrival": in_order,
    "more than one slot": slots,
    "precedence": priority,
    "several resources at once": together,
    "kill -9 of tool and command frees the place": _killed("tree"),
    "kill -9 of the tool alone: its command keeps the place": _killed("wrapper"),
    "a daemon left behind does not keep the place": daemon,
    "a waiter killed with -9 gets its place back": place_kept,
    "a stopped waiter is passed": stopped,
    "a limit for waiting": wait_limit,
    "a limit for running": run_limit,
    "a waiter can be taken out": cancel,
    "lists who runs and who waits": listing,
    "passes the exit status on": status,
    "passes the output on": output,
    "keeps the output": log_kept,
}


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    names = [name for name in ("k1ctl", "flock", "tsp", "nq", "sem") if make(name).there]
    for question, ask in QUESTIONS.items():
        answers = {}
        for name in names:
            try:
                answers[name] = ask(name)
            except (OSError, ValueError, KeyError, subprocess.SubprocessError, SystemExit) as exc:
                answers[name] = f"failed: {type(exc).__name__} {exc}"[:60]
        report.put("features", tool=question, **answers)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
