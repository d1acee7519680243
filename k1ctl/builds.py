"""Kinds of build: what a plugin gives ``k1ctl build`` so that it can run, follow and keep a build."""

from __future__ import annotations

import os
import time

from k1ctl.jsontext import dumps
from k1ctl.masking import masked_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


class BuildRequest:
    """One build that was asked for.

    ``target`` is the name in ``[targets.NAME]`` and ``settings`` its section; ``project`` the absolute project folder;
    ``variant`` what the caller wants built of it (PlatformIO: the environment; "" = the target's default); ``clean``:
    nothing that earlier builds left is to be used; ``release``: optimised as for a release.
    """

    __slots__ = ("clean", "config", "project", "release", "settings", "target", "variant", "workspace")

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        target: str,
        *,
        variant: str = "",
        clean: bool = False,
        release: bool = False,
    ) -> None:
        """Raises ConfigError when the target is not configured."""
        self.workspace, self.config, self.target = workspace, config, target
        self.settings = config.named("targets", target)
        self.project = os.path.normpath(os.path.join(workspace.path, str(self.settings["path"])))
        self.variant, self.clean, self.release = variant, clean, release


class BuildCommand:
    """What to run: ``argv`` (program by absolute path), folder and environment.

    ``variant`` is the one that was chosen; ``jobs_option`` takes the number of compilers ("" when there is none), or is
    ``{jobs}``, which stands for that number in the words; ``cache`` names what answers for compilers ("" for none);
    ``notes`` tell the user what was left out or replaced; `BuildKind.outputs` may add some. ``began_ns`` is when the
    command was about to start (Unix time; 0: not yet).
    """

    __slots__ = ("argv", "began_ns", "cache", "cwd", "env", "jobs_option", "notes", "variant")

    def __init__(
        self, argv: list[str], cwd: str, env: dict[str, str], *, variant: str = "", jobs_option: str = ""
    ) -> None:
        self.argv, self.cwd, self.env, self.variant, self.jobs_option = argv, cwd, env, variant, jobs_option
        self.cache, self.began_ns = "", 0
        self.notes: list[str] = []

    def with_jobs(self, jobs: int) -> list[str]:
        """``argv`` for so many compilers at once."""
        if self.jobs_option == "{jobs}":
            return [self.argv[0], *(word.replace("{jobs}", str(jobs)) for word in self.argv[1:])]
        return [*self.argv, self.jobs_option, str(jobs)] if self.jobs_option else list(self.argv)


class BuildResult:
    """What a build's log tells.

    Sizes in bytes (None: not told); kept warning lines and their full count; kept error lines (a message with its
    context has several, the tool's summary is one too) and the full count of error messages; ``steps`` what was not up
    to date: files compiled, archived, linked or taken from a cache (None: not told); ``cache_hits`` those of them that
    a cache answered (None: no cache, or not told); ``tools`` {name: version}, ``status`` and seconds as the tool says.
    """

    __slots__ = (
        "cache_hits",
        "error_count",
        "errors",
        "flash_total",
        "flash_used",
        "ram_total",
        "ram_used",
        "status",
        "steps",
        "tool_seconds",
        "tools",
        "warning_count",
        "warnings",
    )

    def __init__(self) -> None:
        self.ram_used: int | None = None
        self.ram_total: int | None = None
        self.flash_used: int | None = None
        self.flash_total: int | None = None
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.warning_count = self.error_count = 0
        self.steps: int | None = None
        self.cache_hits: int | None = None
        self.status = ""
        self.tools: dict[str, str] = {}
        self.tool_seconds: float | None = None

    def document(self) -> dict[str, Any]:
        """The result as JSON-able facts, units in the names; the kept lines have no secrets that a tool printed and
        are cut to a few thousand bytes, so that the document passes through a pipe in one write."""
        return {
            "ram_used_bytes": self.ram_used,
            "ram_total_bytes": self.ram_total,
            "flash_used_bytes": self.flash_used,
            "flash_total_bytes": self.flash_total,
            "warning_count": self.warning_count,
            "warnings": fitting([masked_line(line) for line in self.warnings], 2000),
            "error_lines": fitting([masked_line(line) for line in self.errors], 5000),
            "error_message_count": self.error_count,
            "steps": self.steps,
            "cache_hits": self.cache_hits,
        }


class BuildReader:
    """Reads a build's log while it is written."""

    stages = True  # whether the first word of a progress names a stage, worth a line of its own in a plain log

    def feed(self, line: bytes | str) -> str | None:
        """Take one line; return a few words when there is progress to show. Never raises."""
        raise NotImplementedError

    def result(self) -> BuildResult:
        """What was read so far."""
        raise NotImplementedError


def fitting(lines: list[str], limit: int) -> list[str]:
    """As many of the first lines as take ``limit`` bytes of JSON."""
    kept, used = [], 0
    for line in lines:
        used += len(dumps(line)) + 1
        if used > limit:
            break
        kept.append(line)
    return kept


class BuildKind:
    """A way to build, chosen by ``kind`` in ``[targets.NAME]``. Subclass it and return it from `k1ctl_build_kinds`."""

    name = ""
    releases = False  # whether ``build --release`` means something here
    every_output_counts = False  # whether an artifact is another one when any output differs, not only the image

    def prepare(self, request: BuildRequest) -> BuildCommand:
        """Check the request and say what to run; changes nothing. Raises K1ctlError."""
        raise NotImplementedError

    def begin(self, request: BuildRequest, command: BuildCommand) -> None:
        """Last steps before the command starts, called with the worktree's lease held: cleaning, stale folders."""

    def end(self, request: BuildRequest, command: BuildCommand) -> None:
        """Last steps after a build that succeeded and is kept, called with the worktree's lease held."""

    def reader(self, request: BuildRequest) -> BuildReader:
        """A fresh reader for this build's log."""
        raise NotImplementedError

    def outputs(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        """{file name in the artifact: path that was built}, the image first; files that are missing are passed over,
        except the first."""
        raise NotImplementedError

    def from_nothing(self, request: BuildRequest, command: BuildCommand) -> bool:
        """Whether this build has nothing of earlier ones to use: what it will take is told from builds like it."""
        return request.clean

    def cache_hits(self, request: BuildRequest, command: BuildCommand, read: BuildResult) -> int | None:
        """The hits of ``command.cache`` in the build that just ended, where the log (``read``) does not tell them."""
        return read.cache_hits if command.cache else None

    def tool_versions(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        """{tool: version} for the manifest, beside those that the log names."""
        return {}


_GIT_SECONDS = 20.0  # how long `SourceState.document` waits for git at most


class SourceState:
    """Asks git for commit and state of a worktree, in the background: make it early, `document` when it is needed.

    git writes to an unlinked file and not to a pipe, so that it ends however much it says and whether anybody asks;
    it has a session of its own, so that no stopped build waits for it.
    """

    def __init__(self, tree: str, project: str) -> None:
        """Starts ``git status``; without git (or outside a repository) everything is unknown."""
        import subprocess
        from tempfile import TemporaryFile

        from k1ctl.git import environment
        from k1ctl.programs import which

        self._process: subprocess.Popen[bytes] | None = None
        self._tree, self._changes, self._began = tree, list[bytes](), time.time_ns()
        self._ignored = os.path.relpath(os.path.join(project, ".pio"), tree).encode() + b"/"
        git = which("git")
        if git:
            try:
                self._out = TemporaryFile()
            except OSError:
                return
            self._process = subprocess.Popen(
                [git, "-C", tree, "status", "--porcelain=v2", "--branch", "-z", "--", os.path.relpath(project, tree)],
                stdin=subprocess.DEVNULL,
                stdout=self._out,
                stderr=subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,
            )

    def document(self) -> dict[str, Any]:
        """``commit`` ("" when unknown) and ``dirty`` (None when unknown): whether the project has changes or new
        files that the commit does not have; ``source_note`` where git was too slow to tell."""
        if self._process is None:
            return {"commit": "", "dirty": None}
        out = self._answer(self._process)
        if out is None:
            return {"commit": "", "dirty": None, "source_note": f"git status took longer than {_GIT_SECONDS:g} s"}
        if self._process.returncode:
            return {"commit": "", "dirty": None}
        lines = out.split(b"\0")
        oid = next((line[13:].decode("ascii", "replace") for line in lines if line.startswith(b"# branch.oid ")), "")
        self._changes = [line for line in lines if line and not line.startswith((b"# ", b"? " + self._ignored))]
        return {"commit": "" if oid == "(initial)" else oid, "dirty": bool(self._changes)}

    def _answer(self, process: subprocess.Popen[bytes]) -> bytes | None:
        """What git said; None when it did not end in time and was killed."""
        from subprocess import TimeoutExpired

        with self._out:
            try:
                process.wait(_GIT_SECONDS)
            except TimeoutExpired:
                process.kill()
                return None
            self._out.seek(0)
            return self._out.read()

    def fingerprint(self) -> str:
        """What tells two dirty states of a commit apart, of `document`'s last look ("" when clean or unknown): which
        files changed, their sizes and times. A file changed since the look began counts as another state."""
        from hashlib import sha256

        digest = sha256()
        for line in self._changes:
            fields = line.split(b" ", {b"1": 8, b"2": 9, b"u": 10, b"?": 1}.get(line[:1], 0))  # git-status(1), v2
            digest.update(line + b"\0")
            try:
                found = os.lstat(os.path.join(os.fsencode(self._tree), fields[-1]))
            except OSError:
                continue
            later = found.st_mtime_ns > self._began
            digest.update(b"later" if later else b"%d %d" % (found.st_size, found.st_mtime_ns))
        return digest.hexdigest()[:16] if self._changes else ""


def made_of(before: SourceState, later: SourceState, run: str) -> tuple[dict[str, Any], str]:
    """`SourceState.document` and `SourceState.fingerprint` of what the build ``run`` was made of.

    ``before`` was looked at when it began and ``later`` when it was over. Where they differ, some of what was built is
    of neither: it counts as dirty, ``source_note`` says why, and its fingerprint is that of no other state.
    """
    told, now = before.document(), later.document()
    fingerprint = before.fingerprint()
    unknown = told["dirty"] is None or now["dirty"] is None
    if unknown or (told == now and fingerprint == later.fingerprint()):
        return told, fingerprint
    return {**told, "dirty": True, "source_note": "the sources changed while they were built"}, f"changing-{run}"
