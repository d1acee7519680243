"""The tools environment: PlatformIO in a venv of its own, with the SCons it wants taken from PyPI.

PlatformIO fetches SCons from its own registry unless a package of the wanted version is already in its core folder;
that package can be three small files which import the SCons of the venv (see `_write_scons`).
"""

from __future__ import annotations

import os
import sys

from k1ctl.errors import K1ctlError
from k1ctl.files import Locked, read_json, write_atomic, write_json
from k1ctl.jsontext import dumps, loads
from k1ctl.workspace import cache_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Progress = Callable[[str, str], None]

_MARKER = "installed.json"
_ASK = (
    "import json, platformio, platformio.dependencies as d;"
    "print(json.dumps([platformio.__version__, d.get_core_dependencies()['tool-scons']]))"
)
_STRANGERS = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "__PYVENV_LAUNCHER__")
_SHOWN_LINES = 12


class InstallError(K1ctlError):
    """The tools environment could not be made."""

    code = "tools-install-failed"


def tools_folder(environ: Mapping[str, str] | None = None) -> str:
    """The venv's folder; one for each minor Python release, since a venv cannot outlive its Python.

    Links in it are resolved: the venv's programs name it, and who came through another link has to find the same.
    """
    name = f"platformio-py{sys.version_info[0]}.{sys.version_info[1]}"
    return os.path.realpath(os.path.join(cache_dir(environ), "tools", name))


def core_folder(environ: Mapping[str, str] | None = None) -> str:
    """The PLATFORMIO_CORE_DIR that all worktrees share for packages."""
    return os.path.realpath(os.path.join(cache_dir(environ), "platformio"))


def scons_release(requirement: str) -> str:
    """The SCons release behind a ``tool-scons`` requirement: ``~4.41101.0`` is 4.11.1.

    The middle number is major*10000 + minor*100 + patch (PlatformIO's numbering of packages made from other
    projects' releases). Raises ValueError.
    """
    number = int(requirement.lstrip("~^=<> ").split(".")[1])
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def installed(environ: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """What is installed, as the marker says it (``pio``, ``core_dir``, ``platformio``, ``scons``), or None.

    The marker is written last; it counts only while the program it names and the SCons package are there.
    """
    marker = read_json(os.path.join(tools_folder(environ), _MARKER))
    if not isinstance(marker, dict) or not all(isinstance(marker.get(k), str) for k in ("pio", "core_dir", "python")):
        return None
    record = read_json(os.path.join(_scons_folder(marker["core_dir"]), ".piopm"))
    there = os.access(marker["pio"], os.X_OK) and os.access(marker["python"], os.X_OK)
    fits = isinstance(record, dict) and record.get("version") == marker.get("tool_scons")
    return marker if there and fits and os.path.realpath(marker["core_dir"]) == core_folder(environ) else None


def install(progress: Progress, environ: Mapping[str, str] | None = None) -> tuple[dict[str, Any], bool]:
    """Make the tools environment unless it is there; returns what `installed` returns, and whether work was done.

    One process at a time, under a lock that pip inherits: a killed caller leaves a folder without marker, which the
    next call removes once the last pip is gone. ``progress`` gets each step and the line it
    just printed ("" at its start). Raises InstallError.
    """
    done = installed(environ)
    if done is not None:
        return done, False
    folder = tools_folder(environ)
    progress("waiting for another installation", "")
    with Locked(folder + ".lock") as lock:
        done = installed(environ)
        if done is not None:
            return done, False
        remove_folder(folder)
        return _install(folder, core_folder(environ), progress, lock.fd), True


def _install(folder: str, core: str, progress: Progress, lock: int) -> dict[str, Any]:
    python = os.path.join(folder, "bin", "python")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    run_step(
        "making a virtual environment",
        [sys.executable, "-m", "venv", folder],
        progress,
        lock,
        "python's venv (Debian: python3-venv)",
    )
    run_step("installing platformio", [*pip, "platformio"], progress, lock, "the network, or pip's index settings")
    version, requirement = loads(
        run_step("asking for its SCons", [python, "-c", _ASK], progress, lock, "a PlatformIO that k1ctl knows")[-1]
    )
    release = scons_release(requirement)
    run_step(
        f"installing scons {release}",
        [*pip, f"scons=={release}"],
        progress,
        lock,
        "the network, or pip's index settings",
    )
    wanted = requirement.lstrip("~^=<> ")
    _write_scons(_scons_folder(core), wanted)
    marker = {
        "pio": os.path.join(folder, "bin", "pio"),
        "python": python,
        "core_dir": core,
        "platformio": version,
        "scons": release,
        "tool_scons": wanted,
    }
    write_json(os.path.join(folder, _MARKER), marker, fsync=True)
    return marker


def _scons_folder(core: str) -> str:
    return os.path.join(core, "packages", "tool-scons")


def _write_scons(folder: str, version: str) -> None:
    """The package files PlatformIO looks for.

    ``.piopm`` is PlatformIO's record of an installation; only it carries the owner that the request names.
    ``.piokeep`` stops PlatformIO from removing the folder as an old core package.
    """
    spec = {"owner": "platformio", "id": None, "name": "tool-scons", "requirements": None, "uri": None}
    package = {"name": "tool-scons", "version": version, "description": "SCons from PyPI", "system": "*"}
    files = {
        "package.json": dumps(package),
        "scons.py": "import SCons.Script\n\nSCons.Script.main()\n",
        ".piokeep": "",
        ".piopm": dumps({"type": "tool", "name": "tool-scons", "version": version, "spec": spec}),
    }
    for name, text in files.items():
        write_atomic(os.path.join(folder, name), text)


def run_step(step: str, argv: list[str], progress: Progress, lock: int, needs: str) -> list[str]:
    """Run one step, handing its lines to ``progress``; returns the last lines. Raises InstallError with them.

    ``lock`` goes to the program, so that the folder stays locked while it works; ``needs`` is what it may lack.
    """
    import subprocess

    env = {k: v for k, v in os.environ.items() if k not in _STRANGERS}
    lines: list[str] = []
    progress(step, "")
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        pass_fds=(lock,),
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.strip()
            if text:
                lines = [*lines[1 - _SHOWN_LINES :], text]
                progress(step, text)
    if process.returncode:
        raise InstallError(
            "the tools environment could not be made:\n  " + "\n  ".join(lines or [f"{argv[0]} said nothing"]),
            hint=f"this step needs {needs}; then run k1ctl tools install again",
            lines=lines,
            status=process.returncode,
        )
    return lines


def remove_folder(folder: str) -> None:
    """Take away what an earlier installation left, a link itself and not what it leads to."""
    if os.path.islink(folder):
        os.unlink(folder)
    elif os.path.isdir(folder):
        import shutil

        shutil.rmtree(folder)
