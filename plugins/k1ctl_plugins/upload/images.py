"""Which image is sent: the newest build, an artifact, a file; an application's or a filesystem's, never mixed up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl import artifacts
from k1ctl.errors import UsageError, WrongDataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.artifacts import Artifact
    from k1ctl.workspace import Workspace

APP, FILESYSTEM = "app", "filesystem"


class Wish:
    """What a call asks for: ``artifact`` an id, its beginning, a path or "" for the newest build."""

    def __init__(self, artifact: str, *, build: bool, filesystem: bool, force: bool, dry_run: bool) -> None:
        self.artifact, self.build, self.force, self.dry_run = artifact, build, force, dry_run
        self.kind = FILESYSTEM if filesystem else APP

    def check(self) -> None:
        """Refuse what cannot be asked for together. Raises UsageError."""
        if self.build and (self.artifact or self.dry_run):
            raise UsageError(f"--build and {'--artifact' if self.artifact else '--dry-run'} exclude each other")
        if self.force and self.kind == APP:
            raise UsageError("--force is for --filesystem: it sends an image that does not look like a filesystem")


def shelf_of(target: str, kind: str) -> str:
    """Where the artifacts of a target and a kind are kept: never those of two kinds in one place."""
    return target if kind == APP else f"{target}.{kind}"


def choose(
    workspace: Workspace, target: str, settings: dict[str, Any], wish: Wish, build: Callable[[], str]
) -> tuple[Artifact, list[str]]:
    """(The artifact to send, checked; warnings). A file is kept as an artifact first, unless nothing is to change.

    ``build`` makes a build and returns its id. Raises WrongDataError, UsageError, OSError.
    """

    def check(image: bytes | str) -> list[str]:
        from k1ctl.device.image import check_filesystem, check_image

        if wish.kind == FILESYSTEM:
            return check_filesystem(image, settings["filesystem_size"], force=wish.force)
        check_image(image, settings["chip"], settings["partition_size"])
        return []

    shelf = shelf_of(target, wish.kind)
    if os.sep in wish.artifact or wish.artifact.endswith(".bin"):
        path = os.path.join(os.getcwd(), os.path.expanduser(wish.artifact))
        if not os.path.isfile(path):
            raise WrongDataError(f"{wish.artifact} is not a file", code="no-artifact")
        check(path)  # what is wrong is not even kept
        chosen = _unkept(shelf, path) if wish.dry_run else _keep(workspace, shelf, path, wish.kind)
    else:
        chosen = _find(workspace, shelf, build() if wish.build else wish.artifact, wish.kind)
    kind = chosen.manifest.get("image_kind", wish.kind)
    if kind != wish.kind:
        raise WrongDataError(f"artifact {chosen.id} is the image of another kind: {kind}", code="image-foreign")
    return chosen, check(chosen.read())


def _find(workspace: Workspace, shelf: str, reference: str, kind: str) -> Artifact:
    try:
        return artifacts.find(workspace, shelf, reference)
    except WrongDataError as exc:
        if kind == FILESYSTEM and not reference:
            exc.hint = "k1ctl upload --filesystem --build makes one; --artifact PATH sends another"
        raise


def _keep(workspace: Workspace, shelf: str, path: str, kind: str) -> Artifact:
    """Take a file into the artifacts. It is not what this workspace built, so its newest build stays what it was."""
    unknown = dict.fromkeys(("commit", "dirty", "seconds"))
    facts: dict[str, Any] = {**unknown, "environment": "", "tools": {}, "run": "", "from": path, "image_kind": kind}
    name = "firmware.bin" if kind == APP else "filesystem.bin"
    return artifacts.store(workspace, shelf, {name: path}, facts, newest=False)


def _unkept(shelf: str, path: str) -> Artifact:
    """A file as the artifact that it would become."""
    from hashlib import sha256

    with open(path, "rb") as f:
        data = f.read()
    name, digest = os.path.basename(path), sha256(data).hexdigest()
    files = {name: {"bytes": len(data), "sha256": digest}}
    manifest = {"id": digest[: artifacts.ID_LENGTH], "image": name, "sha256": digest, "files": files}
    return artifacts.Artifact(shelf, os.path.dirname(path), manifest)
