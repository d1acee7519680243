"""Backtraces become functions and lines: with the right ELF, and never silently with a wrong one."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from k1ctl import artifacts, events
from k1ctl.device.console.backtrace import Explainer, decode, explain, find_addr2line, find_elf
from k1ctl.device.console.panic import Panic
from k1ctl.workspace import Workspace
from tests.kit import needs

SOURCE = """\
int inner(int *p)
{
    return *p;
}
int main(void)
{
    return inner(0);
}
"""
HOST = shutil.which("addr2line") or ""


def made(folder: Path) -> tuple[Path, dict[str, int]]:
    """A host's ELF with line numbers, and its functions' addresses."""
    (folder / "main.c").write_text(SOURCE)
    elf = folder / "firmware.elf"
    subprocess.run(["gcc", "-g", "-O0", "-no-pie", "-o", elf, folder / "main.c"], check=True)
    listed = subprocess.run(["nm", elf], check=True, capture_output=True, text=True).stdout.split("\n")
    rows = [line.split() for line in listed]
    return elf, {row[2]: int(row[0], 16) for row in rows if len(row) == 3}


def crash(addresses: list[int], elf: str = "") -> Panic:
    panic = Panic("guru", "LoadProhibited", 0)
    panic.backtraces.append([(hex(a), "0x3ffb5030") for a in addresses])
    panic.elf = elf
    return panic


def workspace(folder: Path) -> Workspace:
    return Workspace(str(folder), str(folder), "ada")


@needs("gcc", "nm", "addr2line")
def test_decoded_with_the_elf_that_the_device_names(tmp_path: Path) -> None:
    """The kept artifact whose ELF has the SHA-256 in the panic is the one: function, file and line, no doubt."""
    elf, at = made(tmp_path)
    here = workspace(tmp_path)
    image = tmp_path / "firmware.bin"
    image.write_bytes(b"image")
    artifacts.store(here, "fw", {"firmware.bin": str(image), "firmware.elf": str(elf)}, {})
    digest = sha256(elf.read_bytes()).hexdigest()
    panic = crash([at["inner"], at["main"]], digest[:16])
    done = explain(here, "k1", panic, addr2line=HOST)
    assert [line.split(":", 1)[1].split(" at ")[0].strip() for line in done.lines] == ["inner", "main"]
    assert "main.c:2" in done.lines[0] and done.lines[0].startswith(f"{at['inner']:#010x}: ")
    assert done.note == "" and done.elf.endswith("firmware.elf")
    explainer = Explainer(here, "k1", addr2line=HOST)
    assert explainer.start(panic).wait() == done and explainer.start(panic).wait() is explainer.start(panic).wait()


@needs("gcc", "nm", "addr2line")
def test_another_elf_is_said(tmp_path: Path) -> None:
    """An ELF that is not the one the device names is used, and both digests are told."""
    elf, at = made(tmp_path)
    done = explain(workspace(tmp_path), "k1", crash([at["main"]], "00112233"), elf=str(elf), addr2line=HOST)
    assert "main at" in done.lines[0]
    assert "00112233..." in done.note and sha256(elf.read_bytes()).hexdigest()[:16] in done.note


def test_the_last_upload_to_this_device(tmp_path: Path) -> None:
    """Without a digest it is the ELF beside the image that this device took last; other devices', refused ones and
    filesystems do not count."""
    here = workspace(tmp_path)
    for name in ("first", "right", "refused", "files", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "firmware.elf").write_text(name)

    def upload(folder: str, device: str = "k1", outcome: str = "installed", kind: str = "app") -> None:
        image = str(tmp_path / folder / "firmware.bin")
        events.emit(here, "upload.finished", device={"name": device}, outcome=outcome, image=image, image_kind=kind)

    upload("first")
    upload("right")
    upload("refused", outcome="refused")
    upload("files", kind="filesystem")
    upload("other", device="k2")
    found = find_elf(here, "k1", crash([1]))
    assert found is not None and found.path == str(tmp_path / "right" / "firmware.elf") and found.origin == "uploaded"
    assert find_elf(here, "k3", crash([1])) is None


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """No ELF, no toolchain, a toolchain that fails: no lines, and one sentence on why; a panic without addresses needs
    neither."""
    here = workspace(tmp_path)
    assert "--elf" in explain(here, "k1", crash([1])).note
    elf = tmp_path / "firmware.elf"
    elf.write_text("no ELF")
    assert "addr2line" in explain(here, "k1", crash([1]), elf=str(elf), addr2line=str(tmp_path / "none")).note
    broken = explain(here, "k1", crash([1]), elf=str(elf), addr2line=shutil.which("false") or "/bin/false")
    assert broken.lines == [] and "could not be decoded" in broken.note
    assert explain(here, "k1", Panic("brownout", "x")) == ([], "", "")
    assert decode("/nowhere", "x", []) == []


@pytest.mark.parametrize(
    ("chip", "place"),
    [
        ("esp32s3", "core/packages/toolchain-xtensa-esp32s3/bin/xtensa-esp32s3-elf-addr2line"),
        ("esp32s3", "idf/tools/xtensa-esp-elf/esp-13.2/xtensa-esp-elf/bin/xtensa-esp32s3-elf-addr2line"),
        ("esp32c3", "core/packages/toolchain-riscv32-esp/bin/riscv32-esp-elf-addr2line"),
    ],
)
def test_the_toolchain_is_found(tmp_path: Path, chip: str, place: str) -> None:
    """PlatformIO's packages and ESP-IDF's tools are looked through, for the chip's own program."""
    env = {"PATH": "", "PLATFORMIO_CORE_DIR": str(tmp_path / "core"), "IDF_TOOLS_PATH": str(tmp_path / "idf")}
    assert find_addr2line("", chip, env) == ""
    tool = tmp_path / place
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert find_addr2line("", chip, env) == str(tool)
    assert find_addr2line(str(tmp_path / "none"), chip, env) == ""


def test_the_end_is_not_kept_waiting(tmp_path: Path) -> None:
    """Whoever ends waits for an explanation no longer than he says."""
    explainer = Explainer(workspace(tmp_path), "k1")
    with explainer.lock:
        job = explainer.start(crash([1]))
        assert "too long" in job.wait(0.01).note
    job.thread.join()
