"""`k1ctl upload` with a password, through a chosen interface, and of a filesystem."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from k1ctl.artifacts import list_artifacts
from k1ctl.testing import SimulatedDevice
from tests import desk, firmware, kit
from tests.kit import Project, wait_until

IMAGE = desk.firmware("base")
SECRET = "Zaunkoenig-4711"
FILES = b"\x01\x00\x00\x00\xf0\x0f\xff\xf7littlefs" + bytes(4096 * 4 - 16)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[SimulatedDevice]:
    """A device that asks for the password."""
    with SimulatedDevice(tmp_path / "device", "pace=20000000", password=SECRET) as simulated:
        yield simulated


def configure(project: Project, device: SimulatedDevice, *lines: str, **ota: float) -> None:
    """The device as k1 with these further lines in its section, and an artifact to send."""
    desk.configure(project, "\n".join([device.toml().rstrip(), "probe_timeout = 5", *lines, ""]), **ota)
    desk.keep(project, IMAGE)


def error_of(project: Project, exit_code: int, *args: str, **kwargs: Any) -> dict[str, Any]:
    error: dict[str, Any] = project.run("upload", *args, "--json", **kwargs).assert_fails(exit_code).json["error"]
    return error


def password_file(folder: Path, text: str = SECRET, mode: int = 0o600) -> Path:
    path = folder / "ota password"
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


def where_it_shows(project: Project, given: Path | None) -> list[str]:
    """Every file under ops/ and in the host's folder, every argument and environment of a process of this test, that
    has the password: the file it was ``given`` in left out, environments only looked at when there was one."""
    found = []
    for folder in (project.ops, Path(os.environ["K1CTL_HOST_DIR"])):
        for path in folder.rglob("*"):
            if path != given and path.is_file() and SECRET.encode() in path.read_bytes():
                found.append(str(path))
    for process in kit.left_behind(os.environ[kit.TEST_ID]):
        try:
            texts = process.cmdline() + (list(process.environ().values()) if given else [])
        except psutil.Error:
            continue
        found += [f"{process.pid}: {text}" for text in texts if SECRET in text]
    return found


@pytest.mark.parametrize("source", ["variable", "file"])
def test_the_password_is_nowhere(workspace: Project, locked: SimulatedDevice, source: str) -> None:
    """While the device takes the image and after: in no file of ours, no argument, no environment but the caller's."""
    path = password_file(workspace.ops) if source == "file" else None
    lines = ['password_file = "ops/ota password"'] if path else ['password_env = "K1_OTA_PASSWORD"']
    configure(workspace, locked, *lines)
    gate = threading.Event()
    desk.hold(locked, gate)
    front = workspace.popen("upload", "--json", env={} if path else {"K1_OTA_PASSWORD": SECRET})
    try:
        wait_until(lambda: [r for r in desk.runs(workspace) if desk.left_word(r).get("stage") == "transfer"])
        assert len(kit.left_behind(os.environ[kit.TEST_ID])) >= 3  # front end, supervisor, worker
        assert where_it_shows(workspace, path) == []
    finally:
        gate.set()
        out, err = front.communicate(timeout=60)
    assert front.returncode == 0, err
    assert locked.image() == IMAGE
    assert where_it_shows(workspace, path) == [] and SECRET not in out + err


@pytest.mark.parametrize("rule", ["md5", "sha256-md5"])
def test_a_wrong_password(workspace: Project, tmp_path: Path, rule: str) -> None:
    """Exit 1 with a code of its own after one attempt; neither password is told, and the device keeps its image."""
    with SimulatedDevice(tmp_path / "device", password="the right one", login=rule) as device:
        configure(workspace, device, f'password_file = "{password_file(tmp_path)}"')
        error = error_of(workspace, 1)
        assert (error["code"], error["outcome"], error["attempts"]) == ("ota-login-refused", "refused", 1)
        assert "refused the login" in error["message"] and "nothing was sent" in error["hint"]
        assert error["message"] == "k1 (127.0.0.1) refused the login"
        assert device.flashes() == [] and device.image() is None
    assert where_it_shows(workspace, tmp_path / "ota password") == []


def test_a_password_that_nobody_configured(workspace: Project, locked: SimulatedDevice) -> None:
    """Exit 78 at once; both settings are named."""
    configure(workspace, locked)
    error = error_of(workspace, 78)
    assert (error["code"], error["attempts"]) == ("ota-password-needed", 1)
    assert "password_env" in error["hint"] and "password_file" in error["hint"]
    assert locked.flashes() == []


def test_what_cannot_work_is_told_before_the_line(workspace: Project, locked: SimulatedDevice, tmp_path: Path) -> None:
    """A variable that is not set, a file that others can read, an unknown interface: exit 78, and no run was begun."""
    readable = password_file(tmp_path, mode=0o644)
    for line, code, text in (
        ('password_env = "K1_OTA_PASSWORD"', "ota-password-missing", "K1_OTA_PASSWORD"),
        (f'password_file = "{readable}"', "ota-password-file", f"chmod 600 {readable}"),
        ('interface = "en99"', "unknown-interface", "127.0.0.1"),
    ):
        configure(workspace, locked, line)
        error = error_of(workspace, 78)
        assert error["code"] == code and text in error["message"] + error["hint"] and SECRET not in str(error)
    assert not (workspace.ops / "runs").exists()


def test_a_password_does_not_belong_into_the_configuration(workspace: Project, locked: SimulatedDevice) -> None:
    """It is refused with what to do instead, and not repeated."""
    configure(workspace, locked, f'password = "{SECRET}"')
    done = workspace.run("upload").assert_fails(78, "devices.k1.password", "password_env", "password_file")
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no second loopback address")
def test_the_device_connects_back_to_the_chosen_address(workspace: Project, tmp_path: Path) -> None:
    """--interface goes before the device's setting; an address of this host and a port that were chosen are used."""
    name = next(n for n, a in psutil.net_if_addrs().items() if any(x.address == "127.0.0.1" for x in a))
    with SimulatedDevice(tmp_path / "device") as device:
        port = free_port()
        configure(workspace, device, f'interface = "{name}"', f"ota_host_port = {port}")
        workspace.run("upload").assert_ok()
        workspace.run("upload", "--interface", "127.0.0.2").assert_ok()
        assert [flash["peer"] for flash in device.flashes()] == [f"127.0.0.1:{port}", f"127.0.0.2:{port}"]


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def test_a_device_that_cannot_connect_back(workspace: Project, tmp_path: Path) -> None:
    """The error names the place it was to connect to, the firewall and the interface."""
    with SimulatedDevice(tmp_path / "device", partition_size=1000) as device:
        configure(workspace, device, attempts=1, connect_timeout=0.2)
        error = error_of(workspace, 69)
    assert error["code"] == "ota-no-connect" and "127.0.0.1:" in error["message"]
    assert all(word in error["hint"] for word in ("firewall", "interface", "partition"))


# Filesystem images


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "littlefs.bin"
    path.write_bytes(FILES)
    return path


def test_a_filesystem_is_not_the_application(workspace: Project, tmp_path: Path, image: Path) -> None:
    """It goes where it belongs and is told by its kind; the next plain upload sends what was built, as before."""
    with SimulatedDevice(tmp_path / "device") as device:
        configure(workspace, device)
        done = workspace.run("upload", "--filesystem", "--artifact", image, "--json").assert_ok().json
        assert (device.filesystem(), device.image()) == (FILES, None)
        assert (done["image_kind"], done["sha256"], done["outcome"]) == ("filesystem", desk.sha256(FILES), "installed")
        (kept,) = list_artifacts(workspace.facts(), "fw.filesystem")
        assert kept.id == done["artifact"] and kept.manifest["image_kind"] == "filesystem"
        assert error_of(workspace, 65, "--artifact", kept.id)["code"] == "no-artifact"
        again = workspace.run("upload", "--filesystem", "--artifact", kept.id).assert_ok()
        assert again.stdout.startswith(f"installed: the filesystem image {kept.id} on k1")
        assert workspace.run("upload", "--json").assert_ok().json["image_kind"] == "app"
        assert (device.filesystem(), device.image()) == (FILES, IMAGE)
        assert [f["kind"] for f in device.flashes()] == ["filesystem", "filesystem", "app"]
    told = [(e["image_kind"], e["outcome"]) for e in workspace.events("upload.finished")]
    assert told == [("filesystem", "installed")] * 2 + [("app", "installed")]
    labels = [run["label"] for run in desk.runs(workspace)]
    assert labels[:2] == [f"upload fw filesystem {kept.id}"] * 2 and "filesystem" not in labels[2]


def test_a_refused_filesystem_is_not_said_to_be_untouched(workspace: Project, tmp_path: Path, image: Path) -> None:
    """It is overwritten in place: the hint does not promise what held before."""
    with SimulatedDevice(tmp_path / "device", "refuse") as device:
        configure(workspace, device)
        error = error_of(workspace, 1, "--filesystem", "--artifact", str(image))
    assert error["code"] == "image-refused" and "overwritten" in error["hint"]


def test_filesystems_that_are_not_sent(workspace: Project, tmp_path: Path, image: Path) -> None:
    """An application's image, one that does not fit, a call that names none: refused before the line; --force sends
    what only looks wrong."""
    app = tmp_path / "app.bin"
    app.write_bytes(IMAGE + bytes(-len(IMAGE) % 4096))
    with SimulatedDevice(tmp_path / "device") as device:
        desk.configure(workspace, device, target="filesystem_size = 8192")
        named = ["--filesystem", "--artifact", str(image)]
        assert error_of(workspace, 65, *named)["code"] == "image-too-large"
        desk.configure(workspace, device, target='filesystem_size = "1M"')
        assert "another partition table" in workspace.run("upload", *named, "--dry-run").assert_ok().stderr
        assert error_of(workspace, 65, "--filesystem", "--artifact", str(app))["code"] == "image-foreign"
        assert error_of(workspace, 65, "--artifact", str(image))["code"] == "image-foreign"
        assert "--filesystem --build" in error_of(workspace, 65, "--filesystem")["hint"]
        assert error_of(workspace, 2, "--force")["code"] == "usage"
        assert not (workspace.ops / "runs").exists() and device.flashes() == []
        workspace.run("upload", "--filesystem", "--artifact", app, "--force").assert_ok()
        assert device.filesystem() == app.read_bytes() and device.image() is None


BUILDFS = """
Import("env")
import os
def make(*args, **kwargs):
    with open(env.subst("$PROJECT_DIR/data/index.html"), "rb") as f:
        data = f.read()
    os.makedirs(env.subst("$BUILD_DIR"), exist_ok=True)
    name = env.subst("$BUILD_DIR/" + ("web-1.2.bin" if b"named" in data else "littlefs.bin"))
    if b"named" in data:
        print(f"Building FS image from 'data' directory to {os.path.relpath(name)}")
    with open(name, "wb") as f:
        f.write(data.ljust(4096, b"\\xff"))
env.AddCustomTarget("buildfs", None, make)
"""


def test_a_filesystem_that_platformio_builds(workspace: Project, tmp_path: Path) -> None:
    """--build runs PlatformIO's `buildfs` for the worktree; without it the newest image of this worktree is sent, with
    a word when its sources changed; where it cannot be built, nothing is sent."""
    firmware.need_pio()
    files = firmware.files()
    files["firmware/platformio.ini"] = firmware.ini() + "extra_scripts = post:buildfs.py\n"
    for name, content in {**files, "firmware/buildfs.py": BUILDFS, "firmware/data/index.html": "<first>"}.items():
        workspace.write(name, content)
    workspace.commit()
    with SimulatedDevice(tmp_path / "device") as device:
        desk.configure(workspace, device)
        built = workspace.run("upload", "--filesystem", "--build", "--json", timeout=110).assert_ok().json
        assert (device.filesystem() or b"").startswith(b"<first>\xff") and device.image() is None
        assert "warning" not in workspace.run("upload", "--filesystem", "--dry-run").assert_ok().stderr
        workspace.write("firmware/data/index.html", "<second>")
        plan = workspace.run("upload", "--filesystem", "--dry-run", "--json").assert_ok().json
        assert plan["artifact"] == built["artifact"] and "uncommitted changes" in plan["warnings"][0]
        workspace.write("firmware/data/index.html", "<named>")  # as with ESP32_FS_IMAGE_NAME: told in the output
        workspace.run("upload", "--filesystem", "--build", timeout=110).assert_ok()
        assert (device.filesystem() or b"").startswith(b"<named>\xff")
        (workspace.root / "firmware/data/index.html").unlink()
        error = error_of(workspace, 1, "--filesystem", "--build", timeout=110)
        assert error["code"] == "build-failed" and "buildfs" in error["message"] and "log" in error["hint"]
        assert error_of(workspace, 65, "--filesystem")["code"] == "build-failed-since"
        assert len(device.flashes()) == 2
    assert error_of(workspace, 65)["code"] == "no-artifact"  # no application was built by that


def test_a_simulated_device_with_a_password(workspace: Project) -> None:
    """`k1ctl sim start --password-env` asks for it, names it in the section it prints, and does not tell it."""
    env = {"K1_OTA_PASSWORD": SECRET}
    start = ["sim", "start", "--password-env", "K1_OTA_PASSWORD", "--login", "sha256-md5"]
    try:
        workspace.run(*start, "--dry-run").assert_fails(78, "K1_OTA_PASSWORD")
        facts = workspace.run(*start, "--json", env=env).assert_ok().json
        assert (facts["login"], facts["password_env"]) == ("sha256-md5", "K1_OTA_PASSWORD")
        assert 'password_env = "K1_OTA_PASSWORD"' in facts["toml"] and SECRET not in str(facts)
        desk.configure(workspace, facts["toml"])
        desk.keep(workspace, IMAGE)
        assert workspace.run("upload", "--json", env=env).assert_ok().json["outcome"] == "installed"
    finally:
        workspace.run("sim", "stop").assert_ok()
