"""What an upload refuses, before it stands in line or before a byte is sent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from k1ctl.artifacts import find, list_artifacts
from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.desk import error_of
from tests.device.fakes import http_server, ota_device
from tests.kit import Project

IMAGE = desk.firmware("base")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SimulatedDevice]:
    with SimulatedDevice(tmp_path / "device") as simulated:
        yield simulated


@pytest.fixture
def project(workspace: Project, device: SimulatedDevice) -> Project:
    """A repository that is configured for the device and has an artifact."""
    desk.configure(workspace, device)
    desk.keep(workspace, IMAGE)
    return workspace


def nothing_began(project: Project, device: SimulatedDevice) -> bool:
    """Nobody stood in line, and the device saw nothing."""
    return not (project.ops / "runs").exists() and device.flashes() == [] and device.image() is None


def test_dry_run_changes_nothing(project: Project, device: SimulatedDevice, tmp_path: Path) -> None:
    """--dry-run says what would be sent where; it keeps no file, builds nothing, stands in no line."""
    file = tmp_path / "other.bin"
    file.write_bytes(desk.firmware("other"))
    for args, image in ([], IMAGE), (["--artifact", str(file)], file.read_bytes()):
        plan = project.run("upload", "--dry-run", "--json", *args).assert_ok().json
        assert (plan["sha256"], plan["bytes"]) == (desk.sha256(image), len(image))
        assert (plan["ok"], plan["dry_run"], plan["workspace"]) == (True, True, "repo")
        assert (plan["device"]["name"], plan["device"]["ota_port"]) == ("k1", device.ota_port)
    assert "k1" in project.run("upload", "--dry-run").assert_ok().stdout
    assert error_of(project, 2, "--dry-run", "--build")["code"] == "usage"
    file.write_bytes(b"no image")
    error_of(project, 65, "--dry-run", "--artifact", str(file))
    assert nothing_began(project, device)
    assert len(list_artifacts(project.facts(), "fw")) == 1


@pytest.mark.parametrize(
    ("args", "exit_code", "code", "text"),
    [
        (["nope"], 78, "unknown-target", "configured: fw"),
        (["--device", "nope"], 78, "unknown-device", "configured: k1"),
        (["--device", "bare"], 78, "no-host", "[devices.bare] host"),
        (["--artifact", "abcdef12"], 65, "no-artifact", "abcdef12"),
        (["--artifact", "abc"], 65, "no-artifact", "abc"),
        (["--artifact", "/nowhere/firmware.bin"], 65, "no-artifact", "/nowhere/firmware.bin"),
        (["--build", "--artifact", "abcdef12"], 2, "usage", "exclude"),
        (["--wait", "20200101-000000.000-abcd"], 1, "no-such-run", "20200101"),
        (["--wait", "../../etc"], 1, "no-such-run", "etc"),
        (["--wait", "20200101-000000.000-abcd", "--build"], 2, "usage", "--wait"),
        (["--priority", "urgent"], 2, "usage", "urgent"),
    ],
)
def test_calls_that_cannot_work(
    project: Project, device: SimulatedDevice, args: list[str], exit_code: int, code: str, text: str
) -> None:
    """Each has its own code and a sentence that helps; nothing was sent and nobody stood in line."""
    with project.config_file.open("a") as config:
        config.write("\n[devices.bare]\n")
    error = error_of(project, exit_code, *args)
    assert error["code"] == code
    assert text in error["message"] + error["hint"]
    assert nothing_began(project, device)


def test_without_any_build(workspace: Project, device: SimulatedDevice) -> None:
    """A workspace that has built nothing is told to build; another workspace's artifact is not taken by mistake."""
    desk.configure(workspace, device)
    desk.keep(workspace, IMAGE, workspace.add_worktree("other"))
    error = error_of(workspace, 65)
    assert error["code"] == "no-artifact" and "k1ctl build fw" in error["hint"]
    assert nothing_began(workspace, device)


def broken(kind: str) -> bytes:
    return {
        "empty": b"",
        "foreign": b"\x7fELF" + IMAGE[4:],
        "truncated": IMAGE[:-100],
        "damaged": IMAGE[:2000] + b"?" + IMAGE[2001:],
        "wrong-chip": desk.firmware("base", chip="esp32"),
        "too-large": desk.firmware("base", size=90_000),
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "foreign", "truncated", "damaged", "wrong-chip", "too-large"])
def test_a_wrong_image_never_leaves(workspace: Project, device: SimulatedDevice, tmp_path: Path, kind: str) -> None:
    """Exit 65 at once, without standing in line behind whoever holds the device; a wrong file is not kept either."""
    desk.configure(workspace, device, target='partition_size = "64k"')
    desk.keep(workspace, broken(kind))
    assert error_of(workspace, 65)["code"] == f"image-{kind}"
    file = tmp_path / "file.bin"
    file.write_bytes(broken(kind))
    other = workspace.add_worktree("other")
    assert error_of(workspace, 65, "--artifact", str(file), cwd=other)["code"] == f"image-{kind}"
    assert error_of(workspace, 65, cwd=other)["code"] == "no-artifact"
    assert nothing_began(workspace, device)


def test_a_text_file_is_neither_kept_nor_sent(project: Project, device: SimulatedDevice, tmp_path: Path) -> None:
    """Also where the format is not checked (chip "none"), a file named by mistake is refused before it is kept."""
    desk.configure(project, device, target='chip = "none"')
    (tmp_path / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    assert error_of(project, 65, "--artifact", str(tmp_path / "passwd"))["code"] == "image-foreign"
    assert nothing_began(project, device) and len(list_artifacts(project.facts(), "fw")) == 1


def test_an_artifact_that_was_changed_on_disk(project: Project, device: SimulatedDevice) -> None:
    """Bytes that do not have the recorded digest are not sent."""
    kept = find(project.facts(), "fw")
    os.chmod(kept.image, 0o644)
    Path(kept.image).write_bytes(desk.firmware("forged"))
    assert error_of(project, 65)["code"] == "artifact-damaged"
    assert nothing_began(project, device)


@pytest.mark.parametrize("wrong", ['mac = "02:00:00:00:00:99"', 'identity = "K2"'])
def test_the_wrong_device_gets_no_byte(workspace: Project, device: SimulatedDevice, wrong: str) -> None:
    """Another MAC or identity than configured: exit 65 after one look; no byte was sent."""
    key = wrong.split()[0]
    section = [line for line in device.toml().splitlines() if not line.startswith(key)]
    desk.configure(workspace, "\n".join([*section, wrong]))
    desk.keep(workspace, IMAGE)
    error = error_of(workspace, 65)
    assert (error["code"], error["attempts"]) == ("wrong-device", 1)
    assert device.flashes() == [] and device.image() is None
    assert workspace.run("queue", "list", "--json").assert_ok().json["tickets"] == []


# What talks nonsense


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xfe\x00garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
    ],
)
def test_garbage_over_http(workspace: Project, device: SimulatedDevice, answer: bytes) -> None:
    """What does not answer as the firmware does gets no byte: exit 65 (69 for no answer), without a traceback."""

    def respond(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(answer)

    with http_server(respond) as port:
        desk.configure(workspace, device.toml().replace(str(device.http_port), str(port)), attempts=1)
        desk.keep(workspace, IMAGE)
        error = error_of(workspace, 65 if answer else 69)
    assert error["code"] == ("device-garbage" if answer else "device-offline") and error["hint"]
    assert device.flashes() == []


def test_garbage_instead_of_an_invitations_answer(workspace: Project, device: SimulatedDevice) -> None:
    """An answer that is none of ArduinoOTA's is exit 65 with the answer, made harmless, in the message."""
    with ota_device(lambda link, size: None, reply=b"\x1b[31mNO\n") as port:
        desk.configure(workspace, device.toml().replace(str(device.ota_port), str(port)))
        desk.keep(workspace, IMAGE)
        error = error_of(workspace, 65)
    assert (error["code"], error["attempts"]) == ("ota-protocol", 1)
    assert "NO" in error["message"] and "\x1b" not in error["message"]


def test_garbage_instead_of_the_final_word(workspace: Project, device: SimulatedDevice) -> None:
    """A device that takes all bytes and then talks nonsense has not installed anything we know of."""

    def nonsense(link: socket.socket, size: int) -> None:
        got = 0
        while got < size:
            got += len(link.recv(65536))
        link.sendall(b"\x00\xff\x1b]0;x\x07")

    with ota_device(nonsense) as port:
        desk.configure(workspace, device.toml().replace(str(device.ota_port), str(port)), attempts=1)
        desk.keep(workspace, IMAGE)
        done = workspace.run("upload", "--json")
    assert done.exit_code in (1, 76) and "\x1b" not in done.stdout + done.stderr
    assert done.json["error"]["outcome"] in ("refused", "unknown")
