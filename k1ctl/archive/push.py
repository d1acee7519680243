"""Send an archive to a store off this host; see `k1ctl.archive.copies` for what lies there.

What was sent is read back and its digest compared; the manifest goes last. A push that was killed is taken up by the
next: what it sent is not sent again, and its bundle is used again.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl.archive import copies, logins
from k1ctl.archive.copies import BUNDLE, MANIFEST
from k1ctl.archive.globs import matches
from k1ctl.archive.verify import SECRETS, digest, files, verify
from k1ctl.errors import BusyError, K1ctlError, WrongDataError
from k1ctl.events import emit
from k1ctl.files import open_locked, write_json
from k1ctl.git import output
from k1ctl.stores import StoreError
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from k1ctl.archive.folder import Archive
    from k1ctl.config import Config
    from k1ctl.stores import Store
    from k1ctl.workspace import Workspace

PUSHED, THERE, PLANNED = "pushed", "there", "would-push"
_WORK = ".push"  # in the archive's folder: what a push needs until it is over


def push(
    workspace: Workspace,
    config: Config,
    store: Store,
    name: str,
    archive: Archive,
    *,
    tracked_secrets: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Make sure that ``store`` holds ``archive`` under the repository's ``name``, and return what became of it.

    {archive, store, outcome (pushed, there, would-push), files [{file, bytes, sent}], sent_bytes, secrets_count,
    prerequisites, seconds}; with ``dry_run`` nothing is sent or made, and the bundle has no ``bytes`` yet.
    ``tracked_secrets``: send commits even though they hold files with a secret's name, and reflogs with a login.
    Raises WrongDataError for an archive that is not whole, K1ctlError (tracked-secrets, logins), BusyError while
    another push of it runs, StoreError.
    """
    begun = time.monotonic()
    row: dict[str, Any] = {"archive": archive.id, "store": store.name, "outcome": THERE, "files": [], "sent_bytes": 0}
    row |= {"secrets_count": _secrets_count(archive), "prerequisites": None, "seconds": 0.0}
    _check_not_purged(archive)
    there = {key.rpartition("/")[2]: size for key, size in store.list(copies.prefix(name, archive.id))}
    known = _is_there(store, name, archive, there)
    if known is not None:
        if not dry_run and store.name not in copies.of(archive):
            copies.note(archive, store.name, at=known["copy"]["at"], bytes=sum(there.values()), repository=name)
        row["prerequisites"] = known["copy"]["prerequisites"]
        return _ended(row, begun)
    if not tracked_secrets:
        _check_tracked(workspace, config, archive)
    if dry_run:
        row["files"] = [{"file": BUNDLE, "bytes": None, "sent": False}]
        row["files"] += [{"file": f, "bytes": a["bytes"], "sent": False} for f, a in _tars(archive).items()]
        return _ended({**row, "outcome": PLANNED}, begun)
    problems = verify(workspace, archive, trash=False)
    if problems:
        raise WrongDataError(
            f"archive {archive.id} is not whole, so it is not sent: {problems[0]}",
            hint=f"k1ctl archive verify {archive.id}",
            code="archive-damaged",
        )
    with _Work(archive) as work:
        if not tracked_secrets:
            _check_logins(archive, work)
        _send_all(workspace, config, store, name, archive, there, work, row)
    emit(workspace, "archive.pushed", archive=archive.id, store=store.name, sent_bytes=row["sent_bytes"])
    return _ended({**row, "outcome": PUSHED}, begun)


def _ended(row: dict[str, Any], begun: float) -> dict[str, Any]:
    row["seconds"] = round(time.monotonic() - begun, 3)
    return row


def _secrets_count(archive: Archive) -> int:
    counts = archive.manifest.get("counts")
    return int(counts.get("secrets", 0)) if isinstance(counts, dict) else 0


def _tars(archive: Archive) -> dict[str, dict[str, Any]]:
    """{name: {bytes, sha256}} of what may leave the host."""
    return {name: about for name, about in sorted(files(archive).items()) if name != SECRETS}


def _check_not_purged(archive: Archive) -> None:
    if archive.state["state"] == "purging" or not os.path.isdir(archive.folder):
        raise WrongDataError(f"archive {archive.id} is being purged", code="archive-purging")


class _Work:
    """``with _Work(archive) as folder:`` a folder for one push at a time; no purge begins meanwhile.

    Raises BusyError, WrongDataError when the archive is being purged.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive, self.folder = archive, os.path.join(archive.folder, _WORK)

    def __enter__(self) -> str:
        _check_not_purged(self.archive)
        try:
            os.mkdir(self.folder, 0o700)
        except FileExistsError:
            pass
        fd = open_locked(os.path.join(self.folder, "lock"), blocking=False, mode=0o600)
        if fd is None:
            raise BusyError(f"archive {self.archive.id} is being pushed by another call", code="archive-busy")
        self.fd = fd
        try:
            _check_not_purged(self.archive)  # a purge says so first and looks at this lock then
        except WrongDataError:
            os.close(fd)
            raise
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            import shutil

            shutil.rmtree(self.folder)
        os.close(self.fd)


def _is_there(store: Store, name: str, archive: Archive, there: dict[str, int]) -> dict[str, Any] | None:
    """The manifest of a copy that is whole; None when there is none, or it is another's."""
    if MANIFEST not in there:
        return None
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="k1ctl-") as folder:
        found = copies.read_manifest(store, name, copies.Copy(archive.id, there), folder)
    try:
        sizes = {file: about["bytes"] for file, about in found["files"].items()}
        equal = {**_tars(archive), BUNDLE: found["files"][BUNDLE]} == found["files"]
        whole = equal and sizes == {file: there.get(file) for file in sizes}
        return found if whole and found["commit"] == archive.manifest["commit"] and found["copy"]["at"] else None
    except (TypeError, KeyError, AttributeError):
        return None


def _check_tracked(workspace: Workspace, config: Config, archive: Archive) -> None:
    """Commits hold what was tracked, whatever its name. Raises K1ctlError when that is a secret's and no remote has
    it yet."""
    globs = config.get("archive", "secrets")
    commit = str(archive.manifest["commit"])
    told = output(["rev-list", "--objects", commit, "--not", "--remotes"], workspace.git_dir)
    paths = {line.partition(" ")[2] for line in told.splitlines()}
    found = sorted(path for path in paths if path and matches(path, globs))
    if found:
        raise K1ctlError(
            f"commits of archive {archive.id} hold {len(found)} files with a secret's name that no remote has, "
            f"as {found[0]}",
            hint="when they may leave this host: --tracked-secrets; the names are archive.secrets",
            code="tracked-secrets",
            archive=archive.id,
            count=len(found),
        )


def _check_logins(archive: Archive, work: str) -> None:
    found = logins.found(archive.folder, _tars(archive), work)
    if found:
        raise K1ctlError(
            f"archive {archive.id} holds a login in a URL: {found[0]}",
            hint="when it may leave this host: --tracked-secrets; else save the worktree again without it",
            code="logins",
            archive=archive.id,
            count=len(found),
        )


def _send_all(
    workspace: Workspace,
    config: Config,
    store: Store,
    name: str,
    archive: Archive,
    there: dict[str, int],
    work: str,
    row: dict[str, Any],
) -> None:
    base = copies.prefix(name, archive.id)
    if MANIFEST in there:  # of a copy that is not this: until the new one is whole, there is none
        store.delete(f"{base}{MANIFEST}")
    bundle = os.path.join(work, BUNDLE)
    about, row["prerequisites"] = _bundle(workspace, config, archive, bundle)
    sent = {BUNDLE: about, **_tars(archive)}
    for file, facts in sent.items():
        key, path = f"{base}{file}", bundle if file == BUNDLE else os.path.join(archive.folder, file)
        same = there.get(file) == facts["bytes"] and _digest_there(store, key, work) == facts["sha256"]
        if not same:
            _send(store, key, path, facts["sha256"], work)
            row["sent_bytes"] += facts["bytes"]
        row["files"].append({"file": file, "bytes": facts["bytes"], "sent": not same})
    manifest = _manifest(workspace, config, archive, sent, row["prerequisites"], name)
    path = os.path.join(work, MANIFEST)
    write_json(path, manifest, mode=0o600)
    size = os.stat(path).st_size
    _send(store, f"{base}{MANIFEST}", path, digest(path), work)
    row["sent_bytes"] += size
    total = size + sum(facts["bytes"] for facts in sent.values())
    copies.note(archive, store.name, at=manifest["copy"]["at"], bytes=total, repository=name)


def _send(store: Store, key: str, path: str, sha256: str, work: str) -> None:
    store.put(key, path)
    if _digest_there(store, key, work) != sha256:
        raise StoreError(f"store {store.name}: {key} came back changed", hint="push again; if it stays, check its disk")


def _digest_there(store: Store, key: str, work: str) -> str:
    """The digest of what the store holds; "" when it holds nothing."""
    path = os.path.join(work, "back")
    if os.path.lexists(path):
        os.unlink(path)
    try:
        store.get(key, path)
    except KeyError:
        return ""
    try:
        return digest(path)
    finally:
        os.unlink(path)


def _bundle(workspace: Workspace, config: Config, archive: Archive, path: str) -> tuple[dict[str, Any], list[str]]:
    """({bytes, sha256} of the bundle at ``path``, the commits it builds on); one that is there is used again.

    git-bundle(1): its ref, and everything it reaches but what a remote-tracking branch has.
    """
    if not os.path.exists(path):
        from k1ctl.disk import check_room

        check_room(config, archive.folder, int(archive.manifest.get("bytes", 0)), f"the bundle of {archive.id}")
        making = f"{path}.part"
        output(["bundle", "create", "-q", making, archive.ref, "--not", "--remotes"], workspace.git_dir)
        with open(making, "rb") as made:
            os.fsync(made.fileno())  # a later push takes it as it is
        os.rename(making, path)
    return {"bytes": os.stat(path).st_size, "sha256": digest(path)}, prerequisites(path)


def prerequisites(bundle: str) -> list[str]:
    """The commits that a bundle builds on, which a clone has to have (gitformat-bundle(5)). Raises WrongDataError."""
    found = []
    with open(bundle, "rb") as f:
        if not f.readline().startswith(b"# v"):
            raise WrongDataError(f"{bundle} is no bundle of git")
        for line in f:
            if line == b"\n":
                break
            if line.startswith(b"-"):
                found.append(line[1:].split(b" ")[0].strip().decode("ascii"))
    return found


def _manifest(
    workspace: Workspace,
    config: Config,
    archive: Archive,
    sent: dict[str, dict[str, Any]],
    needed: list[str],
    name: str,
) -> dict[str, Any]:
    """What the store is told of the archive: nothing of its secrets but their number."""
    globs = config.get("archive", "secrets")
    about = {k: v for k, v in archive.manifest.items() if k != "fingerprint"}  # of the secrets, too
    for key in ("modes", "empty_folders", "special"):
        rows = about.get(key)
        if isinstance(rows, list):
            about[key] = [r for r in rows if not matches(str(r if isinstance(r, str) else r[0]), globs)]
    copy = {"format": copies.FORMAT, "at": rfc3339(), "host": os.uname().nodename, "repository": name}
    return {
        **logins.without(about),
        "files": sent,
        "copy": {**copy, "prerequisites": needed, "secrets_count": _secrets_count(archive)},
    }
