"""The same command in a container: what it costs over the command itself.

The container's processes are no children of the tool that starts it. Where the tool names the first of them and it is
a process of this host (Linux) that began with the container, they are watched with it; else (a virtual machine, whose
numbers mean nothing here, as on a Mac) only time is compared.
"""

from __future__ import annotations

import os
import time

from k1ctl.capacity import baseline, processes
from k1ctl.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from subprocess import Popen
    from typing import Any

    from k1ctl.capacity.baseline import Measured
    from k1ctl.capacity.sampler import Sampler

_LINUX = os.uname().sysname == "Linux"
TOOLS = ("docker", "podman", "container")  # the last is Apple's
_ANSWER = 5.0  # s that the tool may take to answer
_DOWN = ("connect", "no answer", "permission denied")  # of the tool's own service, in what it says
_NOT_RUN = (125, 126, 127)  # docker-run(1), podman-run(1): the tool failed, the command cannot be run, or is not there
_FIRST, _TRIES = 0.05, 12  # s until it is first asked for the process, doubled each time; how often
_ROUNDED = 1.0  # s by which a process may seem older than it is


def tool(image: str) -> str:
    """The first of the tools that is on PATH; it has ``image``, so that nothing is fetched while time is taken.

    Raises NotFoundError (no-container-tool, no-image).
    """
    import shutil

    found = next((path for path in map(shutil.which, TOOLS) if path), None)
    if found is None:
        raise NotFoundError(
            "no tool that runs containers is on PATH",
            hint=f"install one of {', '.join(TOOLS)}, or leave --container away",
            code="no-container-tool",
        )
    done = _ask(found, "image", "inspect", image)
    if done[0]:
        name = os.path.basename(found)
        why = done[1].strip().partition("\n")[0] or f"exit code {done[0]}"
        hint = f"{name} image pull {image}, then again"
        if any(word in why.lower() for word in _DOWN):
            hint = f"see whether {name} works: {name} info"
        raise NotFoundError(f"{name} cannot run {image}: {why}", hint=hint, code="no-image")
    return found


def _ask(path: str, *words: str) -> tuple[int, str]:
    """(exit code, what it says: on stderr where it fails) of a call of the tool."""
    import subprocess

    try:
        done = subprocess.run(
            [path, *words], stdin=subprocess.DEVNULL, capture_output=True, errors="replace", timeout=_ANSWER
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {_ANSWER:g} s"
    except OSError as exc:
        return 1, str(exc.strerror)
    return done.returncode, (done.stderr if done.returncode else done.stdout)


def call(path: str, image: str, argv: Sequence[str], cwd: str, name: str) -> list[str]:
    """The tool's words for the command in ``image``, in the same folder and as the same user."""
    words = [path, "run", "--rm", "--name", name, "-v", f"{cwd}:{cwd}", "-w", cwd]
    kind = os.path.basename(path)
    if kind == "docker":
        words += ["--user", f"{os.getuid()}:{os.getgid()}"]
    elif kind == "podman":
        words += ["--userns", "keep-id"]
    return [*words, image, *argv]


class Container:
    """One run in a container; ``found``: its first process is watched with the tool that started it."""

    def __init__(self, path: str, image: str) -> None:
        self.path, self.image = path, image
        self.name = f"k1ctl-baseline-{os.getpid()}-{os.urandom(3).hex()}"
        self.found = False
        self._tries, self._next = 0, time.monotonic() + _FIRST
        self._asked: Popen[bytes] | None = None

    def run(
        self,
        argv: Sequence[str],
        *,
        interval: float,
        duration: float,
        grace: float,
        cwd: str,
        stdout: int | None,
        show: Callable[[Sampler], None] | None = None,
    ) -> Measured:
        """Run the command in the container and watch it, as `baseline.command` does."""
        words = call(self.path, self.image, argv, cwd, self.name)
        try:
            measured = baseline.command(
                words,
                interval=interval,
                duration=duration,
                grace=grace,
                cwd=cwd,
                stdout=stdout,
                show=show,
                each=self._attach,
            )
        except BaseException:
            _ask(self.path, "kill", self.name)
            raise
        finally:
            self._answer(wait=False)
        if measured.ended_by != baseline.COMMAND:
            _ask(self.path, "kill", self.name)  # a tool that was killed leaves its container behind
        return measured

    def _attach(self, measured: Measured) -> None:
        """Ask for the container's first process until it is told; nobody waits for the answer meanwhile."""
        if self._asked is not None:
            answer = self._answer(wait=time.monotonic() < self._next)
            pid = int(answer) if answer.isdigit() else 0
            age = processes.age(pid) if pid > 1 else None
            if age is not None and age <= time.monotonic() - measured.began + _ROUNDED:
                self.found = True
                measured.sampler.watch.also(pid)
        elif not self.found and self._tries < _TRIES and time.monotonic() >= self._next and _LINUX:
            import subprocess

            words = [self.path, "inspect", "--format", "{{.State.Pid}}", self.name]
            self._tries += 1
            try:
                self._asked = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
            except OSError:
                self._tries = _TRIES
            self._next = time.monotonic() + _ANSWER

    def _answer(self, *, wait: bool) -> bytes:
        """What the tool has answered; b"" when it has not, or failed. Without ``wait`` that was its time."""
        asked = self._asked
        if asked is None or asked.stdout is None or (asked.poll() is None and wait):
            return b""
        self._asked, self._next = None, time.monotonic() + min(_FIRST * 2**self._tries, _ANSWER)
        with asked:
            if asked.poll() is None:
                asked.kill()
            os.set_blocking(asked.stdout.fileno(), False)  # whom it started may hold the pipe
            return b"" if asked.wait() else (asked.stdout.read(64) or b"").strip()


def overhead(native: Measured, contained: Measured, container: Container) -> dict[str, Any]:
    """What the container adds to the command, as JSON; memory and CPU are None where its processes are not seen, and so
    is the difference in time where it did not come to its end."""
    document, alone = contained.document(), native.memory()
    ran = contained.exit_code not in _NOT_RUN
    whole, within = ran and contained.ended_by == baseline.COMMAND, document["memory"]
    metric = "peak_bytes" if within["peak_metric"] == alone["peak_metric"] else "rss_sum_peak_bytes"
    seen = whole and container.found and None not in (within[metric], alone[metric])
    more = within[metric] - alone[metric] if seen else None
    longer = contained.wall_seconds - native.wall_seconds if whole else None
    return {
        "tool": os.path.basename(container.path),
        "image": container.image,
        "exit_code": contained.exit_code,
        "ran": ran,
        "ended_by": contained.ended_by,
        "wall_seconds": document["wall_seconds"],
        "memory": document["memory"] if seen else None,
        "cpu_seconds": round(contained.cpu_total, 3) if seen else None,
        "overhead": {
            "wall_seconds": None if longer is None else round(longer, 3),
            "wall_percent": None if longer is None else round(100 * longer / max(native.wall_seconds, 1e-9), 1),
            "peak_bytes": more,
            "peak_percent": round(100 * more / alone[metric], 1) if more is not None and alone[metric] else None,
            "peak_metric": within["peak_metric"] if metric == "peak_bytes" else "rss",
            "cpu_seconds": round(contained.cpu_total - native.cpu_total, 3) if seen else None,
        },
    }
