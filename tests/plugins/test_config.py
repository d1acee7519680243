"""`k1ctl config`."""

from __future__ import annotations

import json

import pytest

from k1ctl.settings import SETTINGS
from k1ctl.tomllines import dotted, split_key
from tests.kit import Project


def test_show_gives_every_value_with_its_origin(workspace: Project) -> None:
    """All settings, with value, unit, origin and meaning; environment beats file beats default."""
    workspace.configure('[queue]\npark = "5m"\n[devices.k1]\nhost = "k1.local"\n')
    document = workspace.run("config", "show", "--json", env={"K1CTL_OTA_ATTEMPTS": "5"}).assert_ok().json
    rows = {row["key"]: row for row in document["settings"]}
    assert document["file"] == str(workspace.config_file)
    assert {".".join(p) for p in SETTINGS if "*" not in p} <= set(rows)
    assert (rows["queue.park"]["value"], rows["queue.park"]["unit"], rows["queue.park"]["origin"]) == (
        300,
        "seconds",
        "file",
    )
    assert (rows["ota.attempts"]["value"], rows["ota.attempts"]["origin"]) == (5, "environment")
    assert (rows["devices.k1.host"]["value"], rows["devices.k1.mac"]["origin"]) == ("k1.local", "default")
    assert all(row["about"] for row in rows.values())


def test_show_changed_leaves_the_defaults_out(workspace: Project) -> None:
    """--changed is what somebody set, in the table as well as in JSON."""
    workspace.configure('[queue]\npark = "5m"\n')
    document = workspace.run("config", "show", "--changed", "--json").assert_ok().json
    assert [row["key"] for row in document["settings"]] == ["queue.park"]
    lines = workspace.run("config", "show", "--changed").assert_ok().stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:4] == ["queue.park", "5", "m", "file"]


@pytest.mark.parametrize(
    ("key", "printed"),
    [
        ("ota.attempts", "3\n"),
        ("queue.park", "900\n"),
        ("worktree.npm", "true\n"),
        ("worktree.copy", ".env\n.env.*\n"),
        ("queue.slots.device:k1", "2\n"),
        ("queue.slots.build:fw", "4\n"),
        ("queue.slots.other", "1\n"),
        ("devices.k1.host", "k1.local\n"),
        ('devices."desk.two".http_port', "80\n"),
    ],
)
def test_get_prints_the_plain_value(key: str, printed: str, workspace: Project) -> None:
    """One value for scripts; names that the user chose stand in the middle of the key."""
    workspace.configure(
        '[devices.k1]\nhost = "k1.local"\n[devices."desk.two"]\nhost = "x"\n[queue.slots]\n"device:k1" = 2\n'
    )
    assert workspace.run("config", "get", key).assert_ok().stdout == printed


def test_a_plugins_own_value_is_printed_as_it_is(workspace: Project) -> None:
    """Below plugins. nothing is known beforehand: what is there is printed, what is not is refused."""
    workspace.configure("[plugins.make]\nimage = 'fw.bin'\nlist = [1, 'b', true]\nday = 1979-05-27\nlimit = inf\n")
    assert workspace.run("config", "get", "plugins.make.image").assert_ok().stdout == "fw.bin\n"
    assert workspace.run("config", "get", "plugins.make.list").assert_ok().stdout == "1\nb\ntrue\n"
    value = {"image": "fw.bin", "list": [1, "b", True], "day": "1979-05-27", "limit": "inf"}
    assert workspace.run("config", "get", "plugins.make", "--json").assert_ok().json["value"] == value
    assert json.loads(workspace.run("config", "get", "plugins.make").assert_ok().stdout) == value
    workspace.run("config", "get", "plugins.make.no").assert_fails(78, "plugins.make.no is not set")
    shown = workspace.run("config", "show", "--changed", "--json").assert_ok().json["settings"]
    assert {row["key"]: row["value"] for row in shown} == {f"plugins.make.{key}": v for key, v in value.items()}
    assert "of the plugin make" in workspace.run("config", "show").assert_ok().stdout


def test_get_refuses_what_is_no_setting(workspace: Project) -> None:
    """Exit 78 with near matches; a device that is not configured is no value either."""
    workspace.run("config", "get", "queue.parkk").assert_fails(78, "there is no setting queue.parkk", "queue.park")
    workspace.run("config", "get", "devices.k9.host").assert_fails(78, "no device 'k9'")
    workspace.run("config", "set", "devices.k1.hosst", "x").assert_fails(78, "did you mean devices.k1.host")
    workspace.run("config", "set", "plugins.make", "x").assert_fails(78, "plugins.NAME.KEY")
    odd = workspace.run("config", "get", "queue.\x1b[31m\nnext").assert_fails(
        78, "there is no setting queue.?[31m?next"
    )
    assert "\x1b" not in odd.stderr
    error = workspace.run("config", "get", "nonsense", "--json").assert_fails(78).json["error"]
    assert error["code"] == "unknown-setting"


def test_a_damaged_file_is_refused_with_its_line(workspace: Project) -> None:
    """The command that reads it says file, line and key; `config path` still answers."""
    path = workspace.configure("[queue]\nparkk = 1\n")
    workspace.run("config", "show").assert_fails(78, f"{path}:2", "queue.parkk", "did you mean park")
    assert workspace.run("config", "path").assert_ok().stdout == f"{path}\n"


def test_path_tells_whether_the_file_is_there(workspace: Project) -> None:
    """The path is printed also before init wrote the file."""
    told = workspace.run("config", "path", "--json").json
    assert told == {"ok": True, "file": str(workspace.config_file), "exists": False}


def test_dotted_keys_are_read_back() -> None:
    """Every printed key leads back to its place."""
    odd = ["a.b", "x y", "", 'a"b', "it's", "back\\", " edges "]
    for place in [*SETTINGS, *(("devices", name, "host") for name in odd)]:
        assert split_key(dotted(place)) == place
