"""What a folder lies on, as Linux and macOS tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.errors import ConfigError
from k1ctl.filesystem import Mount, check_locks, holding, mount_of, parse_mount, parse_mountinfo

LINUX = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 0:33 / /home rw,relatime shared:2 master:1 - nfs4 server:/home rw,vers=4.2
41 27 0:34 / /mnt/my\\040disk rw - cifs //server/share rw
42 40 8:1 / /home/me/local rw - xfs /dev/sdb1 rw
43 27 0:35 / /home rw,relatime - tmpfs none rw
"""
MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect, root data)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
//me@nas._smb._tcp.local/work on /Volumes/work on nas (smbfs, nodev, nosuid, mounted by me)
nas:/export on /Volumes/export (nfs, nodev, nosuid, mounted by me)
/dev/disk4s1 on /Volumes/USB (x) (msdos, local, nodev, nosuid, noowners, noatime)
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/homework", "ext4"),
        ("/home/me", "tmpfs"),
        ("/home/me/local/repo", "xfs"),
        ("/mnt/my disk/x", "cifs"),
    ],
)
def test_linux_mounts(path: str, kind: str) -> None:
    """The longest mount point wins, of two at one place the later; escaped names are read."""
    assert holding(path, parse_mountinfo(LINUX)).kind == kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/Users/me/repo", "apfs"),
        ("/Volumes/export/repo", "nfs"),
        ("/Volumes/USB (x)/repo", "msdos"),
    ],
)
def test_macos_mounts(path: str, kind: str) -> None:
    """mount(8)'s answer, brackets in names included."""
    assert holding(path, parse_mount(MACOS)).kind == kind


def test_network_types_are_known() -> None:
    """What several hosts share is told from what one host has; an unknown type is not refused."""
    assert Mount("/x", "smbfs").network
    assert Mount("/x", "nfs4").network
    assert not Mount("/x", "apfs").network
    assert not Mount("/x", "").network


def test_garbage_gives_no_mounts() -> None:
    """Lines of another shape are passed over."""
    assert parse_mountinfo("x\n\n - - -\n") == []
    assert parse_mount("x\n\n") == []


def test_locks_work_here_and_leave_nothing(tmp_path: Path) -> None:
    """On a local disk the check passes, names the type, and takes its file away."""
    assert check_locks(str(tmp_path)).kind == mount_of(str(tmp_path)).kind != ""
    assert list(tmp_path.iterdir()) == []


def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any file is made there, with the type and the mount point."""
    monkeypatch.setattr("k1ctl.filesystem._mounts", lambda: [Mount(str(tmp_path.resolve()), "nfs4")])
    with pytest.raises(ConfigError, match="nfs4") as caught:
        check_locks(str(tmp_path))
    assert caught.value.code == "network-filesystem"
    assert list(tmp_path.iterdir()) == []


def test_a_flock_that_does_not_exclude_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some filesystems grant every lock: that is found by trying."""
    monkeypatch.setattr("k1ctl.filesystem.flock", lambda *args: True)
    with pytest.raises(ConfigError) as caught:
        check_locks(str(tmp_path))
    assert caught.value.code == "no-flock"
    assert list(tmp_path.iterdir()) == []
