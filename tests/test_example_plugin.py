"""The distribution that docs/writing-plugins.md shows is a plugin as anybody may write one, and works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from k1ctl.testing import add_distribution
from tests.kit import REPOSITORY, Project, needs

SOURCE = REPOSITORY / "tests" / "example_plugin"
PROJECT = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
ENTRIES = PROJECT["entry-points"]["k1ctl.plugins"]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the distribution, outside of this tree, with the metadata that an installer writes."""
    folder = tmp_path / "example"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return add_distribution(folder, PROJECT["name"], ENTRIES, version=PROJECT["version"])


def test_it_is_there_once_it_is_installed(example: Path, workspace: Project) -> None:
    """Nothing in k1ctl names it: it is listed with its distribution and hooks, in the help under its own heading."""
    env: dict[str, str | None] = {"PYTHONPATH": str(example)}
    rows = {
        row["name"]: row for row in workspace.run("plugins", "--check", "--json", env=env).assert_ok().json["plugins"]
    }
    told = {key: rows["make"][key] for key in ("distribution", "version", "hooks", "status", "built_in")}
    assert told == {
        "distribution": "k1ctl-make",
        "version": PROJECT["version"],
        "hooks": ["k1ctl_build_kinds", "k1ctl_command"],
        "status": "ok",
        "built_in": False,
    }
    text = workspace.run("--help", env=env).assert_ok().stdout
    look = text.partition("\nLook:\n")[2].partition("\n\n")[0]
    assert "  make " in look and "\n  k1ctl make\n" in text.partition("\nExamples:\n")[2]
    assert "  make " not in workspace.run("--help", env={**env, "K1CTL_PLUGINS": "none"}).assert_ok().stdout


@needs("make")
def test_its_own_tests_pass(example: Path) -> None:
    """It builds, keeps the artifact and tells what is out of date, by its own tests with `k1ctl.testing`."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests"]
    env = {**os.environ, "PYTHONPATH": str(example), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # it needs none of them
    done = subprocess.run(argv, cwd=example, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_its_hooks_import_nothing_heavy(example: Path) -> None:
    """As its page demands of every plugin: loading it brings click and light modules of k1ctl only."""
    code = "import click, sys; import k1ctl.cli, k1ctl_make; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(example)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert not {"subprocess", "json", "pathlib", "tomllib", "psutil"} & set(done.stdout.split())


def test_an_installer_makes_the_same_of_it(example: Path, tmp_path: Path, workspace: Project) -> None:
    """pip builds and installs it: same names and entry points, and its command runs from there."""
    site = tmp_path / "site"
    argv = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", site, example]
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, argv)], capture_output=True, text=True, timeout=100)
    said = done.stdout + done.stderr
    if done.returncode and ("No matching distribution" in said or "Could not find a version" in said):
        pytest.skip(f"needs a package index: {said.strip()[-300:]}")
    assert done.returncode == 0, said
    assert sorted(p.name for p in site.iterdir() if p.suffix == ".py") == ["k1ctl_make.py"]
    (info,) = site.glob("*.dist-info")
    theirs, ours = (folder / "entry_points.txt" for folder in (info, example / info.name))
    assert theirs.read_text().split() == ours.read_text().split()
    workspace.run("make", "--help", env={"PYTHONPATH": str(site)}).assert_ok()
