"""What was built, kept: ``ops/artifacts/<target>/<id>/``, immutable and named by its content.

``<id>`` is the first 16 hex digits of the image's SHA-256, or where every file counts of a SHA-256 over the names and
digests of all. ``manifest.json`` tells who built it first; every further
build of the same bytes adds a line to ``builds.jsonl``. ``latest/<folder>-<hash of its path>.json`` names what was
built last in a worktree, whatever the worktree is called, and whether a later build of it failed. ``pinned.json`` says
why an artifact is kept for good (`k1ctl.artifacts_pins`), ``.bytes.json`` beside them how much the target takes
(`k1ctl.retention`).
"""

from __future__ import annotations

import os

from k1ctl.errors import UsageError, WrongDataError
from k1ctl.files import Locked, append_line, read_bytes, read_json, write_atomic, write_json
from k1ctl.jsontext import dumps
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from k1ctl.workspace import Workspace

ID_LENGTH = 16  # hex digits
MANIFEST, BUILDS, PIN = "manifest.json", "builds.jsonl", "pinned.json"
PULLING = ".pull.lock"  # held by the pull that fetches into this folder
OWN = (MANIFEST, BUILDS, PIN, PULLING)  # names in an artifact's folder that no file of a build may have
SIZES = ".bytes.json"  # beside the artifacts of a target: {"bytes": what they take, as far as it was counted}
_PIECE = 1 << 20
_TEXTS = ("workspace", "workspace_path", "commit", "at", "target")  # of a manifest, where they are there
_BUILD_FIELDS = ("workspace", "workspace_path", "commit", "dirty", "sources", "environment", "run")


class Artifact:
    """One kept build.

    ``folder`` holds it, ``image`` is the path of its main file, ``sha256`` that file's digest in hex, ``manifest`` the
    facts of the build that made it first.
    """

    __slots__ = ("folder", "id", "image", "manifest", "sha256", "target")

    def __init__(self, target: str, folder: str, manifest: dict[str, Any]) -> None:
        self.target, self.folder, self.manifest = target, folder, manifest
        self.id = str(manifest["id"])
        self.image = os.path.join(folder, str(manifest["image"]))
        self.sha256 = str(manifest["sha256"])

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return int(self.manifest["files"][self.manifest["image"]]["bytes"])

    def read(self) -> bytes:
        """The image's bytes, checked against the digest. Raises WrongDataError when they are missing or damaged."""
        data = read_bytes(self.image)
        if data is None or digest_of(data) != self.sha256:
            what = "is missing" if data is None else "is damaged: its bytes do not have the recorded SHA-256"
            raise WrongDataError(
                f"artifact {self.id} {what} ({self.image})", hint=f"k1ctl build {self.target}", code="artifact-damaged"
            )
        return data

    def problems(self) -> list[str]:
        """What is wrong with its files, each recomputed; empty when all are as they were kept. Raises OSError."""
        from hashlib import file_digest

        found = []
        files = self.manifest["files"]
        for name, told in files.items():
            try:
                with open(os.path.join(self.folder, name), "rb") as f:
                    if file_digest(f, "sha256").hexdigest() != told["sha256"]:
                        found.append(f"{name} does not have the recorded SHA-256")
            except FileNotFoundError:
                found.append(f"{name} is missing")
        image = files.get(self.manifest["image"], {"sha256": ""})
        if image["sha256"] != self.sha256 or self.id not in (id_of(image, {}), id_of(image, files)):
            found.append(f"{MANIFEST} does not agree with its id")
        return found

    def document(self) -> dict[str, Any]:
        """The artifact as JSON-able facts that hold for every build which gave these bytes; the manifest tells of the
        first one."""
        facts = {"id": self.id, "target": self.target, "image": self.manifest["image"], "path": self.image}
        return {**facts, "folder": self.folder, "sha256": self.sha256, "files": self.manifest["files"]}


def store(
    workspace: Workspace,
    target: str,
    files: Mapping[str, str],
    manifest: Mapping[str, Any],
    *,
    newest: bool = True,
    whole: bool = False,
) -> Artifact:
    """Copy ``files`` {name: path} (the image first) and return the artifact, now the workspace's newest.

    A path that is a folder is kept as one archive (`k1ctl.archives`), whose name and bytes follow from what is in it.

    ``whole``: an artifact is another one when any of its files differs, not only the image. ``newest=False`` is for
    what this workspace did not build; `find` then goes on naming what it built last.

    ``manifest``: ``commit``, ``dirty``, ``environment``, ``tools``, ``seconds``, ``cache_hits``, ``run`` and what else
    is worth keeping; ids, sizes, digests, ``workspace`` and ``at`` are filled in. Bytes that are kept already are not
    copied again. Stores of one target take turns, so what a killed one left behind can be told and removed. Raises
    WrongDataError when the image is not there, OSError.
    """
    name, source = next(iter(files.items()))
    base = target_folder(workspace, target)
    os.makedirs(base, exist_ok=True)
    where = {"workspace": workspace.name, "workspace_path": os.path.realpath(workspace.path)}
    facts = {**manifest, "target": target, **where, "at": rfc3339()}
    with Locked(os.path.join(base, ".lock")):
        _remove_leftovers(base)
        temporary = os.path.join(base, f".tmp-{os.getpid()}-{os.urandom(3).hex()}")
        os.mkdir(temporary)
        try:
            image = _copy(source, os.path.join(temporary, name))
            done = {name: image}
            if whole:
                _copy_others(temporary, files, done)
            folder = os.path.join(base, id_of(image, done))
            kept = _kept(target, folder, image["sha256"])
            if kept is None:
                kept = _settle(target, temporary, folder, files, done, facts)
            else:
                discard(temporary)
        except FileNotFoundError as exc:
            discard(temporary)
            raise WrongDataError(f"the build left no {exc.filename}", code="no-output") from exc
        except BaseException:
            discard(temporary)
            raise
        build = {"at": facts["at"], **{key: facts.get(key) for key in _BUILD_FIELDS}}
        append_line(os.path.join(kept.folder, BUILDS), dumps(build))
        if newest:
            write_json(_latest_file(workspace, target), {"id": kept.id, **build})
    return kept


def find(workspace: Workspace, target: str, reference: str = "") -> Artifact:
    """The artifact that ``reference`` names: the beginning of an id (4 digits or more), or "" for the newest of this
    worktree. Raises WrongDataError when there is none or, for "", when a build failed since (build-failed-since);
    UsageError when the beginning fits several."""
    base = target_folder(workspace, target)
    if not reference or reference == "latest":
        latest = newest_build(workspace, target)
        found = load(target, os.path.join(base, str(latest["id"]))) if latest else None
        if found is None:
            raise WrongDataError(
                f"no artifact of {target} was built in {workspace.path}",
                hint=f"k1ctl build {target}",
                code="no-artifact",
            )
        if latest.get("failed"):
            raise WrongDataError(
                f"the last build of {target} here (run {latest['failed']['run']}) has not succeeded; "
                f"artifact {found.id} is of an earlier one",
                hint=f"k1ctl upload --build; or --artifact {found.id} sends the older one on purpose",
                code="build-failed-since",
                failed=latest["failed"],
                artifact=found.id,
            )
        return found
    wanted = reference.lower()[:ID_LENGTH]
    ids = [i for i in ids_in(base) if i.startswith(wanted)] if len(wanted) >= 4 else []
    if len(ids) > 1:
        raise UsageError(f"artifact {reference} may be {' or '.join(ids)}", hint="give more digits")
    found = load(target, os.path.join(base, ids[0])) if ids else None
    if found is None:
        raise WrongDataError(f"there is no artifact {reference} of {target}", hint=f"see {base}", code="no-artifact")
    return found


def note_failed(workspace: Workspace, target: str, run: str) -> None:
    """Remember that the last build of this worktree, ``run``, gave no artifact, or none as yet: `store` forgets it.

    Without an earlier one there is nothing to be mistaken for it, and nothing is written."""
    if newest_build(workspace, target):
        with Locked(os.path.join(target_folder(workspace, target), ".lock")):
            failed = {"run": run, "at": rfc3339()}
            write_json(_latest_file(workspace, target), {**newest_build(workspace, target), "failed": failed})


def newest_build(workspace: Workspace, target: str) -> dict[str, Any]:
    """What this worktree built last: ``id``, ``at``, ``commit``, ``dirty``, ``sources``, ...; {} when nothing.
    ``failed`` tells of a later build that gave nothing."""
    latest = read_json(_latest_file(workspace, target))
    if not isinstance(latest, dict) or latest.get("workspace_path") != os.path.realpath(workspace.path):
        return {}
    return latest


def list_artifacts(workspace: Workspace, target: str) -> list[Artifact]:
    """All artifacts of a target, the one that was made last first; what cannot be read is left out."""
    base = target_folder(workspace, target)
    found = [artifact for i in ids_in(base) if (artifact := load(target, os.path.join(base, i))) is not None]
    return sorted(found, key=lambda a: (str(a.manifest.get("at")), a.id), reverse=True)


def file_name(text: str) -> str:
    """``text`` as a file name that is one to one with it: anything but letters, digits, ``-_.`` as ``%XX``."""
    name = "".join(
        c if c.isascii() and (c.isalnum() or c in "-_.") else "".join(f"%{b:02X}" for b in os.fsencode(c)) for c in text
    )
    name = "%2E" + name[1:] if name.startswith(".") else name
    return name if len(name) <= 120 else f"{name[:80]}-{digest_of(os.fsencode(text))[:16]}"


def target_folder(workspace: Workspace, target: str) -> str:
    """The folder of a target's artifacts."""
    return workspace.ops_path("artifacts", file_name(target))


def _latest_file(workspace: Workspace, target: str) -> str:
    path = os.path.realpath(workspace.path)
    own = f"{file_name(os.path.basename(path))[:80]}-{digest_of(os.fsencode(path))[:16]}.json"
    return os.path.join(target_folder(workspace, target), "latest", own)


def ids_in(base: str) -> list[str]:
    """The names in a target's folder that are ids."""
    try:
        names = os.listdir(base)
    except (FileNotFoundError, NotADirectoryError):  # others put files beside the targets: .DS_Store
        return []
    return [n for n in names if len(n) == ID_LENGTH and all(c in "0123456789abcdef" for c in n)]


def load(target: str, folder: str) -> Artifact | None:
    """The artifact in ``folder``; None where its manifest is none."""
    manifest = read_json(os.path.join(folder, MANIFEST))
    return Artifact(target, folder, manifest) if is_manifest(manifest) else None


def is_manifest(found: Any) -> bool:
    """Whether this is the manifest of an artifact: what is read of it has the type that it has to have."""
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("id", "image", "sha256")):
        return False
    files = found.get("files")
    if not isinstance(files, dict) or found["image"] not in files or not all(map(_is_file, files.values())):
        return False
    return all(isinstance(found.get(key), str | None) for key in _TEXTS)


def _is_file(file: Any) -> bool:
    size, sha256 = (file.get("bytes"), file.get("sha256")) if isinstance(file, dict) else (None, None)
    return isinstance(size, int) and size >= 0 and isinstance(sha256, str)


def load_any(folder: str) -> Artifact | None:
    """As `load`, of the target whose folder it lies in."""
    shelf = os.path.basename(os.path.dirname(folder))
    found = load(target_of(shelf), folder)
    named = found.manifest.get("target") if found else None
    if found and isinstance(named, str) and file_name(named) == shelf:
        found.target = named
    return found


def target_of(name: str) -> str:
    """The target whose folder has this name; of a very long one the name itself."""
    first, *rest = name.split("%")
    try:
        data = first.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)
        return data.decode()
    except ValueError:
        return name


def _kept(target: str, folder: str, sha256: str) -> Artifact | None:
    """The artifact that is there already with just these bytes; a damaged one is moved aside."""
    if not os.path.isdir(folder):
        return None
    there = load(target, folder)
    if there is not None and there.sha256 == sha256 and not there.problems():
        return there
    os.rename(folder, f"{folder}.damaged-{os.urandom(4).hex()}")
    return None


def _settle(
    target: str, temporary: str, folder: str, files: Mapping[str, str], done: dict[str, Any], facts: dict[str, Any]
) -> Artifact:
    """Copy the other files, write the manifest and give the folder its name: from then on it is there, whole."""
    image = next(iter(files))
    _copy_others(temporary, files, done)
    carried = carry(folder, temporary)
    head = {"id": os.path.basename(folder), "image": image, "sha256": done[image]["sha256"], "files": done}
    manifest = {**head, **facts}
    write_json(os.path.join(temporary, MANIFEST), manifest, mode=0o444, fsync=True)
    os.rename(temporary, folder)
    for path in carried:
        os.unlink(path)
    count_bytes(os.path.dirname(folder), sum(file["bytes"] for file in done.values()))
    return Artifact(target, folder, manifest)


def carry(folder: str, temporary: str) -> list[str]:
    """What people and builds noted of a damaged artifact holds for the one in its place; the paths it was read from."""
    base, name = os.path.split(folder)
    aside = [each for each in os.listdir(base) if each.startswith(f"{name}.damaged-")]
    carried = []
    for path in (os.path.join(base, each, own) for each in aside for own in (PIN, BUILDS)):
        data = read_bytes(path)
        if data is not None:
            write_atomic(os.path.join(temporary, os.path.basename(path)), data)
            carried.append(path)
    return carried


def count_bytes(base: str, more: int) -> None:
    """Add to what a target's folder is known to take; where nothing is known of it yet, nothing. Under its lock."""
    known = read_json(os.path.join(base, SIZES))
    if isinstance(known, dict) and isinstance(known.get("bytes"), int):
        write_json(os.path.join(base, SIZES), {"bytes": known["bytes"] + more})


def _copy_others(temporary: str, files: Mapping[str, str], done: dict[str, Any]) -> None:
    for name, source in files.items():
        if name not in done and os.path.exists(source):
            done[name] = _copy(source, os.path.join(temporary, name))


def id_of(image: dict[str, Any], counted: dict[str, Any]) -> str:
    """The id that follows from the files that count: the image, or all."""
    if len(counted) < 2:
        return str(image["sha256"])[:ID_LENGTH]
    return digest_of("".join(f"{name} {file['sha256']}\n" for name, file in sorted(counted.items())).encode())[
        :ID_LENGTH
    ]


def _copy(source: str, target: str) -> dict[str, Any]:
    """Copy one file, read-only, and return its size and the SHA-256 of the bytes that were written."""
    from hashlib import sha256

    if os.path.isdir(source):
        from k1ctl.archives import pack

        return pack(source, target)

    digest, size = sha256(), 0
    with open(source, "rb") as f, open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb") as out:
        while piece := f.read(_PIECE):
            digest.update(piece)
            size += out.write(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}


def digest_of(data: bytes) -> str:
    """The SHA-256 in hex."""
    from hashlib import sha256

    return sha256(data).hexdigest()


def _remove_leftovers(base: str) -> None:
    """Under the lock of the target no other store is under way, so every temporary folder is a dead one's.

    One that cannot be removed (another user's) keeps no build from being stored.
    """
    for name in os.listdir(base):
        if name.startswith(".tmp-"):
            try:
                discard(os.path.join(base, name))
            except OSError:
                pass


def discard(folder: str) -> None:
    """Remove a folder with what is in it; a file; of a link the link only. What is not there is no error."""
    if os.path.isdir(folder) and not os.path.islink(folder):
        import shutil

        try:
            shutil.rmtree(folder)
        except FileNotFoundError:  # somebody else removes it, too
            pass
    elif os.path.lexists(folder):
        os.unlink(folder)
