from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from k1ctl.files import open_locked
from k1ctl.platformio.install import _ASK, installed, scons_release, tools_folder
from tests import firmware
from tests.kit import Project, finish, wait_until

# What the installation reads of PlatformIO, and no more: pip has little to write.
PLATFORMIO = {
    "platformio/__init__.py": "__version__ = '6.9.0'\n\n\ndef main():\n    print(__version__)\n",
    "platformio/dependencies.py": "def get_core_dependencies():\n    return {'tool-scons': '~4.40801.0'}\n",
}


def wheel(folder: Path, name: str, version: str, files: dict[str, str], scripts: str = "") -> None:
    """A distribution that pip installs from ``folder``; ``scripts`` are its lines of entry points."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{scripts}")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path) -> dict[str, str]:
    """The environment in which pip knows of two small packages in a folder, and of no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder, "platformio", "6.9.0", PLATFORMIO, "pio = platformio:main\n")
    wheel(folder, "scons", "4.8.1", {"SCons/__init__.py": ""})
    wheel(folder, "scons", "4.9.0", {"SCons/__init__.py": ""})
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}


# A Python whose venv is made in no time: what is installed goes into its folder all the same, by the pip of ours. It
# makes the folder, and then waits for the gate, where there is one.
PURELIB = sysconfig.get_path("purelib", vars={"base": ""})
VENV = f"""#!/bin/sh
folder=$3; mkdir -p "$folder/bin" || exit
cat > "$folder/bin/python" <<END
#!/bin/sh
export PIP_PREFIX="$folder" PIP_IGNORE_INSTALLED=1 PYTHONPATH="$folder{PURELIB}"
exec {sys.executable} "\\$@"
END
chmod +x "$folder/bin/python"
test -z "$GATE" || read opened < "$GATE"
"""
STUBBED = "import sys; sys.executable = sys.argv.pop(1)\nfrom k1ctl.__main__ import main\nsys.exit(main())"


@pytest.fixture(params=["quick venv", pytest.param("venv", marks=pytest.mark.soak)])
def k1ctl(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command line of k1ctl; in the soak it makes real virtual environments, as `make tools` does."""
    if request.param == "venv":
        return [sys.executable, "-m", "k1ctl"]
    quick = tmp_path / "quick-python"
    quick.write_text(VENV)
    quick.chmod(0o755)
    return [sys.executable, "-c", STUBBED, str(quick)]


def start(argv: list[str], *words: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*argv, *words], cwd=cwd, env={**os.environ, **env}, **pipes)


@pytest.mark.parametrize(
    ("requirement", "release"),
    [("~4.41101.0", "4.11.1"), ("~4.40801.0", "4.8.1"), ("^4.40600.0", "4.6.0"), ("4.41000.1", "4.10.0")],
)
def test_the_scons_release_follows_from_platformios_requirement(requirement: str, release: str) -> None:
    """The number is decoded, not written down a second time."""
    assert scons_release(requirement) == release


def test_without_a_package_index_nothing_is_claimed(k1ctl: list[str], workspace: Project, tmp_path: Path) -> None:
    """pip's own lines say what failed; the next look finds no tools environment."""
    env = {"K1CTL_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    install = start(k1ctl, "tools", "install", "--json", cwd=workspace.root, **env, PIP_CONFIG_FILE=os.devnull)
    out, err = install.communicate(timeout=100)
    assert install.returncode == 1 and "Traceback" not in err, err
    error = json.loads(out)["error"]
    assert "No matching distribution found for platformio" in error["message"] and "network" in error["hint"]
    assert error["code"] == "tools-install-failed"
    assert installed({"K1CTL_CACHE_DIR": str(tmp_path / "cache")}) is None


def test_what_is_asked_of_platformio_is_what_it_answers() -> None:
    """The real one, as it was installed, names the SCons that was installed with it."""
    firmware.need_pio()
    found = installed()
    if found is None:
        pytest.skip("needs a PlatformIO that k1ctl installed: another pio goes first here")
    told = subprocess.run([found["python"], "-c", _ASK], capture_output=True, text=True, check=True).stdout
    version, requirement = json.loads(told)
    assert (version, scons_release(requirement)) == (found["platformio"], found["scons"])


def test_a_killed_installation_is_made_again_once(
    k1ctl: list[str], workspace: Project, index: dict[str, str], tmp_path: Path
) -> None:
    """SIGKILL in the middle claims nothing; of two later calls at once one does the work, both succeed, behind the end
    of what the first one had started."""
    env = {**index, "K1CTL_CACHE_DIR": str(tmp_path / "cache")}
    folder, gate = Path(tools_folder(env)), tmp_path / "gate"
    os.mkfifo(gate)
    first = start(k1ctl, "tools", "install", cwd=workspace.root, **env, GATE=str(gate))
    wait_until(lambda: (folder / "bin" / "python").exists())
    os.kill(first.pid, signal.SIGKILL)
    finish(first)
    assert installed(env) is None
    later = [start(k1ctl, "tools", "install", "--json", cwd=workspace.root, **env) for _ in range(2)]
    if "-c" in k1ctl:  # what was started works on, and has the lock
        assert open_locked(str(folder) + ".lock", blocking=False) is None
        gate.write_text("go\n")
    outputs = [p.communicate(timeout=100) for p in later]
    assert [p.returncode for p in later] == [0, 0], outputs
    assert sorted('"changed":true' in out for out, _ in outputs) == [False, True], outputs
    found = installed(env)
    assert found is not None and (found["platformio"], found["scons"]) == ("6.9.0", "4.8.1")
    status = workspace.run("tools", "status", "--json", env={**env, "PATH": "/usr/bin:/bin"}).assert_ok().json
    assert status["tools"]["platformio"] == found["platformio"]
    lock = open_locked(str(folder) + ".lock", blocking=False)
    assert lock is not None
    os.close(lock)
