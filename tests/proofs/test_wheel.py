"""What a user installs is complete: the wheel, in an environment of its own, in a folder of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from k1ctl_plugins.completion import script
from tests import firmware, kit


def pip(*args: str | Path) -> None:
    """Run pip; without a package index the tests that need it are skipped."""
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, args)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=110)
    said = done.stdout + done.stderr
    if done.returncode and ("No matching distribution" in said or "Could not find a version" in said):
        pytest.skip(f"needs a package index: {said.strip()[-300:]}")
    assert done.returncode == 0, said


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    here = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    pip("wheel", "--quiet", "--no-deps", *here, "--wheel-dir", folder, kit.REPOSITORY)
    (found,) = folder.glob("k1ctl-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bin folder of an environment that holds the wheel and what it depends on, nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    pip("--python", folder / "bin" / "python", "install", "--quiet", wheel)
    yield folder / "bin"


def test_the_wheel_holds_what_runs_and_nothing_else(wheel: Path) -> None:
    """The demo's firmware, the host platform and the type marker are in it; tests, docs and tools of ours are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, below in (("k1ctl", "k1ctl"), ("plugins/k1ctl_plugins", "k1ctl_plugins")):
        source = kit.REPOSITORY / folder
        files = {f"{below}/{p.relative_to(source)}" for p in source.rglob("*") if p.is_file()}
        assert {f for f in files if "__pycache__" not in f} <= names
    for name in (
        "k1ctl_plugins/demo/firmware/platformio.ini",
        "k1ctl_plugins/demo/firmware/src/main.c",
        "k1ctl/platformio/host_platform/platform.json",
        "k1ctl/platformio/host_platform/boards/k1sim.json",
        "k1ctl/py.typed",
        "k1ctl/hooks/conductor-run",
        "k1ctl/hooks/settings.toml.example",
        "k1ctl/hooks/weekly-archive",
    ):
        assert name in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"k1ctl", "k1ctl_plugins"}


def test_the_installed_wheel_brings_completions(installed: Path, tmp_path: Path) -> None:
    """They lie where bash, zsh and fish look below a prefix, and `k1ctl completion` prints them from there."""
    for shell, below in script.SHARED.items():
        place = installed.parent / below / script.FILES[shell]
        env = {**os.environ, "PYTHONPATH": ""}
        done = subprocess.run([installed / "k1ctl", "completion", shell], cwd=tmp_path, env=env, capture_output=True)
        assert place.read_bytes() == done.stdout == (kit.REPOSITORY / "completions" / place.name).read_bytes()


def test_the_installed_wheel_does_the_demo(installed: Path, tmp_path: Path) -> None:
    """From an empty folder, nothing of this tree on any path: an agent builds and flashes, and every claim holds."""
    firmware.need_pio()
    empty, temporary = tmp_path / "empty", tmp_path / "temporary"
    empty.mkdir()
    temporary.mkdir()
    path = [str(installed), *(p for p in os.environ["PATH"].split(os.pathsep) if p != os.path.dirname(sys.executable))]
    env = {**os.environ, "PATH": os.pathsep.join(path), "TMPDIR": str(temporary)}
    env.pop("PYTHONPATH", None)

    def run(*argv: str | Path) -> str:
        done = subprocess.run([*map(str, argv)], cwd=empty, env=env, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, done
        return done.stdout

    where = run(
        installed / "python", "-c", "import k1ctl, k1ctl_plugins; print(k1ctl.__file__, k1ctl_plugins.__file__)"
    )
    assert all(word.startswith(str(installed.parent)) for word in where.split())
    told = json.loads(run(installed / "k1ctl", "demo", "--agents", "1", "--pace", "1M", "--json"))
    assert told["ok"] and [claim["holds"] for claim in told["proof"]] == [True] * 5
    assert list(empty.iterdir()) == [] and list(temporary.iterdir()) == []
