"""What a TAB press costs: from the key to the last name of the list, in real shells in a pseudo terminal.

Listed are 12 devices of ops/k1ctl.toml, the resources of 60 tickets and 12 records beside them, and in bash the
subcommands of `queue`. Beside it: the same shell listing words it was given beforehand (what the shell itself needs),
and click's own completion, which runs the program at every TAB. The first TAB of a shell, which may load functions, is
shown apart. Bar: 10 ms for the devices.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import time
from pathlib import Path

import kit
from report import Report, median, percentile

BAR = 10.0  # ms
WAIT = 10.0  # s after which something hangs
NAMES = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima"]
MORE = [
    "november",
    "oscar",
    "papa",
    "quebec",
    "romeo",
    "sierra",
    "tango",
    "uniform",
    "victor",
    "whiskey",
    "xray",
    "zulu",
]
LISTS = {"devices": "k1ctl upload --device ", "resources": "k1ctl queue run device:", "subcommands": "k1ctl queue "}
LAST = {"devices": NAMES[-1], "resources": MORE[-1], "subcommands": "wait"}
SHARE = kit.PLACE / "venv" / "share"
PROMPT = "READY>"

BASH = "bind 'set show-all-if-ambiguous on'; bind 'set completion-query-items 0'; bind 'set page-completions off'; "
ZSH = "autoload -Uz compinit; compinit -D -u; LISTMAX=1000; "
SETUP = {
    "bash": f"{BASH} source {SHARE}/bash-completion/completions/k1ctl.bash",
    "zsh": f"fpath=({SHARE}/zsh/site-functions $fpath); {ZSH}",
    "fish": f"source {SHARE}/fish/vendor_completions.d/k1ctl.fish",
}
GIVEN = {
    "bash": f"{BASH} complete -W '{' '.join(NAMES)}' k1ctl",
    "zsh": f"{ZSH} given() {{ compadd {' '.join(NAMES)} }}; compdef given k1ctl",
    "fish": f"complete -c k1ctl -f -a '{' '.join(NAMES)}'",
}
CLICK = f'{BASH} eval "$(_K1CTL_COMPLETE=bash_source {kit.K1CTL})"; PATH={kit.BIN}:$PATH'
ARGV = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--private", "--interactive"],
}
FISH = f"function fish_prompt; echo '{PROMPT} '; end; set -g fish_autosuggestion_enabled 0; set -g fish_greeting; "


class Terminal:
    """An interactive shell in a pseudo terminal; a context manager."""

    def __init__(self, shell: str, folder: Path, env: dict[str, str], setup: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            init = ["-C", FISH + setup] if shell == "fish" else []
            os.execvpe(shell, ARGV[shell] + init, {**env, "TERM": "xterm", "COLUMNS": "200", "LINES": "50"})
        if shell != "fish":
            self.write(f"{setup}; PS1='{PROMPT[:3]}''{PROMPT[3:]} '\r")
        self.until(PROMPT)
        self.clear()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def write(self, text: str) -> None:
        """Type."""
        os.write(self.fd, text.encode())

    def until(self, text: str) -> float:
        """Read until ``text`` was shown; returns when (seconds of the monotonic clock)."""
        seen, deadline = "", time.monotonic() + WAIT
        while text not in seen:
            if not select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise SystemExit(f"bench: {text!r} was not shown in {WAIT} s, but {seen[-2000:]!r}")
            seen += os.read(self.fd, 1 << 16).decode(errors="replace")
        return time.perf_counter()

    def silence(self, seconds: float = 0.03) -> None:
        """Read until nothing comes for so long."""
        while select.select([self.fd], [], [], seconds)[0]:
            os.read(self.fd, 1 << 16)

    def clear(self) -> None:
        """Throw the line away."""
        self.silence()
        self.write("\x03")
        self.silence()

    def tab(self, line: str, last: str) -> float:
        """Type a line, wait until it stands there, press TAB; milliseconds until ``last`` is shown."""
        self.write(line)
        self.silence()
        began = time.perf_counter()
        self.write("\t")
        took = (self.until(last) - began) * 1e3
        self.clear()
        return took


def fill(repository: kit.Repository) -> None:
    """Devices, tickets and records of leases."""
    (repository.ops / "k1ctl.toml").write_text("".join(f'[devices.{name}]\nhost = "k1.local"\n\n' for name in NAMES))
    history = repository.ops / "queue" / "history"
    history.mkdir(parents=True, exist_ok=True)
    for name in MORE:
        (history / f"device:{name}").touch()
    for i in range(60):
        (repository.tickets / f"w50.{i:010d}.4711.{'9f3c2a11' * 2}.device:{NAMES[0]}=1").touch()


def measure(report: Report, tool: str, what: str, terminal: Terminal, rounds: int) -> float | None:
    """Press TAB again and again; prints a row and returns the median, in ms."""
    last = LAST[what]
    first = terminal.tab(LISTS[what], last)
    idle = kit.quiet(5)
    times = [terminal.tab(LISTS[what], last) for _ in range(rounds)]
    report.put(
        f"a TAB that lists {what}",
        tool=tool,
        rounds=rounds,
        first_ms=round(first, 2),
        p50_ms=median(times),
        p95_ms=percentile(times, 0.95),
        idle=idle,
    )
    return median(times)


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    rounds = report.rounds(50, 5)
    with kit.Repository() as repository:
        fill(repository)
        for shell in (name for name in ARGV if shutil.which(name)):
            for what in LISTS if shell == "bash" else list(LISTS)[:2]:
                with Terminal(shell, repository.worktree, repository.env, SETUP[shell]) as terminal:
                    p50 = measure(report, shell, what, terminal, rounds)
                if what == "devices":
                    report.bar(f"a TAB in {shell} that lists {len(NAMES)} devices", p50, BAR, "ms")
            with Terminal(shell, repository.worktree, repository.env, GIVEN[shell]) as terminal:
                measure(report, f"{shell}, words given", "devices", terminal, rounds)
        with Terminal("bash", repository.worktree, repository.env, CLICK) as terminal:
            measure(report, "click in bash", "subcommands", terminal, rounds)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
