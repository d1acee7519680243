"""What agents really used: transcripts are read on from where they were left, and booked in the ledger once.

One call at a time (``ops/budget-sync.lock``). What a file adds and how far it was read change in one transaction, with
the bookings and the holds that it settles: killed at any step, the next call finds either all of it or nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from k1ctl.budget import rows, settling, sync_holds, sync_store, transcripts
from k1ctl.budget.sync_places import Places, known, worktrees_of
from k1ctl.errors import UsageError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from k1ctl.budget.prices import Prices
    from k1ctl.budget.sync_holds import Change, Told
    from k1ctl.budget.sync_store import Row
    from k1ctl.budget.transcripts import Look, Position, UsageReader
    from k1ctl.config import Config
    from k1ctl.state import State
    from k1ctl.workspace import Workspace

LOCK = "budget-sync.lock"
_MESSAGES = 20_000  # in one transaction
_BYTES = 256 << 20
_PATIENCE = 60.0  # s that another sync is waited for
_LOOK_AGAIN = 0.05  # s
_CLASSES = ("input", "output", "cache_write", "cache_read")


class Report:
    """What a sync found and did; see `document`."""

    def __init__(self, prices: Prices, *, since: float | None, dry_run: bool) -> None:
        self.prices, self.since, self.dry_run = prices, since, dry_run
        self.files = dict.fromkeys(("seen", "read", "unchanged", "anew", "torn"), 0)
        self.bytes = self.lines = self.copies = 0
        self.booked = dict.fromkeys(("messages", "grown", *_CLASSES, "micro_usd"), 0)
        self.unknown: dict[str, Counter[str]] = {}
        self.unpriced: dict[str, dict[str, int]] = {}
        self.refused: dict[str, list[str]] = {}
        self.failed: dict[str, str] = {}
        self.settled: list[dict[str, Any]] = []
        self.explained: dict[str, dict[str, Any]] = {}
        self.usage: list[dict[str, Any]] = []

    def explain(self, found: dict[str, Any]) -> None:
        """Tell of a hold that explains what was used, beside what an earlier portion told of it."""
        before = self.explained.get(found["hold"]["id"], {})
        for name in ("explained_tokens", "exceeded_tokens", "exceeded_micro_usd"):
            found[name] += before.get(name, 0)
        self.explained[found["hold"]["id"]] = found

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        prices = {"as_of": self.prices.as_of, "path": self.prices.path, "own": self.prices.own or None}
        return {
            "ok": not self.refused,
            "dry_run": self.dry_run,
            "offline": True,
            "files": self.files,
            "read_bytes": self.bytes,
            "read_lines": self.lines,
            "copies": self.copies,
            "booked": self.booked,
            "settled": self.settled,
            "explained": [*self.explained.values()],
            "usage": self.usage,
            "unknown": {reader: dict(counts) for reader, counts in self.unknown.items() if counts},
            "priced_as_dearest": self.unpriced,
            "refused": self.refused,
            "failed": self.failed,
            "prices": prices,
            "imputed": True,
        }


class Sync:
    """One call of `budget sync`. ``folders`` are read instead of the agents' own; ``since`` (seconds since 1970) leaves
    out files that nobody wrote to since, and days before it from the report."""

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        readers: Sequence[UsageReader],
        *,
        folders: Sequence[str] = (),
        since: float | None = None,
        dry_run: bool = False,
    ) -> None:
        from k1ctl.budget import prices
        from k1ctl.budget.ledger import Ledger

        self.workspace, self.readers, self.folders, self.since = workspace, readers, folders, since
        self.prices = prices.load(str(config.get("budget", "prices")))
        self.refuse = config.get("budget", "unknown_model") == "refuse"
        self.ledger = Ledger(workspace, config)
        self._places: Places | None = None
        self._named = ""  # what this worktree's workspace is called, where that is not its folder's name
        self.report = Report(self.prices, since=since, dry_run=dry_run)
        self._days: dict[int, str] = {}
        self._scratch: sqlite3.Connection | None = None
        self.patience = _PATIENCE

    def run(self) -> Report:
        """Read, book, and tell. Raises UsageError (nothing to read in ``folders``), ConfigError, BusyError."""
        import gc

        found = list(self._files())
        fd = -1 if self.report.dry_run else self._alone()
        collected = gc.isenabled()
        gc.disable()  # records hold no cycles, and looking for some took longer than all else
        try:
            self._read(found)
        finally:
            if collected:
                gc.enable()
            if fd >= 0:
                os.close(fd)
        booked = self.report.booked
        if not self.report.dry_run and any(booked.values()):
            from k1ctl import events

            events.emit(self.workspace, "budget.synced", **booked, settled=len(self.report.settled))
        return self.report

    def _alone(self) -> int:
        """A descriptor that holds the lock of all syncs. Raises BusyError after a minute: another one does the work."""
        import time

        from k1ctl.errors import BusyError
        from k1ctl.files import open_locked

        path = self.workspace.ops_path(LOCK)
        until = time.monotonic() + self.patience
        while (fd := open_locked(path, blocking=False)) is None:
            if time.monotonic() >= until:
                raise BusyError(
                    f"another budget sync is under way for more than {self.patience:g} s",
                    hint=f"what it books need not be booked again; who holds it: lsof {path}",
                    code="sync-busy",
                )
            time.sleep(_LOOK_AGAIN)
        return fd

    @property
    def places(self) -> Places:
        """Whose folders are whose; git is asked when there is something to book."""
        if self._places is None:
            place, state = self.workspace, self.ledger.state
            made_in, names = state.read(known) if state.exists else ([], {})
            if place.inside and place.name != os.path.basename(place.path):
                names[place.path] = self._named = place.name
            self._places = Places([*worktrees_of(place), *made_in], names, place.root)
        return self._places

    def day(self, at: float) -> str:
        """The day of an instant in the account's zone; looked up once a quarter of an hour: zones differ by no less."""
        quarter = int(at // 900)
        if quarter not in self._days:
            from k1ctl.budget.days import day_of

            self._days[quarter] = day_of(quarter * 900.0, self.ledger.limits.zone)
        return self._days[quarter]

    def _files(self) -> Iterable[tuple[UsageReader, str, os.stat_result]]:
        seen: set[str] = set()
        for reader in self.readers:
            for folder in self.folders or reader.folders(os.environ):
                for path in reader.files(os.path.realpath(folder)):
                    if path in seen:
                        continue
                    seen.add(path)
                    if not _writable(path):
                        self.report.failed[os.fsencode(path).decode(errors="replace")] = "its name is no UTF-8"
                        continue
                    try:
                        stat = os.stat(path)
                    except OSError as exc:
                        self.report.failed[path] = exc.strerror or str(exc)
                        continue
                    if self.since is None or stat.st_mtime >= self.since:
                        yield reader, path, stat
        if self.folders and not seen:
            kinds = ", ".join(reader.name for reader in self.readers) or "no plugin reads any"
            raise UsageError(
                f"no transcripts in {', '.join(self.folders)} (known kinds: {kinds})",
                hint="name an agent's own folder, as ~/.claude, ~/.claude/projects, ~/.codex or ~/.codex/sessions",
                code="no-transcripts",
            )

    def _read(self, found: Sequence[tuple[UsageReader, str, os.stat_result]]) -> None:
        report, state = self.report, self.ledger.state
        known = state.read(sync_store.positions) if state.exists else {}
        report.files["seen"] = len(found)
        taken: list[tuple[UsageReader, str, Look]] = []
        messages = size = 0
        for reader, path, stat in found:
            if transcripts.unchanged(stat, known.get(path)):
                report.files["unchanged"] += 1
                continue
            look = self._look(reader, path, known.get(path))
            if look is None:
                continue
            taken.append((reader, path, look))
            messages, size = messages + len(look.messages), size + look.bytes
            if messages >= _MESSAGES or size >= _BYTES:
                self._keep(taken)
                taken, messages, size = [], 0, 0
        if taken or (state.exists and state.read(lambda db: sync_holds.waiting(db, self.ledger.clock()))):
            self._keep(taken)
        if self._scratch is not None:
            report.usage = self._usage(self._scratch)
        elif state.exists:
            report.usage = state.read(self._usage)

    def _look(self, reader: UsageReader, path: str, position: Position | None) -> Look | None:
        """What ``path`` adds; None for one that cannot be read, or has a model that is refused."""
        report, unknown = self.report, Counter[str]()
        try:
            look = transcripts.look(reader, path, position, unknown)
        except OSError as exc:
            report.failed[path] = exc.strerror or str(exc)
            return None
        except Exception as exc:  # a foreign reader may fail in any way: on this file alone
            from k1ctl.plugins import one_line

            report.failed[path] = f"the reader {reader.name} failed: {one_line(exc)}"
            return None
        if self.refuse:
            strange = sorted({m.model for m in look.messages if self.prices.of(m.model) is None})
            if strange:
                report.refused[path] = strange
                return None
        report.unknown.setdefault(reader.name, Counter()).update(unknown)
        report.files["read"] += 1
        report.files["anew"] += look.anew
        report.files["torn"] += look.torn > 0
        report.bytes, report.lines = report.bytes + look.bytes, report.lines + look.lines
        return look

    def _keep(self, taken: Sequence[tuple[UsageReader, str, Look]]) -> None:
        """Book what these files add and remember how far they were read, all at once."""
        batch = sync_store.Batch(self.places.of, self.day)
        for reader, _, look in taken:
            batch.add(reader.name, look.messages)

        def step(db: sqlite3.Connection) -> list[Told]:
            changed = sync_store.keep(db, batch, self._cost, lambda rows: sync_holds.assign(db, rows, self.places))
            sums: dict[tuple[str, str, str], list[int]] = {}
            for row, added in changed:
                _add(sums.setdefault((row.day, row.agent, row.model), [0] * 6), added)
            sync_store.keep_days(db, sums)
            under = self._book(db, changed)
            sync_store.keep_positions(db, ((reader.name, path, look.position) for reader, path, look in taken))
            if self._named:
                rows.name(db, self.workspace.path, self._named)
            self._tell(sum(len(look.messages) for _, _, look in taken), changed, under)
            return under

        if not self.report.dry_run:
            for one in self.ledger.state.write(step, durable=True):
                settling.forget(self.ledger, one.hold)
            return
        if self._scratch is None:
            self._scratch = _copy(self.ledger.state)
        step(self._scratch)

    def _cost(self, row: Row) -> int:
        price = self.prices.of(row.model) or self.prices.dearest()
        return price.cost(row.classes, row.write_1h, at=row.at, fast=row.fast)

    def _book(self, db: sqlite3.Connection, changed: Sequence[Change]) -> list[Told]:
        """Book what came on: under the hold that its agent had then, as far as that does not explain it, else by
        itself."""
        ledger, clock = sync_holds.Within.of(self.ledger, db, quiet=self.report.dry_run), self.ledger.clock()
        under, alone = sync_holds.told(db, changed)
        for told in under:
            told.take(ledger, db, clock)
        ledger.book_all(_bookings(alone))
        return under

    def _tell(self, read: int, changed: Sequence[Change], under: Sequence[Told]) -> None:
        booked = self.report.booked
        for row, added in changed:
            booked["grown"] += not added[0]
            for name, value in zip(("messages", *_CLASSES, "micro_usd"), added, strict=True):
                booked[name] += value
            if self.prices.of(row.model) is None:
                told = self.report.unpriced.setdefault(row.model, dict.fromkeys(("messages", "tokens", "micro_usd"), 0))
                for name, value in zip(told, (added[0], sum(added[1:5]), added[5]), strict=True):
                    told[name] += value
        self.report.copies += read - sum(added[0] for _, added in changed)
        for one in under:
            if one.settled is not None:
                self.report.settled.append(one.settled.document())
            elif one.changes or any(one.exceeded):
                self.report.explain(one.document())

    def _usage(self, db: sqlite3.Connection) -> list[dict[str, Any]]:
        return sync_store.days(db, "" if self.since is None else self.day(self.since))


def readers(plugins: Any) -> tuple[list[UsageReader], list[str]]:
    """The readers of all plugins, and what to say of plugins that failed. Raises UsageError for two of one name."""
    from k1ctl.errors import K1ctlError

    found: dict[str, tuple[str, UsageReader]] = {}
    said = []
    for plugin, given in plugins.each("k1ctl_usage_readers"):
        if isinstance(given, K1ctlError):
            said.append(given.message)
            continue
        for reader in given:
            if reader.name in found:
                raise UsageError(
                    f"plugins {found[reader.name][0]} and {plugin} both read transcripts of {reader.name!r}",
                    hint="uninstall one of them, or leave it out with K1CTL_PLUGINS",
                    code="two-readers",
                )
            found[reader.name] = (plugin, reader)
    return [reader for _, reader in found.values()], said


def _writable(path: str) -> bool:
    """Whether the database can have the name."""
    try:
        return bool(path.encode())
    except UnicodeEncodeError:
        return False


def _copy(state: State) -> sqlite3.Connection:
    """The books in memory, for a dry run: it makes no file and keeps nobody waiting."""
    import sqlite3

    from k1ctl.state_schema import STEPS

    db = sqlite3.connect(":memory:", isolation_level=None)
    if state.exists:
        state.read(lambda kept: kept.backup(db))
        return db
    for statement in (statement for step in STEPS for statement in step):
        db.execute(statement)
    return db


def _add(sums: list[int], added: Sequence[int]) -> None:
    for i, value in enumerate(added):
        sums[i] += value


def _bookings(changed: Iterable[Change]) -> list[Any]:
    """One booking an hour, agent and model: the messages themselves are kept beside the ledger, each once."""
    from k1ctl.budget.booking import Booking
    from k1ctl.budget.tokens import Usage

    sums: dict[tuple[int, str, str, str], tuple[float, list[int]]] = {}
    for row, added in changed:  # the day as well: in some zones one begins within an hour
        _add(sums.setdefault((int(row.at // 3600), row.day, row.agent, row.model), (row.at, [0] * 6))[1], added)
    return [
        Booking(Usage(*values[1:5]), agent, model=model, at=at, micro_usd=values[5])
        for (_, _, agent, model), (at, values) in sums.items()
    ]
