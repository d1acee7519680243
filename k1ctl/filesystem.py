"""What kind of filesystem a folder lies on, and whether flock works there."""

from __future__ import annotations

import fcntl
import os
import sys
from typing import NamedTuple

from k1ctl.errors import ConfigError
from k1ctl.files import flock

_NETWORK = (
    "nfs nfs3 nfs4 cifs smb2 smb3 smbfs afpfs webdav davfs fuse.davfs2 fuse.sshfs sshfs osxfuse.sshfs macfuse.sshfs",
    "afs ceph fuse.ceph glusterfs fuse.glusterfs lustre gpfs beegfs ncpfs fuse.s3fs fuse.rclone",
)
NETWORK = frozenset(" ".join(_NETWORK).split(" "))


class Mount(NamedTuple):
    """A mounted filesystem: where it is mounted and its type as the system names it ("" when unknown)."""

    folder: str
    kind: str

    @property
    def network(self) -> bool:
        """Whether it is shared by hosts, so that a lock on one says nothing on the other."""
        return self.kind in NETWORK


def mount_of(path: str) -> Mount:
    """The filesystem that ``path`` lies on."""
    return holding(os.path.realpath(path), _mounts())


def holding(path: str, mounts: list[Mount]) -> Mount:
    """The mount among ``mounts`` (in the order they were made) that holds the absolute ``path``."""
    best = Mount("/", "")
    for mount in mounts:
        prefix = mount.folder.rstrip("/") + "/"
        if (path + "/").startswith(prefix) and len(mount.folder) >= len(best.folder):
            best = mount
    return best


def _mounts(platform: str = sys.platform) -> list[Mount]:
    if platform == "linux":
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
                return parse_mountinfo(f.read())
        except OSError:
            return []
    import subprocess

    try:
        done = subprocess.run(["/sbin/mount"], capture_output=True, text=True, errors="replace", timeout=10)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_mount(done.stdout)


def parse_mountinfo(text: str) -> list[Mount]:
    """Linux's ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)): field 5 is the folder, the type follows `` - ``."""
    found = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields = left.split(" ")
        if dash and len(fields) >= 5:
            found.append(Mount(_unescape(fields[4]), right.split(" ")[0]))
    return found


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def parse_mount(text: str) -> list[Mount]:
    """The output of macOS's mount(8): ``DEVICE on FOLDER (TYPE, OPTION, ...)``."""
    found = []
    for line in text.splitlines():
        head, bracket, options = line.rpartition(" (")
        _, on, folder = head.partition(" on ")
        if bracket and on:
            found.append(Mount(folder, options.rstrip(")").split(",")[0].strip()))
    return found


def check_locks(folder: str) -> Mount:
    """Make sure that flock excludes in ``folder``: two descriptors of one file must not both get it.

    Returns the mount. Raises ConfigError on a network filesystem and where flock is missing or does nothing.
    """
    mount = mount_of(folder)
    if mount.network:
        raise ConfigError(
            f"{folder} lies on a network filesystem ({mount.kind}, mounted at {mount.folder})",
            hint="keep the main checkout on a local disk: locks of several hosts do not see each other",
            code="network-filesystem",
            filesystem=mount.kind,
        )
    path = os.path.join(folder, f".flock-{os.getpid()}")
    first = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        second = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
            works = not flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
        finally:
            os.close(second)
    finally:
        os.close(first)
        os.unlink(path)
    if not works:
        raise ConfigError(
            f"{folder}: flock does not exclude on this filesystem ({mount.kind or 'unknown type'})",
            hint="keep the main checkout on a local disk",
            code="no-flock",
            filesystem=mount.kind,
        )
    return mount
