"""Layered configuration: what is set, where, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.config import Config, load, mangle, parse_file
from k1ctl.errors import ConfigError
from k1ctl.settings import PRESETS, SETTINGS, find
from k1ctl.settings_kinds import convert, from_text
from tests.kit import Project


def loaded(workspace: Project, environ: dict[str, str] | None = None) -> Config:
    return load(workspace.facts(), environ or {})


def test_every_default_has_its_settings_type() -> None:
    """The table of settings is consistent: each default is a value that its own type accepts."""
    for place, setting in SETTINGS.items():
        assert convert(setting, setting.default) == setting.default, place
        assert setting.about
    for place, value in PRESETS.items():
        found = find(place)
        assert found is not None and place not in SETTINGS
        assert convert(found, value) == value, place


def test_without_a_file_everything_is_default(workspace: Project) -> None:
    """A root without k1ctl.toml works, on defaults."""
    config = loaded(workspace)
    for place, value in config.items():
        setting = find(place)
        assert setting is not None and value == PRESETS.get(place, setting.default)
        assert config.origin(*place) == "default"
    assert config.origin("queue", "park") == "default"


def test_environment_beats_file_beats_default(workspace: Project) -> None:
    """Each layer hides the one below, and the origin tells which it was; units are converted in all of them."""
    workspace.configure('[queue]\npark = "5m"\nstall = 2\n')
    config = loaded(workspace, {"K1CTL_QUEUE_PARK": "1h", "K1CTL_BUILD_JOBS": "3", "K1CTL_WORKTREE_COPY": ".env, a"})
    assert (config.get("queue", "park"), config.origin("queue", "park")) == (3600.0, "environment")
    assert (config.get("queue", "stall"), config.origin("queue", "stall")) == (2.0, "file")
    assert (config.get("queue", "max_length"), config.origin("queue", "max_length")) == (500, "default")
    assert config.get("build", "jobs") == 3
    assert config.get("worktree", "copy") == [".env", "a"]


def test_names_that_users_choose(workspace: Project) -> None:
    """Devices, targets and resources carry the user's names, from the file and from the environment."""
    workspace.configure(
        '[devices.k1]\nhost = "a"\n[devices."desk two"]\nmac = "24:0a:c4:00:00:01"\n[queue.slots]\n"device:k1" = 2\n'
    )
    config = loaded(workspace, {"K1CTL_DEVICES_DESK_TWO_HOST": "b"})
    assert config.names("devices") == ["k1", "desk two"]
    assert config.named("devices", "desk two") == {
        **config.section("devices", "k1"),
        "host": "b",
        "mac": "24:0a:c4:00:00:01",
    }
    assert config.slots("device:k1") == 2
    assert config.slots("device:other") == 1
    assert config.slots("build:x") == 4


def test_an_empty_table_is_a_device_with_every_default(workspace: Project) -> None:
    """[devices.k1] alone configures a device."""
    workspace.configure("[devices.k1]\n[queue]\n[queue.slots]\n")
    for _ in range(2):  # parsed, then from the cache
        config = loaded(workspace)
        assert config.names("devices") == ["k1"]
        assert config.named("devices", "k1")["ota_port"] == 3232
        (workspace.ops / "queue").mkdir(exist_ok=True)


def test_an_unknown_device_names_those_there_are(workspace: Project) -> None:
    """The refusal helps: it lists what is configured."""
    workspace.configure('[devices.k1]\nhost = "a"\n')
    with pytest.raises(ConfigError) as caught:
        loaded(workspace).named("devices", "k2")
    assert caught.value.code == "unknown-device"
    assert "k1" in caught.value.hint


@pytest.mark.parametrize(
    ("toml", "line", "text"),
    [
        ("[queue]\n\nparkk = 1\n", 3, "did you mean park"),
        ('[queue]\npark = "soon"\n', 2, "duration"),
        ("[queue.slots]\n'device:k1' = -1\n", 2, "1 or more"),
        ("[queue.slots]\n'device:k1' = true\n", 2, "whole number"),
        ('[targets.fw]\nkind = "platformio"\nchip = "z80"\n', 3, "must be one of"),
        ("[worktree]\ncopy = '.env'\n", 2, "list of texts"),
        ("[nonsense]\n", 1, "is not a setting"),
        ("queue = 3\n", 1, "queue must be a table, as in [queue]"),
        ("run_targets = 'x'\n", 1, "run_targets must be a table, as in [run_targets.NAME]"),
        ("[run_targets]\n'fw:size' = 1\n", 2, 'must be a table, as in [run_targets."fw:size"]'),
        ("[queue.park]\n", 1, "duration"),
        ("[[devices]]\nhost='x'\n", 1, "must be a table, as in [devices.NAME]"),
        ("[ota]\nattempts = 1.5\n", 2, "whole number"),
        ("[devices.k1]\nota_host_port = 65536\n", 2, "at most 65535"),
        ('[devices.k1]\nmac = "zz"\n', 2, "MAC address"),
        ("[queue.slots]\n'device:k1' = 0\n", 2, "1 or more"),
        ("[queue.slots]\n'two words' = 1\n", 2, "not a resource name"),
        ("[queue]\npark = \n", 2, "Invalid value"),
        ("[queue]\npark = 'x", 1, "Expected"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(toml: str, line: int, text: str, workspace: Project) -> None:
    """Unknown keys and wrong types are refused with file, line and key."""
    path = workspace.configure(toml)
    with pytest.raises(ConfigError) as caught:
        loaded(workspace)
    assert caught.value.message.startswith(f"{path}:{line}: ")
    assert text in caught.value.message
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("content", [b"[queue", b"\xff\xfe", b"a = 1\na = 2\n", b"plugins = 3\n"])
def test_a_damaged_file_is_refused_with_its_name(content: bytes, workspace: Project) -> None:
    """Torn TOML, foreign bytes: one sentence with the file's name."""
    workspace.write("ops/k1ctl.toml", content)
    with pytest.raises(ConfigError, match=r"k1ctl\.toml"):
        loaded(workspace)


@pytest.mark.parametrize(("name", "value"), [("K1CTL_QUEUE_PARK", "soon"), ("K1CTL_OTA_ATTEMPTS", "x")])
def test_a_wrong_variable_is_named(name: str, value: str, workspace: Project) -> None:
    """A value from the environment that does not fit names its variable."""
    with pytest.raises(ConfigError, match=name):
        loaded(workspace, {name: value})


def test_unknown_variables_are_told_with_the_near_one(workspace: Project) -> None:
    """`config show` warns of a K1CTL_ variable that is no setting, and goes on."""
    env = {"K1CTL_QUEUE_PARKK": "5m", "K1CTL_BUILD_JOBS": "2"}
    shown = workspace.run("config", "show", "--json", env=env).assert_ok()
    assert "K1CTL_QUEUE_PARKK is no setting; did you mean K1CTL_QUEUE_PARK?" in shown.stderr
    assert "K1CTL_BUILD_JOBS" not in shown.stderr
    assert next(iter(shown.json.items())) == ("ok", True)


def test_without_a_file_the_hint_is_init(workspace: Project) -> None:
    """Before init a target or device is missing because there is no file."""
    with pytest.raises(ConfigError) as caught:
        loaded(workspace).named("targets", "fw")
    assert "k1ctl init" in caught.value.hint


def test_foreign_variables_are_no_settings(workspace: Project) -> None:
    """K1CTL_ROOT and variables of others do not disturb."""
    assert loaded(workspace, {"K1CTL_ROOT": "/x", "K1CTL_WHATEVER": "1", "PATH": "x"}).environment == {}


def test_third_party_sections_are_left_alone(workspace: Project) -> None:
    """[plugins.NAME] belongs to its plugin; values that JSON cannot hold only keep the cache from being written."""
    workspace.configure("[plugins.mine]\nanything = [1, {x = 1979-05-27}]\n")
    (workspace.ops / "queue").mkdir()
    assert list(loaded(workspace).plugins) == ["mine"]
    assert list(loaded(workspace).plugins) == ["mine"]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_numbers_that_json_lacks_break_no_command(value: str, workspace: Project) -> None:
    """TOML has inf and nan; in a plugin's section they only keep the cache from being written."""
    workspace.configure(f"[plugins.mine]\nx = {value}\n")
    (workspace.ops / "queue").mkdir()
    assert list(loaded(workspace).plugins) == ["mine"]
    assert not (workspace.ops / "queue" / ".config.json").exists()
    workspace.run("queue", "list").assert_ok()
    workspace.run("config", "show", "--json").assert_ok()


def test_the_cache_is_no_more_readable_than_the_file(workspace: Project) -> None:
    """A file that only its owner reads may hold a plugin's secret; so may its cache."""
    path = workspace.configure("[plugins.mine]\ntoken = 'hidden'\n")
    path.chmod(0o600)
    (workspace.ops / "queue").mkdir()
    loaded(workspace)
    (cache,) = (workspace.ops / "queue").glob(".config*")
    assert "hidden" in cache.read_text() and cache.stat().st_mode & 0o077 == 0


def test_the_cache_never_outlives_the_file(workspace: Project) -> None:
    """The parsed file is kept beside the queue; a change, a replacement and a removal of the file are all seen."""
    (workspace.ops / "queue").mkdir()
    for attempts in range(1, 6):
        workspace.configure(f"[ota]\nattempts = {attempts}\n")
        assert loaded(workspace).get("ota", "attempts") == attempts
        assert loaded(workspace).get("ota", "attempts") == attempts
    assert (workspace.ops / "queue" / ".config.json").exists()
    workspace.config_file.unlink()
    assert loaded(workspace).get("ota", "attempts") == 3


def test_a_damaged_cache_is_made_anew(workspace: Project) -> None:
    """A torn cache file costs a parse, nothing else."""
    (workspace.ops / "queue").mkdir()
    workspace.configure("[ota]\nattempts = 7\n")
    loaded(workspace)
    (workspace.ops / "queue" / ".config.json").write_text('{"stamp"')
    assert loaded(workspace).get("ota", "attempts") == 7


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": st.text(max_size=8),
    "int": st.integers(0, 10**6),
    "slots": st.integers(1, 10**6),
    "port": st.integers(0, 65535),
    "dbm": st.integers(-127, 0),
    "mac": st.sampled_from(["", "24:0a:c4:00:00:01", "24-0A-C4-00-00-01"]),
    "bool": st.booleans(),
    "duration": st.integers(0, 10**6) | st.sampled_from(["10s", "5m", "1h30m"]),
    "size": st.integers(0, 10**9) | st.sampled_from(["4M", "512k"]),
    "list": st.lists(st.text(max_size=5), max_size=3),
    "tokens": st.integers(0, 10**9) | st.sampled_from(["3M", "50k"]),
    "number": st.integers(0, 10**6) | st.floats(0, 1e6),
    "percents": st.lists(st.integers(1, 99), max_size=4, unique=True).map(sorted),
    "variable": st.sampled_from(["", "A_KEY", "GITHUB_TOKEN"]),
    "secret-file": st.sampled_from(["", "/etc/a", "~/b c"]),
    "groups": st.lists(st.sampled_from(["red", "desk-2", "s3"]), max_size=3),  # each names a resource
}


@given(st.data())
def test_every_valid_file_is_read_as_written(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any choice of settings with values of their types is accepted, and every value arrives converted."""
    tree: dict[str, Any] = {}
    expected = {}
    for pattern in data.draw(st.lists(st.sampled_from(sorted(SETTINGS)), unique=True, max_size=6)):
        setting = SETTINGS[pattern]
        choices = setting.kind[7:].split("|") if setting.kind.startswith("choice:") else None
        kind = "groups" if pattern[-1] == "groups" else setting.kind
        value = data.draw(st.sampled_from(choices) if choices else VALUES[kind])
        names = ["k1", "a-b", "x:y"] if pattern[1] == "slots" else ["k1", "a b", "x:y"]
        place = tuple(data.draw(st.sampled_from(names)) if p == "*" else p for p in pattern)
        node = tree
        for part in place[:-1]:
            node = node.setdefault(part, {})
        node[place[-1]] = value
        expected[place] = value
    path = tmp_path_factory.mktemp("c") / "k1ctl.toml"
    path.write_bytes(tomli_w.dumps(tree).encode())
    values = parse_file(str(path))
    assert values.keys() == expected.keys()
    for place, value in expected.items():
        setting = find(place)
        assert setting is not None
        assert values[place] == (from_text(setting, value) if isinstance(value, str) else value)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever stands in the file: settings, or a ConfigError; never another error."""
    path = tmp_path_factory.mktemp("c") / "k1ctl.toml"
    path.write_bytes(content)
    try:
        parse_file(str(path))
    except ConfigError:
        pass


def test_mangled_names_are_variable_names() -> None:
    """What an environment variable cannot hold becomes an underscore."""
    assert mangle("device:k1-a b") == "DEVICE_K1_A_B"


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A folder in the file's place is a configuration error."""
    (tmp_path / "k1ctl.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_file(str(tmp_path / "k1ctl.toml"))
