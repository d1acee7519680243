"""Which port is the device: by its MAC, and refused wherever that is not certain."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from k1ctl.device import partitions, usb
from k1ctl.device.cable import find
from k1ctl.device.esptool import Report, find_esptool, meaning
from k1ctl.device.esptool_run import run
from k1ctl.device.stop import StopRequest
from k1ctl.device.usb import Port, choose, ports, spelled, told_at
from k1ctl.errors import K1ctlError, NotExecutableError, NotFoundError, UnreachableError, WrongDataError
from tests.usb import MAJORS, need_esptool

MAC = "02:4B:31:00:00:01"
OWN = Port("/dev/ttyACM1", "02:4b:31:00:00:01")
OTHER = Port("/dev/ttyACM0", "02:4b:31:00:00:02")
SILENT = Port("/dev/ttyACM2", "")


def device(**changes: str) -> dict[str, str]:
    return {"name": "k1", "mac": MAC, "usb_port": "", **changes}


@pytest.mark.parametrize("there", [[OWN], [OWN, OTHER], [OWN, SILENT]])
def test_the_port_with_the_mac_is_taken(there: list[Port]) -> None:
    """A port that tells the configured MAC is the device, whatever else is plugged in."""
    assert choose(device(), lister=lambda: there) == OWN


def test_one_port_without_a_mac_is_asked() -> None:
    """The only port may be the device although it tells no MAC; an explicit port is not looked for."""
    assert choose(device(), lister=lambda: [SILENT]) == SILENT
    assert choose(device(usb_port="/dev/null"), lister=lambda: [OTHER]) == Port("/dev/null", "")


def test_a_configured_port_with_another_board_on_it(tmp_path: Path) -> None:
    """A path is no identity: whatever reset or byte is meant for the device reaches no board that tells another MAC,
    also behind a link, for a write and for a console alike."""
    node, link = tmp_path / "ttyACM0", tmp_path / "by-id"
    node.touch()
    link.symlink_to(node)
    for take in (choose, find):
        for path in (str(node), str(link)):
            with pytest.raises(WrongDataError) as caught:
                take(device(usb_port=path), lister=lambda: [OTHER._replace(path=str(node)), OWN])
            assert (caught.value.code, caught.value.exit_code) == ("wrong-device", 65)
            assert path in caught.value.message and OTHER.mac in caught.value.message
            right = take(device(usb_port=path), lister=lambda: [OWN._replace(path=str(node)), OTHER])
            assert right == Port(path, OWN.mac)
    assert told_at("/dev/tty.usbmodem1", [OTHER._replace(path="/dev/cu.usbmodem1")]) == OTHER.mac  # macOS has both


def test_a_configured_port_that_is_not_there(tmp_path: Path) -> None:
    """It is absent, not busy, although esptool has one word for both; an address is not looked for."""
    path = str(tmp_path / "gone")
    with pytest.raises(UnreachableError) as caught:
        choose(device(usb_port=path), lister=lambda: [OWN])
    assert caught.value.code == "usb-absent" and path in caught.value.message
    report = Report()
    report.feed(b"A fatal error occurred: Could not open it, the port is busy or doesn't exist.\n")
    assert (meaning(report, 2, path).code, meaning(report, 2, "/dev/null").code) == ("usb-lost", "port-busy")
    assert choose(device(usb_port="socket://127.0.0.1:1")).path == "socket://127.0.0.1:1"


@pytest.mark.parametrize(
    ("there", "alone", "code", "named"),
    [
        ([], False, "usb-absent", ["303A:1001"]),
        ([OTHER], False, "wrong-device", ["/dev/ttyACM0", "02:4b:31:00:00:02"]),
        ([SILENT, SILENT._replace(path="/dev/ttyACM3")], False, "usb-ambiguous", ["/dev/ttyACM2", "/dev/ttyACM3"]),
        ([OWN, OWN._replace(path="/dev/ttyACM3")], False, "usb-ambiguous", ["/dev/ttyACM1", "/dev/ttyACM3"]),
        ([OWN, OTHER], True, "wrong-device", ["/dev/ttyACM0", "/dev/ttyACM1"]),
        ([OWN, SILENT], True, "usb-ambiguous", ["/dev/ttyACM1", "/dev/ttyACM2"]),
    ],
)
def test_refused(there: list[Port], alone: bool, code: str, named: list[str]) -> None:
    """None, a foreign one, or several: each refusal names the ports and their MACs."""
    with pytest.raises(K1ctlError) as caught:
        choose(device(), alone=alone, lister=lambda: there)
    assert caught.value.code == code
    assert all(text in caught.value.message for text in named)


def test_ports_are_known_by_vendor_and_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the system lists, only the S3's own USB counts, in the order of paths, with its serial number as MAC."""
    from serial.tools import list_ports
    from serial.tools.list_ports_common import ListPortInfo

    listed = []
    for path, vid, pid, number in (
        ("/dev/ttyACM3", 0x303A, 0x1001, "02:4B:31:00:00:02"),
        ("/dev/ttyUSB0", 0x10C4, 0xEA60, "0001"),
        ("/dev/ttyACM1", 0x303A, 0x1001, "02:4B:31:00:00:01"),
        ("/dev/ttyACM4", 0x303A, 0x0002, "02:4B:31:00:00:03"),
        ("/dev/ttyS0", None, None, None),
    ):
        info = ListPortInfo(path)
        info.vid, info.pid, info.serial_number = vid, pid, number
        listed.append(info)
    monkeypatch.setattr(list_ports, "comports", lambda: listed)
    assert ports() == [OWN, OTHER._replace(path="/dev/ttyACM3")]


def test_without_a_mac_nothing_is_chosen() -> None:
    """No MAC configured: nothing could tell the right board."""
    with pytest.raises(K1ctlError) as caught:
        choose(device(mac=""), lister=lambda: [OWN])
    assert (caught.value.code, caught.value.exit_code) == ("no-mac", 78)


def test_both_names_of_a_port_are_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no /proc lsof is asked, also for the other name that macOS has for a port."""
    lsof = tmp_path / "lsof"
    lsof.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho {os.getpid()}\n')
    lsof.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/tty.usbmodem1")
    assert [f"(pid {os.getpid()})" in user for user in usb.users("/dev/cu.usbmodem1")] == [True]
    assert (tmp_path / "asked").read_text().endswith("-- /dev/cu.usbmodem1 /dev/tty.usbmodem1\n")


def test_many_programs_are_not_all_named() -> None:
    """A path that half of the host has open (/dev/null) makes no page of an error."""
    message = usb.busy("/dev/null", [f"p{n}" for n in range(300)]).message
    assert message == "/dev/null is in use by p0, p1, p2, p3, p4, 295 others"


def test_spellings_of_a_mac() -> None:
    """Every spelling of a MAC is one; what is none is empty, as the serial numbers of other boards are."""
    assert spelled("02-4B-31-00-00-01") == spelled("024B31000001") == "02:4b:31:00:00:01"
    assert spelled("5435A21") == spelled("Z24B31000001") == ""


def test_partition_table() -> None:
    """A table reads back as it was written; blank flash has none; slots come in their order."""
    table = [
        partitions.Partition("otadata", partitions.DATA, 0, 0xE000, 0x2000),
        partitions.Partition("app1", partitions.APP, 0x11, 0x1F0000, 0x1E0000),
        partitions.Partition("app0", partitions.APP, 0x10, 0x10000, 0x1E0000),
    ]
    assert partitions.parse(partitions.encode(table)) == table
    assert [p.label for p in partitions.app_slots(table)] == ["app0", "app1"]
    assert partitions.otadata_of(table) == table[0] and partitions.otadata_of(table[1:]) is None
    with pytest.raises(WrongDataError) as caught:
        partitions.parse(b"\xff" * partitions.TABLE_SIZE)
    assert caught.value.code == "no-partition-table"


def test_otadata() -> None:
    """The selection of slot 0 is, byte for byte, what Arduino ships as boot_app0.bin; the higher valid one counts."""
    first = partitions.selecting(0)
    assert first[:32].hex() == "01000000" + "ff" * 24 + "9a984347" and set(first[32:]) == {0xFF} and len(first) == 8192
    both = first[:4096] + partitions.selecting(1)[:4096]
    assert partitions.selected(both, 2) == 1
    assert partitions.selected(first[:4096] + b"\x02\0\0\0" + both[4100:4124] + bytes(4) + both[4128:], 2) == 0
    assert partitions.selected(b"\xff" * 8192, 2) == 0


@pytest.mark.parametrize("major", MAJORS)
def test_the_version_settles_the_spelling(major: int) -> None:
    """Each esptool tells its version, and its words are spelled as it wants them."""
    tool = find_esptool(need_esptool(major))
    assert tool.version.startswith(f"{major}.") and tool.origin == "configured"
    words = tool.command("/dev/x", "esp32s3", 921600, False, "write-flash", "0x10000", "a-b")
    assert ("write-flash" in words) is (major == 5) and ("write_flash" in words) is (major == 4)
    assert words[-2:] == ["0x10000", "a-b"] and "--no-stub" in words


def test_where_esptool_is_looked_for(tmp_path: Path) -> None:
    """A configured one must be there and be one; PlatformIO's package is run by PlatformIO's Python."""
    with pytest.raises(NotFoundError):
        find_esptool(str(tmp_path / "none"))
    with pytest.raises(NotExecutableError):
        find_esptool("/bin/true")
    package, penv = tmp_path / "packages/tool-esptoolpy", tmp_path / "penv/bin"
    package.mkdir(parents=True)
    penv.mkdir(parents=True)
    (package / "esptool.py").write_text("print('esptool.py v4.9.0')\n")
    (penv / "python").symlink_to(sys.executable)
    found = find_esptool(environ={"PATH": str(tmp_path), "PLATFORMIO_CORE_DIR": str(tmp_path)})
    if found.origin != "PATH":  # this host has none in its standard folders
        assert (found.origin, found.version) == ("platformio", "4.9.0")


def test_progress_is_of_all_files() -> None:
    """Lines of both versions, broken anywhere, give bytes of all files; the last words are kept."""
    seen: list[tuple[int, int]] = []
    report = Report([300, 100], lambda sent, total: seen.append((sent, total)))
    text = (
        "MAC: 02:4b:31:00:00:01\nFlash will be erased from 0x00010000 to 0x00018fff...\n"
        "Writing at 0x00010000... (50 %)\rWriting at 0x00011000 ━━━━ 100.0% 1.1kB/1.1kB [0s] \n"
        "Wrote 300 bytes (20 compressed) at 0x00010000 in 0.0 seconds\nHash of data verified.\n"
        "Writing at 0x0000e000... (100 %)\nWrote 100 bytes at 0x0000e000\nA fatal error occurred: MD5 of file does not"
    ).encode()
    for at in range(0, len(text), 7):
        report.feed(text[at : at + 7])
    report.close()
    assert seen == [(150, 400), (300, 400), (300, 400), (400, 400), (400, 400)]
    assert (report.mac, report.began, report.verified) == ("02:4b:31:00:00:01", True, 1)
    assert report.said == "MD5 of file does not"


def test_a_lost_port_is_told_from_a_refusal() -> None:
    """Exit 2 with a word is esptool's own word, 1 a serial port that went away, None our limit."""
    report = Report()
    report.feed(b"A fatal error occurred: Failed to connect to ESP32-S3: No serial data received.\n")
    assert [meaning(report, status, "/dev/null").code for status in (2, 1, None)] == [
        "usb-no-answer",
        "usb-lost",
        "usb-no-answer",
    ]


def test_a_limit_holds_until_a_write_begins() -> None:
    """A program that has printed no word of a write is ended at the limit; one that has goes on beyond it."""
    silent = [sys.executable, "-c", "import time; print('Connecting', flush=True); time.sleep(60)"]
    assert run(silent, Report(), seconds=0.2) is None
    stop, report = StopRequest(), Report()
    writes = "import time; print('Writing at 0x0', flush=True); time.sleep(0.3); print('done'); raise SystemExit(3)"
    status = run([sys.executable, "-c", writes], report, seconds=60, stop=stop, began=stop.request)
    assert status == 3 and report.lines[-1] == "done"
