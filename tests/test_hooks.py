"""The scripts in hooks/: in every shell, with whatever Conductor, cron or launchd leave of the environment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit import REPOSITORY, Outcome, needs

HOOKS = REPOSITORY / "hooks"
NAMES = ("setup", "run", "archive")
SHELLS = ["sh", "dash", "bash", "bash --posix", "zsh"]
STUB = '#!/bin/sh\nprintf "%s|" STUB "$@"\npwd -P\nexit 7\n'
POOR = "/usr/bin:/bin"


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """A shell to run the scripts in."""
    words = str(request.param).split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"needs {words[0]}")
    return [str(shutil.which(words[0])), *words[1:]]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder with the scripts in ops/hooks, where `init --conductor` puts them."""
    folder = tmp_path.resolve() / "re po"
    shutil.copytree(HOOKS, folder / "ops" / "hooks")
    return folder


def stub(path: Path, name: str = "STUB") -> Path:
    """A k1ctl that prints its words and its folder, and exits 7."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STUB.replace("STUB", name))
    path.chmod(0o755)
    return path


def call(shell: list[str], repository: Path, *args: str, cwd: Path | None = None, **env: str) -> Outcome:
    """Run conductor-run with this environment and nothing else in it."""
    argv = [*shell, str(repository / "ops" / "hooks" / "conductor-run"), *args]
    done = subprocess.run(argv, cwd=cwd or repository, env=env, capture_output=True, text=True, timeout=30)
    return Outcome(tuple(argv), done.returncode, done.stdout, done.stderr)


@needs("shellcheck")
@pytest.mark.parametrize("dialect", ["sh", "dash", "bash"])
def test_shellcheck_finds_nothing(dialect: str) -> None:
    """POSIX sh and nothing beyond it; so every bash since 3.2 understands them."""
    files = [*(HOOKS / f"conductor-{name}" for name in NAMES), HOOKS / "weekly-archive"]
    done = subprocess.run(["shellcheck", "-s", dialect, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_three_differ_in_their_name_only() -> None:
    """One text, three names, each executable, with the line by which `init` knows its own."""
    texts = {name: (HOOKS / f"conductor-{name}").read_text() for name in NAMES}
    assert len({text.replace(name, "NAME") for name, text in texts.items()}) == 1
    for name, text in texts.items():
        assert f"\n# k1ctl hook: conductor-{name}." in text and f"\nhook={name}\n" in text
        assert (HOOKS / f"conductor-{name}").stat().st_mode & 0o111 == 0o111


def test_the_weekly_one_names_its_root(shell: list[str], repository: Path, tmp_path: Path) -> None:
    """Started by cron in the home folder with next to nothing, it works for the repository that it lies in."""
    program = stub(tmp_path / "venv" / "bin" / "k1ctl")
    script = repository / "ops" / "hooks" / "weekly-archive"
    (script.parent / "k1ctl.path").write_text(f"{program}\n")
    done = subprocess.run([*shell, str(script), "--dry-run"], cwd="/", env={}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, f"STUB|--root|{repository}|hook|weekly|--dry-run|/\n"), done
    (script.parent / "k1ctl.path").unlink()
    done = subprocess.run([*shell, str(script)], cwd="/", env={"PATH": POOR}, capture_output=True, text=True)
    assert done.returncode == 127 and done.stderr.startswith("weekly-archive: k1ctl is not in PATH"), done


@pytest.mark.parametrize("name", NAMES)
def test_each_calls_its_command(name: str, repository: Path) -> None:
    """Run as a program: words as they were given, also with spaces and quotes, folder and status passed through."""
    program = stub(repository / "bin" / "k1ctl")
    script = repository / "ops" / "hooks" / f"conductor-{name}"
    argv = [str(script), "fw:build", "a b", "", "$x'\""]
    done = subprocess.run(argv, cwd=repository, env={"K1CTL": str(program)}, capture_output=True, text=True)
    assert done.returncode == 7
    assert done.stdout == f"STUB|hook|{name}|fw:build|a b||$x'\"|{repository}\n"
    assert done.stderr == ""


def test_a_poor_path_without_home_from_another_folder(shell: list[str], repository: Path, tmp_path: Path) -> None:
    """What `init` wrote down, found from the script's own place: enough where the environment has nothing."""
    program = stub(tmp_path / "venv" / "bin" / "k1ctl")
    (repository / "ops" / "hooks" / "k1ctl.path").write_text(f"{program}\n")
    done = call(shell, repository, "fw:upload", cwd=Path("/"), PATH=POOR)
    assert (done.exit_code, done.stdout, done.stderr) == (7, "STUB|hook|run|fw:upload|/\n", "")
    done = call(shell, repository, "fw:upload", cwd=Path("/"))  # no PATH at all
    assert done.exit_code == 7, done


def test_the_order_of_the_places(shell: list[str], repository: Path, tmp_path: Path) -> None:
    """K1CTL, what init wrote down, PATH, pipx, the home folder, the root's .venv; what cannot run is passed over."""
    root, home = tmp_path / "root", tmp_path / "home"
    places = {
        "given": tmp_path / "given",
        "recorded": tmp_path / "recorded",
        "path": tmp_path / "bin" / "k1ctl",
        "pipx": tmp_path / "pipx" / "k1ctl",
        "home": home / ".local" / "bin" / "k1ctl",
        "root": root / ".venv" / "bin" / "k1ctl",
        "own": repository / ".venv" / "bin" / "k1ctl",
    }
    for name, place in places.items():
        stub(place, name)
    (repository / "ops" / "hooks" / "k1ctl.path").write_text(f"{places['recorded']}\n")
    env = {
        "K1CTL": str(places["given"]),
        "PATH": f"{tmp_path / 'bin'}:{POOR}",
        "PIPX_BIN_DIR": str(tmp_path / "pipx"),
        "HOME": str(home),
        "CONDUCTOR_ROOT_PATH": str(root),
    }
    for name, place in places.items():
        assert call(shell, repository, **env).stdout.startswith(f"{name}|"), name
        place.chmod(0o644)


def test_one_whose_python_is_gone_is_passed_over(shell: list[str], repository: Path, tmp_path: Path) -> None:
    """After an upgrade of Python a script of the old one still lies in PATH; the next place's is called."""
    gone = stub(tmp_path / "bin" / "k1ctl", "gone")
    env = {"PATH": f"{tmp_path / 'bin'}:{POOR}", "HOME": str(tmp_path / "home")}
    for first_line in ("#!/no/such/python3", "#! /no/such/python3 -I"):
        gone.write_text(f"{first_line}\nimport sys\n")
        done = call(shell, repository, **env)
        assert done.exit_code == 127 and done.stderr.startswith("conductor-run: k1ctl is not in PATH"), done
    stub(tmp_path / "home" / ".local" / "bin" / "k1ctl", "home")
    assert call(shell, repository, **env).stdout.startswith("home|")
    gone.write_text("echo gone\n")  # without a first line of its own it is the shell's
    assert call(shell, repository, **env).stdout == "gone\n"


def test_without_k1ctl_one_sentence(shell: list[str], repository: Path) -> None:
    """Exit 127 and one line that says what was looked for and what helps; a folder or a relative path is no k1ctl."""
    stub(repository / "k1ctl")
    (repository / "bin" / "k1ctl").mkdir(parents=True)
    env = {"PATH": f"{repository / 'bin'}:{POOR}", "K1CTL": "k1ctl", "HOME": str(repository / "nowhere")}
    for variables in (env, {}, {"PATH": POOR}):
        cwd = None if "PATH" in variables else Path("/")  # bash's own PATH holds the current folder
        done = call(shell, repository, "fw:build", cwd=cwd, **variables)
        assert done.exit_code == 127, done
        assert done.stderr.startswith("conductor-run: k1ctl is not in PATH") and done.stderr.count("\n") == 1, done
        assert done.stdout == ""


@pytest.mark.skipif(not (REPOSITORY / ".venv" / "bin" / "k1ctl").exists(), reason="needs k1ctl in .venv")
def test_the_real_one_is_found_in_the_tree(shell: list[str], tmp_path: Path) -> None:
    """The scripts of a source tree with a .venv, called from elsewhere with nothing in the environment but the root."""
    if shutil.which("k1ctl", path=POOR):
        pytest.skip("another k1ctl is installed")
    (tmp_path / "tree" / "ops" / "hooks").mkdir(parents=True)
    shutil.copy(HOOKS / "conductor-run", tmp_path / "tree" / "ops" / "hooks")
    (tmp_path / "tree" / ".venv").symlink_to(REPOSITORY / ".venv")
    done = call(shell, tmp_path / "tree", "nonsense", cwd=Path("/"), CONDUCTOR_ROOT_PATH=str(tmp_path))
    assert done.exit_code == 64, done
    assert "there is no run target 'nonsense'" in done.stderr
