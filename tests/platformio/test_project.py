from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.errors import ConfigError
from k1ctl.platformio.project import Project, read_project


def project(folder: Path, text: str) -> Project:
    (folder / "platformio.ini").write_text(text)
    return read_project(str(folder))


def test_the_one_default_environment_is_chosen(tmp_path: Path) -> None:
    """default_envs with one name decides among several; comments do not count."""
    found = project(tmp_path, "[platformio]\ndefault_envs = b ; not a\n[env:a]\n[env:b]\n[common]\n")
    assert found.environment() == "b"
    assert found.environments == ["a", "b"]


def test_a_lone_environment_needs_no_default(tmp_path: Path) -> None:
    """One environment is built without being named."""
    assert project(tmp_path, "[env:only]\n").environment() == "only"


@pytest.mark.parametrize(
    "head", ["", "[platformio]\ndefault_envs =\n  a\n  b\n", "[platformio]\ndefault_envs = ${x.y}\n"]
)
def test_several_or_unclear_defaults_need_a_choice(tmp_path: Path, head: str) -> None:
    """k1ctl builds one environment and never guesses which."""
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, head + "[env:a]\n[env:b]\n").environment()
    assert caught.value.code == "ambiguous-env"
    assert "a, b" in caught.value.hint


def test_an_unknown_environment_is_refused_with_those_there_are(tmp_path: Path) -> None:
    """A wrong --env names the right ones."""
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, "[env:a]\n[env:b]\n").environment("c")
    assert (caught.value.code, caught.value.hint) == ("unknown-env", "there are: a, b")


def test_extra_configs_are_read(tmp_path: Path) -> None:
    """Environments in included files count, and what they say about caches and platforms."""
    (tmp_path / "more.ini").write_text("[env:x]\nplatform = symlink://platform\n[platformio]\nbuild_cache_dir = c\n")
    found = project(tmp_path, "[platformio]\nextra_configs =\n  more*.ini\n")
    assert found.environment("x") == "x"
    assert found.shares_objects and found.links_platform


@pytest.mark.parametrize("data", [b"no section\n", b"[a\n", b"\xff\xfe[env:a]\n", b"[env:a]\n= 3\n"])
def test_a_damaged_file_is_a_configuration_error(tmp_path: Path, data: bytes) -> None:
    """Garbage names the file and is no traceback."""
    (tmp_path / "platformio.ini").write_bytes(data)
    with pytest.raises(ConfigError, match=r"platformio\.ini"):
        read_project(str(tmp_path)).environment()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A target whose path is no project says so."""
    with pytest.raises(ConfigError) as caught:
        read_project(str(tmp_path / "nowhere"))
    assert caught.value.code == "no-project"
