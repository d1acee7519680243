"""Archive worktrees: which are idle, what stands against each, and what became of it. One that fails stops no other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.archive import checks, trash
from k1ctl.archive.activity import Activity, ask_status, changes_of, last_activity
from k1ctl.archive.aside import aside
from k1ctl.archive.checks import PASSING, Finding
from k1ctl.archive.globs import matches
from k1ctl.archive.merged import judge
from k1ctl.archive.processes import Processes
from k1ctl.archive.remove import RefusedError, recover, remove
from k1ctl.archive.runs import Runs
from k1ctl.archive.save import save
from k1ctl.errors import BusyError, ConfigError, K1ctlError, UsageError
from k1ctl.events import emit
from k1ctl.units import format_duration, format_size, rfc3339
from k1ctl.worktrees import Entry, entries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k1ctl.archive.folder import Archive
    from k1ctl.archive.merged import Branch
    from k1ctl.archive.trash import Swept
    from k1ctl.config import Config
    from k1ctl.git import Answer
    from k1ctl.workspace import Workspace

_AT_ONCE = 4  # worktrees whose files are looked at side by side


class Request(NamedTuple):
    """What is asked: worktrees by ``names`` (or paths), else all that are idle for ``older_than`` seconds; only those
    that ``include`` (globs; none: all), none that ``exclude``; ``branch_policy`` as in ``archive.branch_policy``."""

    names: tuple[str, ...]
    older_than: float
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    branch_policy: str
    dry_run: bool


class Outcome:
    """What became of a worktree. ``result``: archived, saved (Conductor's, which stays), kept (in use of late), refused
    (``findings`` say why), failed (``error``); would-archive and would-save of a dry run."""

    def __init__(self, entry: Entry, activity: Activity, status: Answer | None, *, named: bool) -> None:
        self.entry, self.activity, self.status, self.named = entry, activity, status, named
        self.name = os.path.basename(entry.path)
        self.result = ""
        self.findings: list[Finding] = []
        self.error: K1ctlError | None = None
        self.archive, self.reused, self.trash, self.holds = "", False, "", ""
        self.saved_bytes = self.freed_bytes = 0
        self.branch: Branch | None = None
        self.notes: list[str] = []

    @property
    def bad(self) -> bool:
        """Whether somebody should hear of it: a failure, a refusal of what was named, or one that does not pass."""
        refused = checks.refusals(self.findings)
        passing = all(finding.code in PASSING for finding in refused)
        return self.result == "failed" or (self.result == "refused" and (self.named or not passing))

    def refuse(self, *findings: Finding) -> None:
        self.result = "refused"
        self.findings += [finding for finding in findings if finding not in self.findings]

    def document(self) -> dict[str, Any]:
        """The outcome as JSON."""
        facts = {"workspace": self.name, "path": self.entry.path, "branch": self.entry.branch or None}
        known = bool(self.activity.at)
        seen = {
            "active_at": rfc3339(self.activity.at) if known else None,
            "idle_seconds": round(self.activity.idle(), 3) if known else None,
        }
        return {
            **facts,
            "result": self.result,
            "named": self.named,
            **seen,
            "activity": self.activity.what,
            "archive": self.archive or None,
            "reused": self.reused,
            "saved_bytes": self.saved_bytes,
            "freed_bytes": self.freed_bytes,
            "trash": self.trash or None,
            "branch_policy": self.branch and self.branch.document(),
            "findings": [finding.document() for finding in self.findings],
            "notes": self.notes,
            "error": self.error and self.error.document()["error"],
        }

    def idle(self) -> str:
        """How long nobody worked in it, for a person."""
        return format_duration(self.activity.idle()) if self.activity.at else "unknown"

    def detail(self) -> str:
        """The outcome in one line for a person."""
        if self.result == "kept":
            return f"active {self.idle()} ago: {self.activity.what}"
        if self.error is not None:
            return self.error.message
        if self.result == "refused":
            return "; ".join(finding.message for finding in checks.refusals(self.findings))
        kept = [_short(finding) for finding in self.findings if finding.level == "keep"]
        holds = self.holds or ", ".join(kept) or "nothing that git has not"
        words = [f"{self.archive} {'had' if self.reused else 'has'} {holds}" if self.archive else f"to keep: {holds}"]
        if self.saved_bytes:
            words.append(f"{'at most ' if not self.archive else ''}{format_size(self.saved_bytes)}")
        if self.result in ("saved", "would-save"):
            words.append("Conductor removes it")
        if self.freed_bytes:
            words.append(f"{format_size(self.freed_bytes)} freed")
        if self.branch is not None:
            goes = "would be deleted" if self.branch.step and not self.archive else "kept"
            words.append(f"branch {'deleted' if self.branch.deleted else goes}: {self.branch.why}")
        return "; ".join([*words, *self.notes])


def _short(finding: Finding) -> str:
    """A finding in two words: ``3 changed``, ``detached``."""
    number = finding.message.split(" ", 1)[0]
    return f"{number} {finding.code}" if number.isdigit() else finding.code


class Report(NamedTuple):
    """All that a call did: each worktree's outcome, removals of killed calls, trash whose time was over."""

    outcomes: list[Outcome]
    recovered: list[str]
    swept: list[Swept]


def run(workspace: Workspace, config: Config, request: Request, watch: Callable[[str], None]) -> Report:
    """Archive what is asked; ``watch`` is told what is being done. Raises K1ctlError (no such worktree), OSError."""
    if not workspace.git_dir:
        raise ConfigError(f"{workspace.root} is not a git checkout", hint="worktrees belong to a git repository")
    recovered = [] if request.dry_run else recover(workspace, config)
    listed = aside(entries, workspace.git_dir)
    processes = Processes()  # before git works in any of them
    known = listed()
    linked = [entry for entry in known if not entry.main]
    wanted = _named(workspace, linked, request.names) if request.names else _offered(config, linked, request)
    watch(f"looking at {len(wanted)} worktrees")
    asked = _ask(wanted)
    runs = Runs(workspace, config)
    outcomes = []
    for entry, answer in zip(wanted, asked, strict=True):
        status = answer()
        changes = changes_of(status) or ()
        activity = last_activity(workspace, entry, config=config, runs=runs, listed=changes)
        outcomes.append(Outcome(entry, activity, status, named=bool(request.names)))
    processes = processes.lasting(outcome.entry.path for outcome in outcomes)
    for number, outcome in enumerate(outcomes, 1):
        if not request.names and outcome.activity.idle() < request.older_than:
            outcome.result = "kept"
            continue

        def tell(text: str, head: str = f"{outcome.name} ({number} of {len(outcomes)})") -> None:
            watch(f"{head}: {text}")

        _settle(workspace, config, request, outcome, _Looks(runs, processes, known), tell)
    return Report(outcomes, recovered, _sweep(workspace, config, request))


def _named(workspace: Workspace, linked: Sequence[Entry], given: Sequence[str]) -> list[Entry]:
    """The worktrees that are named, by the name of their folder or by path. Raises K1ctlError."""
    found: dict[str, Entry] = {}
    for name in given:
        if not name:
            raise UsageError("the name of a worktree is empty", hint="k1ctl worktree list shows them")
        fits = [entry for entry in linked if os.path.basename(entry.path) == name]
        if not fits or os.sep in name:
            real = os.path.realpath(os.path.expanduser(name))
            fits = [entry for entry in linked if os.path.realpath(entry.path) == real or _same(entry.path, real)]
        if len(fits) > 1:
            paths = " and ".join(entry.path for entry in fits)
            raise K1ctlError(f"{name} may be {paths}", hint="name its path", code="ambiguous-worktree")
        if not fits:
            told = f"{workspace.root} has no worktree {name}"
            if _same(name, workspace.root) or name == os.path.basename(workspace.root):
                told = f"{workspace.root} is the main checkout, which is never archived"
            raise K1ctlError(told, hint="k1ctl worktree list shows them", code="no-such-worktree")
        found[fits[0].path] = fits[0]
    return [*found.values()]


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _offered(config: Config, linked: Sequence[Entry], request: Request) -> list[Entry]:
    return [e for e in linked if not _excluded(config, e.path, request) and _included(config, e.path, request)]


def _included(config: Config, path: str, request: Request) -> bool:
    wanted = request.include or config.get("archive", "include")
    return not wanted or matches(path, wanted)


def _excluded(config: Config, path: str, request: Request) -> bool:
    return matches(path, [*request.exclude, *config.get("archive", "exclude")])


def _ask(wanted: Sequence[Entry]) -> Sequence[Callable[[], Answer | None]]:
    """Start asking git status of each worktree, some at a time."""
    if len(wanted) < 2:
        return [aside(ask_status, entry.path) for entry in wanted]
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(max_workers=_AT_ONCE)
    asked = [pool.submit(ask_status, entry.path).result for entry in wanted]
    pool.shutdown(wait=False)
    return asked


class _Looks(NamedTuple):
    """What was looked at once for all worktrees."""

    runs: Runs
    processes: Processes
    known: Sequence[Entry]


def _settle(
    workspace: Workspace,
    config: Config,
    request: Request,
    outcome: Outcome,
    looks: _Looks,
    tell: Callable[[str], None],
) -> None:
    """Archive one worktree, or say why not."""
    try:
        if _excluded(config, outcome.entry.path, request):
            outcome.refuse(Finding("excluded", "refuse", "it is excluded", "see --exclude and archive.exclude"))
        outcome.findings += checks.examine(
            workspace,
            config,
            outcome.entry,
            looks.processes,
            runs=looks.runs,
            known=looks.known,
            status=outcome.status,
            history=request.dry_run,
        )
        if checks.refusals(outcome.findings):
            outcome.result = "refused"
        elif request.dry_run:
            _plan(workspace, config, request, outcome)
        else:
            _archive(workspace, config, request, outcome, tell)
    except RefusedError as exc:
        outcome.refuse(*exc.findings)
    except BusyError as exc:
        outcome.refuse(Finding(exc.code, "refuse", exc.message, exc.hint))
    except K1ctlError as exc:
        outcome.result, outcome.error = "failed", exc
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        outcome.result = "failed"
        outcome.error = K1ctlError(f"{where}{exc.strerror or exc}", code="system-error")
    if outcome.result in ("refused", "failed") and not request.dry_run:
        codes = [finding.code for finding in checks.refusals(outcome.findings)]
        codes += [outcome.error.code] if outcome.error else []
        facts = {"of": outcome.name, "path": outcome.entry.path, "codes": codes, "message": outcome.detail()}
        emit(workspace, "archive.refused", **facts)


def _plan(workspace: Workspace, config: Config, request: Request, outcome: Outcome) -> None:
    """What would be done with it."""
    from k1ctl.archive.planning import plan

    planned = plan(workspace, config, outcome.entry)
    outcome.saved_bytes = planned.bytes
    limit = config.get("archive", "limit")
    if limit and planned.bytes > limit:
        told = f"{format_size(planned.bytes)} to save are over archive.limit ({format_size(limit)})"
        outcome.refuse(Finding("over-limit", "refuse", told, "add what can be made again to archive.regenerable"))
        return
    outcome.result = "would-archive"
    if checks.made_by_conductor(config, outcome.entry.path):
        outcome.result = "would-save"
    elif request.branch_policy == "delete-if-merged":
        outcome.branch = judge(workspace, outcome.entry.branch)


def _archive(
    workspace: Workspace, config: Config, request: Request, outcome: Outcome, tell: Callable[[str], None]
) -> None:
    """Save it, and remove it unless it is Conductor's. Raises what both raise."""
    from k1ctl.archive.lock import ArchiveLock

    entry = outcome.entry
    with ArchiveLock(workspace):
        if not os.path.lexists(entry.path):
            told = "it is gone by now: another call archived or removed it"
            outcome.refuse(Finding("folder-gone", "refuse", told, "k1ctl archive list shows what was archived"))
            return
        saved = save(workspace, config, entry, reason="archive run", watch=tell)
        _note(outcome, saved.archive, saved.reused)
        if checks.made_by_conductor(config, entry.path):
            outcome.result = "saved"
            return
        tell("moving it into the trash")
        removed = remove(workspace, config, entry, saved.archive, branch_policy=request.branch_policy, look=saved.look)
    outcome.result = "archived"
    outcome.trash, outcome.freed_bytes = removed.trash, removed.freed_bytes
    outcome.branch = removed.branch
    outcome.notes += removed.notes


def _note(outcome: Outcome, archive: Archive, reused: bool) -> None:
    manifest = archive.manifest
    outcome.archive, outcome.reused = archive.id, reused
    outcome.saved_bytes = 0 if reused else int(manifest.get("bytes", 0))
    counts = {**manifest.get("counts", {}), "unpushed": manifest.get("unpushed_count")}
    words = [f"{number} {name.replace('_kept', '')}" for name, number in counts.items() if number]
    words += [str(manifest["operation"])] if manifest.get("operation") else []
    words += [] if manifest.get("branch") else ["detached"]
    outcome.holds = ", ".join(words)


def _sweep(workspace: Workspace, config: Config, request: Request) -> list[Swept]:
    swept = trash.sweep(workspace, config, dry_run=request.dry_run)
    for one in [] if request.dry_run else swept:
        emit(workspace, "archive.swept", **one.document())
    return swept
