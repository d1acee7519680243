"""From a panic's addresses to functions, files and lines: the ELF that the device runs, and a toolchain's addr2line.

The ELF is the one that was named, else the kept artifact whose ``firmware.elf`` has the SHA-256 that the panic printed,
else that of the last image uploaded to the device. addr2line is called as esp-idf-monitor does (``-pfiaC``).
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from k1ctl.files import read_json
from k1ctl.programs import find_tool, runnable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from k1ctl.device.console.panic import Panic
    from k1ctl.workspace import Workspace

ELF = "firmware.elf"
_SECONDS = 20.0
_XTENSA = ("esp32", "esp32s2", "esp32s3")
_LINE = re.compile(r"^(0x[0-9a-f]+): (.*)$", re.IGNORECASE)
_DAYS = 30  # of events that are looked through for the last upload
_KNOWN = 1000  # explanations that are kept


class Elf(NamedTuple):
    """An ELF file: its ``path``, its SHA-256 (hex), and why it was chosen: given, matched or uploaded."""

    path: str
    sha256: str
    origin: str


class Decoded(NamedTuple):
    """What became of a panic's backtrace: its ``lines`` (as ``0x42001234: app_main at main.cpp:36``), the ``elf`` they
    are from, and a ``note`` on what is missing or doubtful ("" when nothing is)."""

    lines: list[str]
    elf: str
    note: str


def find_elf(workspace: Workspace, device: str, panic: Panic, given: str = "") -> Elf | None:
    """The ELF of what the device ``device`` runs; None when none is known. Raises OSError for one that was given."""
    if given:
        return Elf(given, _digest(given), "given")
    if panic.elf:
        for path, sha256 in _kept(workspace):
            if sha256.startswith(panic.elf):
                return Elf(path, sha256, "matched")
    path = _uploaded(workspace, device)
    return Elf(path, _digest(path), "uploaded") if path else None


def _kept(workspace: Workspace) -> Iterable[tuple[str, str]]:
    """(path, SHA-256) of every ELF among the artifacts."""
    base = workspace.ops_path("artifacts")
    for target in _listed(base):
        for each in _listed(os.path.join(base, target)):
            folder = os.path.join(base, target, each)
            manifest = read_json(os.path.join(folder, "manifest.json"))
            files = manifest.get("files") if isinstance(manifest, dict) else None
            told = files.get(ELF) if isinstance(files, dict) else None
            if isinstance(told, dict) and isinstance(told.get("sha256"), str):
                yield os.path.join(folder, ELF), told["sha256"]


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _uploaded(workspace: Workspace, device: str) -> str:
    """The ELF beside the image that was installed on the device last; "" where there is none."""
    import time

    from k1ctl import events
    from k1ctl.units import rfc3339

    path = ""
    for event in events.read(workspace.ops_path("events"), since=rfc3339(time.time() - _DAYS * 86400)):
        to = event.get("device")
        name = to.get("name") if isinstance(to, dict) else to
        if event.get("event") != "upload.finished" or name != device or event.get("outcome") != "installed":
            continue
        if event.get("image_kind", "app") == "app":
            path = os.path.join(os.path.dirname(str(event.get("image", ""))), ELF)
    return path if os.path.isfile(path) else ""


def _digest(path: str) -> str:
    from hashlib import file_digest

    with open(path, "rb") as f:
        return file_digest(f, "sha256").hexdigest()


def find_addr2line(configured: str = "", chip: str = "esp32s3", environ: Mapping[str, str] | None = None) -> str:
    """The toolchain's addr2line for a chip: the setting ``tools.addr2line``, PATH, PlatformIO's packages or ESP-IDF's
    tools; "" where there is none."""
    from glob import glob

    env = os.environ if environ is None else environ
    if configured:
        path = os.path.expanduser(configured)
        return path if runnable(path) else ""
    prefix = f"xtensa-{chip}-elf" if chip in _XTENSA else "riscv32-esp-elf"
    program = f"{prefix}-addr2line"
    found = find_tool(program, env)
    if found:
        return found
    core = os.path.expanduser(env.get("PLATFORMIO_CORE_DIR") or "~/.platformio")
    packages = env.get("PLATFORMIO_PACKAGES_DIR") or os.path.join(core, "packages")
    idf = os.path.expanduser(env.get("IDF_TOOLS_PATH") or "~/.espressif")
    places = [*glob(os.path.join(packages, "toolchain-*", "bin", program))]
    places += glob(os.path.join(idf, "tools", "*", "*", "*", "bin", program))
    return next(filter(runnable, sorted(places, reverse=True)), "")


def decode(addr2line: str, elf: str, addresses: Sequence[str]) -> list[str]:
    """Each address with function, file and line, those inlined there in lines of their own (``(inlined by) ...``).

    Raises OSError, subprocess.SubprocessError.
    """
    import subprocess

    if not addresses:
        return []
    done = subprocess.run(
        [addr2line, "-pfiaC", "-e", elf, *addresses],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=True,
    )
    lines = []
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        found = _LINE.match(line)
        lines.append(f"{int(found[1], 16):#010x}: {found[2]}" if found else f"  {line.strip()}")
    return lines


def explain(
    workspace: Workspace, device: str, panic: Panic, *, elf: str = "", addr2line: str = "", chip: str = "esp32s3"
) -> Decoded:
    """The panic's backtrace (else its pc) decoded, as far as ELF and toolchain are there. Raises nothing."""
    import subprocess

    addresses = [pc for pc, _ in panic.backtrace] or ([panic.pc] if panic.pc else [])
    if not addresses:
        return Decoded([], "", "")
    try:
        chosen = find_elf(workspace, device, panic, elf)
        if chosen is None:
            return Decoded([], "", "no ELF file of what the device runs is known: give --elf PATH")
        tool = find_addr2line(addr2line, chip)
        if not tool:
            return Decoded([], chosen.path, "no addr2line of the toolchain was found: set tools.addr2line")
        lines = decode(tool, chosen.path, addresses)
    except (OSError, subprocess.SubprocessError) as exc:
        return Decoded([], elf, f"the backtrace could not be decoded: {exc}")
    return Decoded(lines, chosen.path, _doubt(panic, chosen))


def _doubt(panic: Panic, elf: Elf) -> str:
    if panic.elf and not elf.sha256.startswith(panic.elf):
        return (
            f"the device runs an app whose ELF has the SHA-256 {panic.elf}..., {elf.path} has {elf.sha256[:16]}...: "
            "functions and lines may be wrong"
        )
    if not panic.elf and elf.origin == "uploaded":
        return "the device does not tell which ELF it runs; this is that of the last upload"
    return ""


class Explainer:
    """Explains panics in a thread, so that reading the device goes on; each backtrace of one ELF only once."""

    def __init__(self, workspace: Workspace, device: str, **settings: Any) -> None:
        import threading

        self.workspace, self.device, self.settings = workspace, device, settings
        self.known: dict[tuple[Any, ...], Decoded] = {}
        self.lock = threading.Lock()

    def start(self, panic: Panic, *, now: bool = False) -> Job:
        """Begin to explain ``panic``; ``now``: only if that takes no time, since too many wait for theirs."""
        return Job(self, panic, now)

    def at_once(self, panic: Panic) -> Decoded:
        """Its explanation where it is known already."""
        return self.known.get(_key(panic), Decoded([], "", "not decoded: it panics faster than that"))

    def explain(self, panic: Panic) -> Decoded:
        """Its explanation, perhaps the one of before."""
        key = _key(panic)
        with self.lock:
            if key not in self.known:
                if len(self.known) >= _KNOWN:
                    self.known.clear()
                self.known[key] = explain(self.workspace, self.device, panic, **self.settings)
            return self.known[key]


def _key(panic: Panic) -> tuple[Any, ...]:
    return (panic.elf, panic.pc, *panic.backtrace)


class Job:
    """A panic that is being explained: ``result`` is there once it is done."""

    def __init__(self, explainer: Explainer, panic: Panic, now: bool) -> None:
        import threading

        self.panic = panic
        self.result: Decoded | None = explainer.at_once(panic) if now else None
        if now:
            return
        self.thread = threading.Thread(target=self._run, args=(explainer,), daemon=True)
        self.thread.start()

    def _run(self, explainer: Explainer) -> None:
        self.result = explainer.explain(self.panic)

    def wait(self, seconds: float | None = None) -> Decoded:
        """Its result; none is waited for longer than ``seconds``."""
        if self.result is None:
            self.thread.join(None if seconds is None else max(seconds, 0.0))
        if self.result is None:
            self.result = Decoded([], "", "not decoded: addr2line takes too long")
        return self.result
