"""Copies of artifacts in a store off this host: ``artifacts/<target>/<id>/``, the files first, ``manifest.json`` last.

An id names content, so a copy that is whole is the same whoever sent it, and is not sent again. What is fetched gets
its place only once every file has the size and the SHA-256 that the manifest says, and the id follows from them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl import artifacts, events
from k1ctl.artifacts import BUILDS, ID_LENGTH, MANIFEST, PULLING, Artifact
from k1ctl.errors import UsageError, WrongDataError
from k1ctl.files import Locked, append_line, read_bytes, write_atomic
from k1ctl.jsontext import dumps, loads
from k1ctl.stores import is_key, key_part
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.stores import Store
    from k1ctl.workspace import Workspace

TOP = "artifacts"
_MANIFEST_LIMIT = 1 << 20  # bytes
_DIGITS = frozenset("0123456789abcdef")


def part(text: str) -> str:
    """``text`` as one part of a key: itself where a key takes it, else what it takes of it with a digest."""
    if is_key(text) and "/" not in text and len(text) <= 100:
        return text
    return f"{key_part(text)[:60]}-{artifacts.digest_of(text.encode())[:16]}"


def place(target: str, artifact_id: str = "") -> str:
    """What the keys of an artifact, or of a target's artifacts, begin with."""
    return f"{TOP}/{part(target)}/" + (f"{artifact_id}/" if artifact_id else "")


def push(workspace: Workspace, config: Config, store: Store, artifact: Artifact, *, again: bool = False) -> int:
    """Send ``artifact``, checked, to ``store``; ``again`` also when a whole copy is there. Returns the bytes sent, 0
    when it was there.

    Raises WrongDataError when it is damaged (artifact-damaged) or has a file with a secret's name (secret-file),
    StoreError.
    """
    from k1ctl.archive.globs import matches

    problems = artifact.problems()
    if problems and not os.path.isdir(artifact.folder):
        raise _removed(artifact)
    if problems:
        raise _damaged(artifact.id, problems[0], f"k1ctl build {artifact.target}")
    files = artifact.manifest["files"]
    secret = [name for name in files if matches(name, config.get("archive", "secrets"))]
    if secret:
        raise WrongDataError(
            f"artifact {artifact.id} has {secret[0]}, by its name a secret, which leaves this host for no store",
            hint=f"take it out of outputs of [targets.{artifact.target}], or change archive.secrets",
            code="secret-file",
        )
    where = place(artifact.target, artifact.id)
    if not again and _is_whole(store, where, artifact.id):
        return 0
    sent = 0
    for name in [*files, MANIFEST]:
        path = os.path.join(artifact.folder, name)
        try:
            sent += os.stat(path).st_size
            store.put(where + part(name), path)
        except FileNotFoundError:
            raise _removed(artifact) from None
    facts = {"target": artifact.target, "artifact": artifact.id, "store": store.name}
    events.emit(workspace, "artifact.pushed", **facts, bytes=sent, file_count=len(files))
    return sent


def _is_whole(store: Store, where: str, artifact_id: str) -> bool:
    """Whether the store has a manifest of this id and every file that it names, in its size."""
    there = dict(store.list(where))
    if where + MANIFEST not in there:
        return False
    try:
        manifest = _manifest(store, where, artifact_id, there[where + MANIFEST])
    except WrongDataError:
        return False
    return all(there.get(where + part(name)) == file["bytes"] for name, file in manifest["files"].items())


def locate(store: Store, reference: str, target: str = "") -> tuple[str, str, int]:
    """(What its keys begin with, its id, its manifest's size in bytes) of the one artifact that ``reference``, an id
    or its beginning (4 digits or more), names in the store.

    Raises WrongDataError when there is none, UsageError when it fits several.
    """
    wanted = reference.lower()[:ID_LENGTH]
    if len(wanted) < 4 or not _DIGITS.issuperset(wanted):
        raise UsageError(f"{reference!r} is no artifact's id", hint="4 hex digits of it, or more")
    found = {}
    for key, size in store.list(place(target) + wanted if target else f"{TOP}/"):
        words = key.split("/")
        if len(words) == 4 and words[3] == MANIFEST and words[2].startswith(wanted):
            found["/".join(words[:3]) + "/"] = (words[2], size)
    if not found:
        of = f" of {target}" if target else ""
        raise WrongDataError(f"store {store.name} has no artifact {reference}{of}", code="no-artifact")
    if len(found) > 1:
        named = " or ".join(f"{where.split('/')[1]} {each}" for where, (each, _) in sorted(found.items()))
        raise UsageError(f"artifact {reference} may be {named}", hint="give more digits, or --target")
    ((where, (artifact_id, size)),) = found.items()
    return where, artifact_id, size


def pull(
    workspace: Workspace, config: Config, store: Store, reference: str, *, target: str = ""
) -> tuple[Artifact, bool]:
    """Fetch the artifact that ``reference`` names, unless it is here whole; (the artifact, whether it was fetched).

    A damaged one that is here is moved aside. Raises as `locate`; WrongDataError (artifact-damaged) when what the store
    has is not what its manifest says, BusyError (disk-full), StoreError.
    """
    from k1ctl.disk import check_room

    where, artifact_id, size = locate(store, reference, target)
    manifest = _manifest(store, where, artifact_id, size)
    target = str(manifest["target"])
    folder = os.path.join(artifacts.target_folder(workspace, target), artifact_id)
    there = artifacts.load(target, folder)
    if there is not None and not there.problems():
        return there, False
    total = sum(file["bytes"] for file in manifest["files"].values())
    base = os.path.dirname(folder)
    check_room(config, base, total, f"artifact {artifact_id}")
    os.makedirs(base, exist_ok=True)
    temporary = os.path.join(base, f".pull-{os.getpid()}-{os.urandom(4).hex()}")
    lock = Locked(os.path.join(temporary, PULLING))
    with Locked(os.path.join(base, ".lock")):
        os.mkdir(temporary)
        lock.__enter__()
    try:
        _fetch(store, where, manifest, temporary)
        pulled = {"at": rfc3339(), "pulled_from": store.name}
        made = _settle(target, temporary, folder, pulled)
    except BaseException:
        artifacts.discard(temporary)
        raise
    finally:
        lock.__exit__()
    events.emit(workspace, "artifact.pulled", target=target, artifact=artifact_id, store=store.name, bytes=total)
    return made, True


def _fetch(store: Store, where: str, manifest: dict[str, Any], folder: str) -> None:
    for name in manifest["files"]:
        path = os.path.join(folder, name)
        try:
            store.get(where + part(name), path)
        except KeyError:
            why, hint = f"store {store.name} lacks its {name}", "k1ctl artifact push --again where it was built"
            raise _damaged(manifest["id"], why, hint) from None
        os.chmod(path, 0o444)
    write_atomic(os.path.join(folder, MANIFEST), dumps(manifest) + "\n", mode=0o444, fsync=True)
    fetched = Artifact(manifest["target"], folder, manifest)
    problems = fetched.problems()
    if problems:
        hint = "k1ctl artifact push --again where it was built"
        raise _damaged(manifest["id"], f"of what store {store.name} has, {problems[0]}", hint)


def _settle(target: str, temporary: str, folder: str, pulled: dict[str, Any]) -> Artifact:
    """Give what was fetched its name, unless somebody else brought it meanwhile."""
    base = os.path.dirname(folder)
    with Locked(os.path.join(base, ".lock")):
        there = artifacts.load(target, folder)
        if there is not None and not there.problems():
            artifacts.discard(temporary)
            return there
        if os.path.lexists(folder):
            os.rename(folder, f"{folder}.damaged-{os.urandom(4).hex()}")
        carried = artifacts.carry(folder, temporary)
        append_line(os.path.join(temporary, BUILDS), dumps(pulled))
        os.unlink(os.path.join(temporary, PULLING))
        os.rename(temporary, folder)
        for path in carried:
            os.unlink(path)
        made = artifacts.load(target, folder)
        assert made is not None
        artifacts.count_bytes(base, sum(file["bytes"] for file in made.manifest["files"].values()))
    return made


def _manifest(store: Store, where: str, artifact_id: str, size: int) -> dict[str, Any]:
    """The manifest that the store has, checked: nobody promises that what lies there is what we once sent."""
    from tempfile import TemporaryDirectory

    data = b""
    if size <= _MANIFEST_LIMIT:
        with TemporaryDirectory(prefix="k1ctl-") as folder:
            path = os.path.join(folder, MANIFEST)
            try:
                store.get(where + MANIFEST, path)
            except KeyError:
                raise WrongDataError(f"store {store.name} has no {where}", code="no-artifact") from None
            data = read_bytes(path) or b""
    try:
        manifest = loads(data.decode())
        sound = _sound(manifest, where, artifact_id)
    except ValueError:
        sound = False
    if not sound:
        hint = "k1ctl artifact push --again where it was built"
        raise _damaged(artifact_id, f"what store {store.name} has as its {MANIFEST} is none", hint)
    assert isinstance(manifest, dict)
    return manifest


def _sound(manifest: Any, where: str, artifact_id: str) -> bool:
    if not artifacts.is_manifest(manifest) or manifest["id"] != artifact_id:
        return False
    target = manifest.get("target")
    return bool(target) and place(target, artifact_id) == where and all(map(_is_plain, manifest["files"]))


def _is_plain(name: str) -> bool:
    """Whether this can be a file's name in an artifact, and nowhere else."""
    reserved = ("", ".", "..", *artifacts.OWN)
    return os.path.basename(name) == name and name not in reserved and "\0" not in name and len(os.fsencode(name)) < 256


def _removed(artifact: Artifact) -> WrongDataError:
    what = f"artifact {artifact.id} was removed while it was sent"
    return WrongDataError(what, hint="k1ctl artifact pin keeps one", code="no-artifact")


def _damaged(artifact_id: str, why: str, hint: str) -> WrongDataError:
    return WrongDataError(f"artifact {artifact_id} is damaged: {why}", hint=hint, code="artifact-damaged")
