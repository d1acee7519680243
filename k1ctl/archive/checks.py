"""What stands against removing a worktree, and what of it will be in the archive. What cannot be told is refused.

Levels: ``refuse``: it is not removed; ``keep``: it will be in the archive, and is told; ``note``: worth knowing.
The archive holds everything that is only here, so changes, untracked files, an unfinished rebase and commits that were
not pushed are kept. Refused is what somebody still uses, and what is not surely a whole worktree of this repository.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.archive.activity import STATUS, regenerable
from k1ctl.archive.globs import matches
from k1ctl.errors import K1ctlError
from k1ctl.files import read_bytes
from k1ctl.git import call, names, output
from k1ctl.worktrees import OPERATIONS, own_git_dir

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from k1ctl.archive.processes import Processes
    from k1ctl.archive.runs import Runs
    from k1ctl.config import Config
    from k1ctl.git import Answer
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

# Refusals that pass by themselves or that somebody wants: no failure of a call that did not name the worktree.
PASSING = frozenset(
    (
        *("main-checkout", "current-worktree", "folder-gone", "worktree-locked", "in-use", "process", "index-lock"),
        *("nested-worktree", "changed-meanwhile", "worktree-busy"),
    )
)
_CONFLICTS = frozenset(("DD", "AU", "UD", "UA", "DU", "AA", "UU"))
_SHOWN = 3  # names that a finding gives


class Finding(NamedTuple):
    """One finding: ``code`` and ``level`` as the module says, ``message`` and ``hint`` for people."""

    code: str
    level: str
    message: str
    hint: str = ""

    def document(self) -> dict[str, str]:
        return self._asdict()


class _Refused(Exception):
    """With this one, nothing further can be looked at."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.finding = Finding(code, "refuse", message, hint)


_STOPS = (_Refused, K1ctlError, OSError)


def refusals(findings: Sequence[Finding]) -> list[Finding]:
    """Those that forbid the removal."""
    return [finding for finding in findings if finding.level == "refuse"]


def made_by_conductor(config: Config, path: str) -> bool:
    """Whether Conductor made the worktree at ``path``, and so removes it itself: ``archive.conductor``, or its own
    ``CONDUCTOR_WORKSPACE_PATH``."""
    named = os.environ.get("CONDUCTOR_WORKSPACE_PATH") or ""
    given = config.get("archive", "conductor")
    return matches(path, given) or matches(os.path.realpath(path), given) or (bool(named) and _same(named, path))


def examine(
    workspace: Workspace,
    config: Config,
    entry: Entry,
    processes: Processes,
    *,
    runs: Runs | None = None,
    known: Sequence[Entry] | None = None,
    status: Answer | None = None,
    history: bool = True,
) -> list[Finding]:
    """All that is found about removing the worktree ``entry``; nothing is changed.

    ``processes`` and ``runs`` (default: read now) are looked at once for all worktrees; ``known`` are the repository's
    worktrees, ``status`` what git just answered to `STATUS`. Without ``history``, only what may forbid it is looked at
    closely. Never raises for what the worktree is like: that is a finding.
    """
    found: list[Finding] = []
    try:
        own = _hindrances(found, workspace, config, entry, processes, runs)
        found += nested(workspace, entry, known)
        lines = _lines(status or call(STATUS, entry.path))
        found += _changes(lines, config.get("archive", "regenerable"))
        if history:
            found += _hidden(entry.path)
            found += _history(entry, own)
    except _STOPS as exc:
        found.append(_stopped(exc))
    if made_by_conductor(config, entry.path):
        told = "Conductor made it and removes it itself: it is saved, and stays"
        found.append(Finding("conductor", "note", told))
    return found


def examine_again(workspace: Workspace, config: Config, entry: Entry, processes: Processes) -> list[Finding]:
    """What forbids removing a worktree that was just saved; `k1ctl.archive.save.unchanged` sees to its content."""
    found: list[Finding] = []
    try:
        _hindrances(found, workspace, config, entry, processes, None)
    except _STOPS as exc:
        found.append(_stopped(exc))
    if made_by_conductor(config, entry.path):
        found.append(Finding("conductor", "refuse", "Conductor made it and removes it itself"))
    return refusals(found)


def _hindrances(
    found: list[Finding],
    workspace: Workspace,
    config: Config,
    entry: Entry,
    processes: Processes,
    runs: Runs | None,
) -> str:
    """Add to ``found`` what stands against the removal beside the content; returns the worktree's own git folder."""
    own = _place(workspace, entry)
    found += _users(workspace, config, entry, processes, runs)
    found += locks(own)
    return own


def _stopped(exc: Exception) -> Finding:
    if isinstance(exc, _Refused):
        return exc.finding
    words = exc.message if isinstance(exc, K1ctlError) else str(exc)
    return Finding("unreadable", "refuse", words, "what cannot be looked at is not removed")


def _place(workspace: Workspace, entry: Entry) -> str:
    """Check that this is a linked worktree of this very repository; returns its own git folder."""
    path, linked = entry.path, os.path.join(entry.path, ".git")
    if entry.main or (os.path.isdir(path) and _same(path, workspace.root)):
        raise _Refused("main-checkout", f"{path} is the main checkout")
    if not os.path.lexists(path):
        hint = "k1ctl worktree doctor explains it; what an earlier archive holds, k1ctl archive list shows"
        raise _Refused("folder-gone", f"{path} is gone: only git's record of it is left", hint)
    if os.path.islink(path) or not os.path.isdir(path):
        what = f"a link to {os.path.realpath(path)}" if os.path.islink(path) else "no folder"
        hint = "git worktree repair FOLDER, called with where it lies now, makes git know it there"
        raise _Refused("not-a-folder", f"{path} is {what}", hint)
    if os.path.ismount(path):
        raise _Refused("mount-point", f"{path} is a mount point: it cannot be moved away", "unmount it first")
    if os.path.islink(linked) or not os.path.isfile(linked):
        raise _Refused("not-linked", f"{linked} is no link of git's", "k1ctl worktree doctor explains it")
    own = own_git_dir(path)
    parent = os.path.join(workspace.git_dir, "worktrees")
    if not own or not os.path.isdir(own) or not _same(os.path.dirname(own), parent):
        told = f"{linked} leads to {own or 'nowhere'}, which is no worktree of {workspace.root}"
        raise _Refused("not-linked", told, "k1ctl worktree doctor explains it")
    back = os.path.join(own, _text(own, "gitdir"))
    if not _same(os.path.dirname(back), path) or os.path.basename(back) != ".git":
        told = f"git's record of {path} leads to {os.path.dirname(back)}"
        raise _Refused("not-linked", told, "k1ctl worktree repair mends links after a move")
    return own


def _users(
    workspace: Workspace, config: Config, entry: Entry, processes: Processes, runs: Runs | None
) -> Iterator[Finding]:
    """Who has it: a lock of git's, this very call, runs and places in line, processes."""
    from k1ctl.archive.processes import named

    if entry.locked is not None:
        reason = f": {entry.locked}" if entry.locked else ", without a reason"
        hint = "who locked it knows why; git worktree unlock takes the lock away"
        yield Finding("worktree-locked", "refuse", f"it is locked{reason}", hint)
    here = workspace.inside and _same(workspace.path, entry.path)
    if here:
        yield Finding("current-worktree", "refuse", "it is the worktree this was called in", "call it from the root")
    if runs is None:
        from k1ctl.archive.runs import Runs

        runs = Runs(workspace, config)
    live = runs.of(entry.path)
    if live:
        hint = "k1ctl queue list shows what runs and waits"
        yield Finding("in-use", "refuse", f"k1ctl works in it: {'; '.join(live[:_SHOWN])}", hint)
    there = [p for p in processes.below(entry.path) if not here or (p.pid, p.how) != (os.getpid(), "cwd")]
    if there:
        yield Finding("process", "refuse", named(there), "end it, or leave the folder with it")


def nested(workspace: Workspace, entry: Entry, known: Sequence[Entry] | None = None) -> Iterator[Finding]:
    """A refusal when others of the repository's worktrees (``known``, else git is asked) lie in it. Raises GitError."""
    if known is None:
        from k1ctl.worktrees import entries

        known = entries(workspace.git_dir)
    top = os.path.realpath(entry.path) + os.sep
    below = [other.path for other in known if os.path.realpath(other.path).startswith(top)]
    if below:
        hint = "archive those first, or move them with git worktree move"
        yield Finding("nested-worktree", "refuse", f"other worktrees lie in it: {_list(below)}", hint)


def ties(path: str, repositories: Sequence[str]) -> Iterator[Finding]:
    """Of the ``repositories`` in a worktree those that others need where they are: a linked worktree of a repository
    elsewhere, which would prune its commits, or a repository with linked worktrees elsewhere."""
    inside = tuple(os.path.realpath(folder) + os.sep for folder in (path, own_git_dir(path)))
    for name in repositories:
        folder = os.path.join(path, name)
        git = own_git_dir(folder) or os.path.join(folder, ".git")
        records = os.path.join(git, "worktrees")
        links = [os.path.join(records, n, "gitdir") for n in (os.listdir(records) if os.path.isdir(records) else ())]
        ends = [os.path.dirname(os.fsdecode(read_bytes(link) or b"").rstrip("\r\n")) for link in links]
        elsewhere = [end for end in (git, *filter(os.path.isdir, ends)) if not _inside(end, inside)]
        if elsewhere:
            told = f"the repository {name} in it belongs together with {elsewhere[0]}"
            yield Finding("nested-repository", "refuse", told, "move it out of the worktree")


def _inside(path: str, folders: tuple[str, ...]) -> bool:
    return (os.path.realpath(path) + os.sep).startswith(folders)


def locks(own: str) -> Iterator[Finding]:
    """A refusal when git works in the worktree whose own git folder is ``own``, or in a submodule of it."""
    found = [os.path.join(own, name) for name in ("index.lock", "HEAD.lock") if os.path.lexists(f"{own}/{name}")]
    for base, folders, files in os.walk(os.path.join(own, "modules")):
        folders[:] = [name for name in folders if name not in ("objects", "logs", "hooks", "info")]
        found += [os.path.join(base, name) for name in files if name == "index.lock"]
    if found:
        hint = "git works in it, or was killed there: k1ctl worktree doctor tells which"
        yield Finding("index-lock", "refuse", f"{_list(found)} is there", hint)


def _lines(done: Answer) -> list[str]:
    """The lines of `STATUS`. A folder that git could not read is a failure: what is in it would be passed over."""
    told = [line for line in done.stderr.splitlines() if line.startswith(("fatal:", "error:", "warning: could not"))]
    if done.returncode or told:
        words = (told or done.stderr.splitlines() or [f"exit {done.returncode}"])[-1]
        raise _Refused("status-unreadable", f"git status does not tell what is in it: {words}", "mend that first")
    return [line for line in done.stdout.split("\0") if line]


def _changes(lines: Sequence[str], globs: Sequence[str]) -> Iterator[Finding]:
    conflicts = [line[3:] for line in lines if line[:2] in _CONFLICTS]
    changed = [line[3:] for line in lines if line[:2] not in ("??", "!!")]
    untracked = [line[3:] for line in lines if line[:2] == "??"]
    ignored = [line[3:] for line in lines if line[:2] == "!!" and not regenerable(line[3:], globs)]
    told = (
        ("conflicted", conflicts, "file{s} in conflict"),
        ("changed", changed, "changed file{s}"),
        ("untracked", untracked, "untracked file{s}"),
        ("ignored", ignored, "git-ignored file{s} or folder{s} that cannot be made again"),
    )
    for code, found, words in told:
        if found:
            yield Finding(code, "keep", f"{_count(len(found), words)}: {_list(found)}")


def _hidden(path: str) -> Iterator[Finding]:
    """Files marked assume-unchanged or skip-worktree: lower-case letters and ``S`` (git-ls-files(1), -v)."""
    lines = names(["-c", "core.fsmonitor=false", "ls-files", "-v", "-z"], path)
    flagged = [line[2:] for line in lines if line[0].islower() or line[0] == "S"]
    found = [name for name in flagged if os.path.lexists(os.path.join(path, name))]
    if found:
        told = _count(len(found), "file{s} whose changes git is told not to show")
        yield Finding("hidden", "keep", f"{told}: {_list(found)}")


def _history(entry: Entry, own: str) -> Iterator[Finding]:
    """Commits that only this worktree or its branch has, an operation under way, private refs, stashes."""
    under_way = [what for name, what in OPERATIONS.items() if os.path.lexists(os.path.join(own, name))]
    if under_way:
        yield Finding("operation", "keep", f"a {under_way[0]} is under way; restore brings it back as it stands")
    private = output(["for-each-ref", "--format=%(refname)", "refs/worktree", "refs/bisect"], entry.path).split()
    if private:
        yield Finding("private-refs", "keep", f"{_count(len(private), 'ref{s} of its own')}: {_list(private)}")
    yield from _commits(entry)
    stashed = [s for s in output(["stash", "list", "--format=%gs"], entry.path).splitlines() if _names(s, entry.branch)]
    if stashed:
        told = f"{_count(len(stashed), 'stash{es}')} of branch {entry.branch}, which the repository keeps"
        yield Finding("stash", "note", told)
    if os.path.isdir(os.path.join(own, "modules")):
        yield Finding("submodules", "keep", "the repositories of its submodules")


def _commits(entry: Entry) -> Iterator[Finding]:
    if not entry.head.strip("0"):
        yield Finding("unborn", "note", f"branch {entry.branch} has no commit yet")
        return
    remotes = output(["for-each-ref", "--count=1", "--format=%(refname)", "refs/remotes"], entry.path).strip()
    where = ["--remotes"] if remotes else [*([f"--exclude={entry.branch}"] if entry.branch else []), "--branches"]
    count = int(output(["rev-list", "--count", "HEAD", "--not", *where, "--tags"], entry.path))
    if count:
        place = "on no remote" if remotes else "on no other branch"
        yield Finding("unpushed", "keep", f"{_count(count, 'commit{s}')} {place}")
    if not entry.branch:
        yield Finding("detached", "keep", f"HEAD is detached at {entry.head[:12]}")


def _names(subject: str, branch: str) -> bool:
    """Whether a stash was made on ``branch``: ``WIP on BRANCH: ...``, ``On BRANCH: ...`` (git-stash(1))."""
    return bool(branch) and subject.startswith((f"WIP on {branch}: ", f"On {branch}: "))


def _text(folder: str, name: str) -> str:
    return os.fsdecode(read_bytes(os.path.join(folder, name)) or b"").strip("\r\n")


def _same(one: str, other: str) -> bool:
    """Whether both are one folder, also by another spelling of its name on a filesystem that ignores case."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _count(number: int, words: str) -> str:
    return f"{number} {words.format(s='' if number == 1 else 's', es='' if number == 1 else 'es')}"


def _list(found: Sequence[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{', '.join(found[:_SHOWN])}{more}"
