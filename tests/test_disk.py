"""k1ctl.disk: how full a disk is, whether there is room, what a folder takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from k1ctl import disk
from k1ctl.cli import cli
from k1ctl.config import Config
from k1ctl.errors import BusyError
from tests.kit import Project

GIB = 1 << 30


def config(**settings: int) -> Config:
    return Config("k1ctl.toml", {("disk", key): value for key, value in settings.items()}, {})


def filesystem(monkeypatch: pytest.MonkeyPatch, *, size: int, used: int, files: int = 0, files_free: int = 0) -> None:
    """A disk of ``size`` GiB of which ``used`` are used, and 5 % of it only the superuser's."""
    blocks = GIB // 4096
    facts = SimpleNamespace(
        f_frsize=4096,
        f_bsize=4096,
        f_blocks=size * blocks,
        f_bfree=(size - used) * blocks,
        f_bavail=(size - used) * blocks - size * blocks // 20,
        f_files=files,
        f_favail=files_free,
    )
    monkeypatch.setattr(disk, "statvfs", lambda path: facts)


def test_the_use_is_what_df_tells(tmp_path: Path) -> None:
    """Free bytes and percent of this very disk, of a path that is not there yet as of its folder."""
    shown = subprocess.run(["df", "-Pk", str(tmp_path)], capture_output=True, text=True, check=True).stdout.split()
    there = disk.use(str(tmp_path / "not" / "yet"))
    assert abs(there.percent - int(shown[-2].rstrip("%"))) <= 1
    assert abs(there.free - int(shown[-3]) * 1024) < 256 << 20


def test_what_only_the_superuser_may_take_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 GiB, 85 used, 5 reserved: 10 are free of 95."""
    filesystem(monkeypatch, size=100, used=85)
    there = disk.use("/")
    assert there.free // GIB == 10 and there.percent == 90
    assert there.percent_with(5 * GIB) == 95
    assert there.percent_with(11 * GIB) == 102


def test_room_is_refused_before_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would bring it above stop_percent is refused with all figures; 0 switches the check off."""
    filesystem(monkeypatch, size=100, used=85)
    disk.check_room(config(), "/srv", 4 * GIB, "the worktree oslo")
    with pytest.raises(BusyError, match=r"no room for the worktree oslo .* at 90 %, 10.0 GiB are free") as caught:
        disk.check_room(config(), "/srv", 6 * GIB, "the worktree oslo")
    error = caught.value
    assert (error.code, error.exit_code) == ("disk-full", 75)
    assert error.details["need_bytes"] == 6 * GIB and error.details["stop_percent"] == 95
    assert "archive run --dry-run" in error.hint
    disk.check_room(config(stop_percent=0), "/srv", 6 * GIB, "it")
    with pytest.raises(BusyError):
        disk.check_room(config(stop_percent=89), "/srv", 0, "it")


def test_what_frees_room_only_has_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond stop_percent an archive can still be saved, up to where the disk is really full."""
    filesystem(monkeypatch, size=100, used=92)
    with pytest.raises(BusyError):
        disk.check_room(config(), "/srv", 0, "it")
    disk.check_room(config(), "/srv", GIB, "the archive of oslo", frees=True)
    with pytest.raises(BusyError, match="nothing goes beyond 99 %"):
        disk.check_room(config(), "/srv", 3 * GIB, "the archive of oslo", frees=True)


def test_a_disk_without_files_left_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inodes count as bytes do, where the filesystem counts them."""
    filesystem(monkeypatch, size=100, used=10, files=1000, files_free=10)
    with pytest.raises(BusyError, match="99 % of its files are used, 10 are left"):
        disk.check_room(config(), "/srv", 0, "it")
    filesystem(monkeypatch, size=100, used=10)
    disk.check_room(config(), "/srv", 0, "it")


def test_archiving_is_suggested_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above archive_percent one line with the command; at it, below it, and where nothing is known, none."""
    filesystem(monkeypatch, size=100, used=85)
    assert disk.suggest(config(), "/").startswith("disk is at 90 %; `k1ctl archive run --dry-run`")
    assert disk.suggest(config(archive_percent=90), "/") == ""
    assert disk.suggest(config(archive_percent=0), "/") == ""

    def fail(path: str) -> None:
        raise OSError

    monkeypatch.setattr(disk, "statvfs", fail)
    assert disk.suggest(config(), "/") == ""


def test_a_folder_is_measured_as_du_does(tmp_path: Path) -> None:
    """Allocated bytes, sparse files too, hard links once, links not followed, folders left out on request."""
    top = tmp_path / "top"
    for i in range(40):
        folder = top / f"d{i % 4}" / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{i}").write_bytes(b"x" * (i * 700))
    with (top / "sparse").open("wb") as f:
        f.truncate(64 << 20)
    os.link(top / "d3" / "deep" / "f39", top / "again")
    (tmp_path / "big").write_bytes(b"x" * (1 << 20))
    (top / "link").symlink_to(tmp_path / "big")
    (top / os.fsdecode(b"\xff\n")).write_text("x")

    def du(path: Path) -> int:
        return int(
            subprocess.run(["du", "-sk", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
        )

    assert disk.measure(str(top)) == du(top) * 1024
    assert disk.measure(str(top), skip=[str(top / "d3")]) < disk.measure(str(top)) - 40_000
    assert disk.measure(str(tmp_path / "none")) == 0


def test_what_is_taken_is_told_by_kind(tmp_path: Path) -> None:
    """A folder's kind holds for all below it; the kinds add up to the whole."""
    for name in ("a/x", "a/node_modules/y", "a/node_modules/p/node_modules/z"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5000)
    taken = disk.walk(str(tmp_path), kind=lambda path, name, outer: outer or ("m" if name == "node_modules" else ""))
    assert taken.bytes["m"] == disk.measure(str(tmp_path / "a" / "node_modules"))
    assert taken.total == disk.measure(str(tmp_path)) and taken.entries == 8


def test_what_cannot_be_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without permission is told, one that went meanwhile is not, and the rest is measured."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "gone").mkdir()
    (tmp_path / "open").write_bytes(b"x" * 5000)
    refused = {"closed": PermissionError(13, "Permission denied"), "gone": FileNotFoundError(2, "No such file")}

    def scandir(path: str) -> object:
        if error := refused.get(os.path.basename(path)):
            raise error
        return real(path)

    real = os.scandir
    monkeypatch.setattr(disk.os, "scandir", scandir)
    taken = disk.walk(str(tmp_path))
    assert taken.denied == 1 and taken.total > 5000


def test_add_refuses_on_a_full_disk(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is made; above archive_percent it goes on and tells what could go."""
    monkeypatch.chdir(workspace.root)
    filesystem(monkeypatch, size=100, used=94)
    done = CliRunner().invoke(cli, ["worktree", "add", "oslo", "--no-setup"])
    assert isinstance(done.exception, BusyError) and done.exception.code == "disk-full"
    assert done.exception.details["need_bytes"] > 4096
    assert not workspace.worktree("oslo").exists() and workspace.git("branch", "--list", "oslo") == ""
    filesystem(monkeypatch, size=100, used=85)
    done = CliRunner().invoke(cli, ["worktree", "add", "oslo", "--no-setup"])
    assert done.exit_code == 0 and "disk is at 90 %" in done.stderr
    for command in (["list"], ["setup", "--only", "tools"]):
        assert CliRunner().invoke(cli, ["worktree", *command]).stderr.count("disk is at 90 %") == 1


def test_a_build_is_not_begun_on_a_full_disk(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before it stands in line; nothing was run."""
    workspace.configure('[targets.x]\nkind = "command"\npath = "."\ncommand = ["touch", "ran"]\noutputs = ["ran"]\n')
    monkeypatch.chdir(workspace.root)
    filesystem(monkeypatch, size=100, used=94)
    done = CliRunner().invoke(cli, ["build", "x"])
    assert isinstance(done.exception, BusyError) and done.exception.code == "disk-full"
    assert not (workspace.root / "ran").exists() and not list((workspace.ops / "runs").glob("*"))
