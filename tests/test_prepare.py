"""The scripts that prepare a machine: what is missing is named in one line, before anything else happens."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit import REPOSITORY, needs

TOOLS = ("sh", "id", "uname", "dirname", "env")


def machine(folder: Path, *names: str, python: str = "") -> dict[str, str]:
    """An environment whose PATH has only these programs, and a Python of that version."""
    folder.mkdir()
    for name in (*TOOLS, *names):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    if python:
        (folder / "python3").write_text(f"#!/bin/sh\nexit {int(python < '3.11')}\n")
        (folder / "python3").chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize(
    ("names", "python", "missing"),
    [
        (["git"], "3.11", "gcc"),
        (["gcc"], "3.12", "git"),
        (["git", "gcc"], "3.09", "Python>=3.11"),
        ([], "", "git gcc Python>=3.11"),
    ],
)
def test_what_is_missing_is_one_line(names: list[str], python: str, missing: str, tmp_path: Path) -> None:
    """git, gcc and a recent Python: each that is missing is named, with what to install, and nothing is made."""
    env = machine(tmp_path / "bin", *names, python=python)
    target = tmp_path / "venv"
    script = str(REPOSITORY / "scripts" / "prepare")
    done = subprocess.run(["sh", script, "venv", str(target)], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"k1ctl needs: {missing} (")
    assert not target.exists()


def test_without_make_the_check_says_so(tmp_path: Path) -> None:
    """.ci/run names make, the one thing it needs itself."""
    env = machine(tmp_path / "bin")
    done = subprocess.run(["sh", str(REPOSITORY / ".ci" / "run")], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "make" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_missing_programs_of_tests_are_named(tmp_path: Path) -> None:
    """Where they cannot be installed, one line names the packages and the set-up goes on."""
    env = machine(tmp_path / "bin")
    script = str(REPOSITORY / "scripts" / "prepare")
    done = subprocess.run(["sh", script, "system"], env=env, capture_output=True, text=True)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert "task-spooler" in done.stderr and done.stderr.count("prometheus") == 1


@needs("shellcheck")
@pytest.mark.parametrize("script", ["scripts/prepare", ".ci/run"])
def test_scripts_are_clean(script: str) -> None:
    """shellcheck has nothing to say."""
    done = subprocess.run(["shellcheck", str(REPOSITORY / script)], capture_output=True, text=True)
    assert done.stdout == ""


@needs("dash")
@pytest.mark.parametrize("script", ["scripts/prepare", ".ci/run"])
def test_scripts_are_plain_sh(script: str) -> None:
    """A strict POSIX shell parses them, and they may be executed."""
    assert subprocess.run(["dash", "-n", str(REPOSITORY / script)]).returncode == 0
    assert os.access(REPOSITORY / script, os.X_OK)
