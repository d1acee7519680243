"""`k1ctl init`."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from k1ctl.config import parse_file
from k1ctl.settings import SETTINGS, find
from k1ctl.settings_kinds import convert
from k1ctl_plugins.init.prepare import BEGIN, END, FOLDERS, with_block, write_new
from k1ctl_plugins.init.template import Host, build_slots, header, render, toml_value
from tests.kit import Project, processes

GIB = 1 << 30


def test_it_makes_what_every_command_needs(workspace: Project) -> None:
    """Folders, a configuration that loads, nothing volatile in git's eyes, and a report of it all."""
    (workspace.ops).rmdir()
    report = workspace.run("init", "--json").assert_ok().json
    assert report["created"][0] == str(workspace.ops)
    assert report["kept"] == []
    assert {p.name for p in workspace.ops.iterdir() if p.is_dir()} == set(FOLDERS)
    workspace.run("config", "show").assert_ok()
    for name in (*FOLDERS, "state.db-wal"):
        workspace.write(f"ops/{name}/x" if name in FOLDERS else f"ops/{name}", "x")
    assert workspace.git("status", "--porcelain", "--untracked-files=all") == "?? ops/k1ctl.toml"


def test_the_folders_are_excluded_in_every_worktree(workspace: Project) -> None:
    """The exclusion stands in the common git folder, also when init is called from a worktree."""
    tree = workspace.add_worktree("oslo")
    workspace.run("init", cwd=tree).assert_ok()
    workspace.write("ops/queue/x", "x", within=tree)
    assert workspace.git("status", "--porcelain", cwd=tree) == ""
    assert workspace.config_file.exists()


def test_what_the_budget_keeps_is_excluded(workspace: Project) -> None:
    """The ledger, what is known of keys, models and GitHub, and the locks: git sees the configuration alone."""
    workspace.run("init").assert_ok()
    workspace.run("budget", "reserve", "1k").assert_ok()
    workspace.run("budget", "github", "--pace").assert_ok()
    workspace.run("budget", "sync", env={"HOME": str(workspace.root), "CLAUDE_CONFIG_DIR": "", "CODEX_HOME": ""})
    assert (workspace.ops / "budget-sync.lock").exists() and (workspace.ops / "budget").exists()
    there = workspace.git("ls-files", "--others", "--exclude-standard", "ops").split()
    assert there == ["ops/k1ctl.toml"]


def test_run_again_it_keeps_everything(workspace: Project) -> None:
    """Idempotent: the second call makes nothing, and an edited configuration stays as it is."""
    workspace.run("init").assert_ok()
    exclude = workspace.root / ".git" / "info" / "exclude"
    before = exclude.read_text()
    workspace.configure("# mine\n")
    (workspace.ops / "runs").rmdir()
    report = workspace.run("init", "--json").assert_ok().json
    assert report["created"] == [str(workspace.ops / "runs")]
    assert workspace.config_file.read_text() == "# mine\n"
    assert exclude.read_text() == before


def test_a_dry_run_changes_nothing(workspace: Project) -> None:
    """It tells what would be made and prints the file, which is the one that is written then."""
    workspace.ops.rmdir()
    exclude = (workspace.root / ".git" / "info" / "exclude").read_text()
    text = workspace.run("init", "--dry-run").assert_ok().stdout
    document = workspace.run("init", "--dry-run", "--json").assert_ok().json
    assert not workspace.ops.exists()
    assert (workspace.root / ".git" / "info" / "exclude").read_text() == exclude
    created = workspace.run("init", "--json").assert_ok().json["created"]
    assert document["created"] == created
    assert document["config"] == text == workspace.config_file.read_text()


@pytest.mark.parametrize("host", [Host(1, GIB), Host(2, 24 * GIB), Host(14, 48 * GIB), Host(128, 512 * GIB)])
def test_every_setting_stands_in_the_file(host: Host, tmp_path: Path) -> None:
    """The written file loads; with the # taken from its settings it still loads, and has every setting there is."""
    path = tmp_path / "k1ctl.toml"
    text = render(host, str(tmp_path))
    path.write_text(text)
    chosen = parse_file(str(path))
    assert set(chosen) == {
        ("queue", "slots", "build:fw"),
        ("queue", "slots", "build:web"),
        ("targets", "fw", "kind"),
        ("targets", "fw", "path"),
    }
    bare = [line[1:] if line.startswith("#") and line[1:2] not in ("", " ") else line for line in text.splitlines()]
    path.write_text("\n".join(bare))
    values = parse_file(str(path))
    settings = {id(find(place)) for place in values}
    assert settings == {id(setting) for setting in SETTINGS.values()}
    for place, value in values.items():
        setting = find(place)
        assert setting is not None
        assert place in chosen or value == setting.default
    for setting in SETTINGS.values():
        assert setting.about.split()[0] in text


def test_slots_fit_the_host() -> None:
    """At least one, four firmware builds at most, fewer where cores or memory are short."""
    assert build_slots(Host(1, GIB // 2)) == {"build:fw": 1, "build:web": 1}
    assert build_slots(Host(14, 48 * GIB)) == {"build:fw": 4, "build:web": 6}
    assert build_slots(Host(14, 4 * GIB)) == {"build:fw": 2, "build:web": 4}


def test_values_are_written_as_people_write_them() -> None:
    """Durations and sizes with the largest whole unit; each reads back to the same value."""
    import tomllib

    for setting, value, text in [
        (SETTINGS[("queue", "park")], 900.0, '"15m"'),
        (SETTINGS[("queue", "park")], 0.25, '"250ms"'),
        (SETTINGS[("queue", "park")], 0.0, '"0s"'),
        (SETTINGS[("targets", "*", "partition_size")], 4 << 20, '"4M"'),
        (SETTINGS[("targets", "*", "partition_size")], 1234, '"1234"'),
        (SETTINGS[("worktree", "copy")], ["a", 'b"'], '["a", "b\\""]'),
        (SETTINGS[("worktree", "npm")], True, "true"),
    ]:
        assert toml_value(setting, value) == text
        assert convert(setting, tomllib.loads(f"x = {text}")["x"]) == value


def test_the_project_is_found(workspace: Project) -> None:
    """The folder with platformio.ini becomes the path of target fw."""
    workspace.write("device/platformio.ini", "[env:x]\n")
    workspace.run("init").assert_ok()
    assert workspace.run("config", "get", "targets.fw.path").stdout == "device\n"


def test_the_block_in_the_exclude_file() -> None:
    """One block, where it stood; what others wrote stays; a block that was damaged is mended."""
    once = with_block("*.o")
    assert once.startswith("*.o\n" + BEGIN)
    assert with_block(once) == once
    torn = once.replace("/ops/runs/\n", "").replace(END + "\n", "mine\n")
    assert with_block(torn) == once + "mine\n"
    assert with_block("") == with_block(with_block(""))


def test_many_at_once_write_one_file(workspace: Project) -> None:
    """Ten calls in one instant all succeed, and one of them wrote the file."""
    argv = [sys.executable, "-m", "k1ctl", "init"]
    assert processes([argv] * 10, cwd=workspace.root, stderr=subprocess.DEVNULL) == [0] * 10
    assert not [p for p in workspace.ops.iterdir() if p.name.startswith(".")]
    assert (workspace.root / ".git" / "info" / "exclude").read_text().count(BEGIN) == 1


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    """Also a dangling link counts as existing."""
    (tmp_path / "link").symlink_to("nowhere")
    assert not write_new(str(tmp_path / "link"), "x")
    assert write_new(str(tmp_path / "new"), "x")
    assert not write_new(str(tmp_path / "new"), "y")
    assert (tmp_path / "new").read_text() == "x"


def test_ops_that_is_a_file_is_named(workspace: Project) -> None:
    """A file in the way is a clear refusal."""
    workspace.ops.rmdir()
    workspace.write("ops", "x")
    workspace.run("init").assert_fails(78, "not a folder")


def test_a_root_without_git_is_prepared_too(tmp_path: Path, workspace: Project) -> None:
    """--root FOLDER outside git: folders and file, and a note that nothing was excluded."""
    report = workspace.run("--root", tmp_path, "init", "--json", cwd=tmp_path).assert_ok().json
    assert (tmp_path / "ops" / "k1ctl.toml").exists()
    assert report["notes"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 64 KiB (root on Linux only)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=40", "none", str(folder)]
    try:
        mounted = sys.platform == "linux" and subprocess.run(options, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs mount(8) as root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told(small_disk: Path, workspace: Project) -> None:
    """Exit 75 and what is full; with room again the same call succeeds."""
    filler = small_disk / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="space"):
        while os.write(fd, b"x" * 4096):
            pass
    os.close(fd)
    env = {"K1CTL_ROOT": str(small_disk)}
    workspace.run("init", env=env).assert_fails(75, "the disk is full")
    filler.unlink()
    workspace.run("init", env=env).assert_ok()
    assert not [n for n in os.listdir(small_disk / "ops") if n.startswith(".")]


def test_a_read_only_disk_is_told(small_disk: Path, workspace: Project) -> None:
    """Exit 78, the reason and the path; the dry run still answers."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    env = {"K1CTL_ROOT": str(small_disk)}
    workspace.run("init", env=env).assert_fails(78, "read-only", str(small_disk))
    workspace.run("init", "--dry-run", env=env).assert_ok()


def test_a_table_is_quoted_where_it_has_to_be() -> None:
    """A name of letters, digits, _ and - stands bare as in the pages; any other is quoted (TOML 1.0)."""
    assert header(("slo", "web-build")) == "[slo.web-build]"
    assert header(("run_targets", "fw:size")) == '[run_targets."fw:size"]'
    assert tomllib.loads(header(("devices", "kö"))) == {"devices": {"kö": {}}}
