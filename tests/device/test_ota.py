"""What the client says happened is what happened, or it says that it does not know."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k1ctl.device.login import Password
from k1ctl.device.ota import FILESYSTEM, FIRMWARE, Limits, _Counts, send
from k1ctl.device.stop import StopRequest
from k1ctl.errors import K1ctlError, UnreachableError
from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.device.fakes import IMAGE, QUICK, big_image, ota_device, take
from tests.kit import wait_until


def test_installed(tmp_path: Path) -> None:
    """The device's final OK is `installed`, and the device runs exactly these bytes."""
    seen: list[tuple[int, int]] = []
    with SimulatedDevice(tmp_path) as device:
        done = send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK, progress=lambda *p: seen.append(p))
        assert (done.outcome, done.bytes, done.invitations) == ("installed", len(IMAGE), 1)
        assert device.image() == IMAGE
        assert [f["outcome"] for f in device.flashes()] == ["installed"]
    assert seen[-1] == (len(IMAGE), len(IMAGE)) and seen == sorted(seen)


@pytest.mark.parametrize(
    ("fault", "outcome", "truth"),
    [
        ("refuse", "refused", "not-installed"),
        ("eof", "unknown", "not-installed"),
        ("lost-ok", "unknown", "installed"),
        ("no-install", "unknown", "not-installed"),
        ("stall=0.2", "installed", "installed"),
        ("pace=3000000", "installed", "installed"),
    ],
)
def test_outcomes(tmp_path: Path, fault: str, outcome: str, truth: str) -> None:
    """Each ending has its outcome; the image on the device changes only when it was installed."""
    with SimulatedDevice(tmp_path, fault) as device:
        assert send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK).outcome == outcome
        assert device.flashes()[0]["outcome"] == truth
        assert (device.image() == IMAGE) is (truth == "installed")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(
        st.sampled_from(
            ["refuse:1", "eof:2", "lost-ok:1", "no-install:1", "drop=2:2", "cut=0.3:1", "cut=0:1", "cut=1:1"]
        ),
        max_size=3,
        unique=True,
    ),
    size=st.integers(1, 60_000),
    kind=st.sampled_from([FIRMWARE, FILESYSTEM]),
    rule=st.sampled_from(["", "md5", "sha256", "sha256-md5"]),
    right=st.sampled_from([True, True, False]),
)
def test_the_client_never_contradicts_the_device(
    tmp_path_factory: pytest.TempPathFactory, faults: list[str], size: int, kind: int, rule: str, right: bool
) -> None:
    """Over any mixture of faults, logins and kinds of image: installed, refused and `not sent` are true, and only
    `unknown` says nothing."""
    image = b"\xe9" + bytes(size - 1)
    asks = {"password": "right", "login": rule} if rule else {}
    given = Password(b"right" if right else b"wrong")
    with SimulatedDevice(tmp_path_factory.mktemp("device"), *faults, reboot_seconds=0.01, **asks) as device:
        for _ in range(3):
            before = len(device.flashes())
            try:
                link = {"limits": QUICK, "password": given, "command": kind}
                outcome = send("127.0.0.1", device.ota_port, image, **link).outcome
            except K1ctlError as exc:
                outcome = exc.code
            assert (outcome == "ota-login-refused") is (bool(rule) and not right)
            truths = [f["outcome"] for f in device.flashes()[before:]]
            if outcome == "installed":
                assert truths == ["installed"]
            elif outcome != "unknown":
                assert "installed" not in truths


def test_lost_invitations_are_repeated(tmp_path: Path) -> None:
    """The first invitations may be lost, also all but the last one."""
    with SimulatedDevice(tmp_path, "drop=9:1") as device:
        done = send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK)
    assert (done.outcome, done.invitations) == ("installed", 10)


@pytest.mark.parametrize("fault", ["drop=99", "offline=inf"])
def test_nobody_answers(tmp_path: Path, fault: str) -> None:
    """No answer to all invitations: code device-offline, and the device saw no flash."""
    with SimulatedDevice(tmp_path, fault) as device:
        with pytest.raises(UnreachableError) as caught:
            send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK)
        assert caught.value.code == "device-offline"
        assert device.flashes() == []


def test_a_closed_port_is_offline() -> None:
    """ICMP's port unreachable ends as device-offline, after all invitations: a device may be restarting."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnreachableError) as caught:
        send("127.0.0.1", port, IMAGE, limits=QUICK._replace(invitations=2))
    assert caught.value.code == "device-offline"


def test_too_large_for_the_partition(tmp_path: Path) -> None:
    """The device says OK and never connects: nothing was sent, code ota-no-connect."""
    with SimulatedDevice(tmp_path, partition_size=1000) as device:
        with pytest.raises(UnreachableError) as caught:
            send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK)
        assert device.flashes() == []
    assert caught.value.code == "ota-no-connect"


@pytest.mark.parametrize("fraction", ["0", "0.1", "0.5", "0.9"])
def test_a_cut_link_leaves_the_old_image(tmp_path: Path, fraction: str) -> None:
    """Cut before the last byte was handed over: interrupted; later: unknown. Never installed."""
    image = big_image(1_500_000)
    with SimulatedDevice(tmp_path, f"cut={fraction}", "pace=20000000") as device:
        try:
            assert send("127.0.0.1", device.ota_port, image, limits=QUICK).outcome == "unknown"
        except UnreachableError as exc:
            assert exc.code == "ota-interrupted"
        assert device.image() is None


def test_a_foreign_image_is_refused_in_mid_transfer(tmp_path: Path) -> None:
    """The device's error text in the middle of the transfer is `refused`, with the text."""
    with SimulatedDevice(tmp_path) as device:
        done = send("127.0.0.1", device.ota_port, b"\x7fELF" + IMAGE, limits=QUICK)
    assert done.outcome == "refused"
    assert "Wrong Magic Byte" in done.message


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ([b"OK"], "installed"),
        ([b"1024OK"], "installed"),
        ([b"1024", b"O", b"K"], "installed"),
        ([b"10241024\r\nOK\r\n"], "installed"),
        ([b"ERROR[8]: MD5 Check Failed"], "refused"),
        ([b"1024ERROR", b"[7]: OK is not what this is"], "refused"),
        ([b"MD5 Check Failed\r\n"], "refused"),
        ([b"1024O"], "unknown"),
        ([b"1024"], "unknown"),
        ([], "unknown"),
    ],
)
def test_final_words(words: list[bytes], outcome: str) -> None:
    """OK is told from an error text by its place, wherever packets break."""

    def script(link: socket.socket, size: int) -> None:
        take(link, size)
        for word in words:
            link.sendall(word)
            threading.Event().wait(0.02)

    with ota_device(script) as port:
        assert send("127.0.0.1", port, IMAGE, limits=QUICK).outcome == outcome


def test_ok_before_the_end_is_not_believed() -> None:
    """An OK while bytes are still to be sent proves nothing."""

    def script(link: socket.socket, size: int) -> None:
        take(link, 1000)
        link.sendall(b"OK")
        link.settimeout(5)
        while link.recv(65536):
            threading.Event().wait(0.005)

    with ota_device(script) as port:
        assert send("127.0.0.1", port, big_image(2_000_000), limits=QUICK).outcome == "unknown"


def test_the_words_of_a_device_that_hung_up() -> None:
    """An error text counts also when the link is reset before the sender has read it: refused, not cut."""
    silent, reset = threading.Event(), threading.Event()

    def script(link: socket.socket, size: int) -> None:
        take(link, 1000)
        silent.wait(20)
        link.sendall(b"Flash Read Failed")
        link.close()  # with bytes unread, which makes it a reset
        reset.set()

    class Between(StopRequest):
        """Asked before each piece; the device talks between the last look at it and the second piece."""

        asked = 0

        @property
        def requested(self) -> bool:
            self.asked += 1
            if self.asked == 2:
                silent.set()
                assert reset.wait(20)
            return False

        @requested.setter
        def requested(self, value: bool) -> None: ...

    stop = Between()
    with ota_device(script) as port:
        done = send("127.0.0.1", port, IMAGE, limits=QUICK, stop=stop)
    stop.close()
    assert (done.outcome, done.message) == ("refused", "Flash Read Failed")


def test_silence_after_the_last_byte_is_unknown() -> None:
    """A device that took all and says nothing more is given up after the idle limit."""
    released = threading.Event()

    def script(link: socket.socket, size: int) -> None:
        take(link, size)
        released.wait(20)

    with ota_device(script) as port:
        done = send("127.0.0.1", port, IMAGE, limits=QUICK)
        released.set()
    assert done.outcome == "unknown"
    assert "no final word" in done.message


@pytest.mark.parametrize("limits", [QUICK, QUICK._replace(idle=20.0, attempt=0.5)])
def test_a_device_that_stops_reading(limits: Limits) -> None:
    """Nothing moves, or the attempt's limit passes, before the last byte: interrupted, and the link is reset."""
    released = threading.Event()

    def script(link: socket.socket, size: int) -> None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        take(link, 1000)
        released.wait(20)

    with ota_device(script) as port:
        with pytest.raises(UnreachableError) as caught:
            send("127.0.0.1", port, big_image(8_000_000), limits=limits)
        released.set()
    assert caught.value.code == "ota-interrupted"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"AUTH " + b"0" * 32, "ota-password-needed"),
        (b"AUTH " + b"0" * 64, "ota-password-needed"),
        (b"AUTH " + b"0" * 40, "ota-protocol"),
        (b"AUTH " + b"x" * 64, "ota-protocol"),
        (b"Authentication Failed", "ota-protocol"),
        (b"NO", "ota-protocol"),
    ],
)
def test_other_answers_to_the_invitation(reply: bytes, code: str) -> None:
    """A wanted password and foreign answers are named, and nothing is sent."""
    with ota_device(lambda link, size: None, reply) as port, pytest.raises(K1ctlError) as caught:
        send("127.0.0.1", port, IMAGE, limits=QUICK)
    assert (caught.value.code, caught.value.exit_code) == (code, 78 if "password" in code else 65)
    assert caught.value.hint


def test_stop_in_mid_transfer_leaves_the_old_image(tmp_path: Path) -> None:
    """A stop before the last byte ends the attempt; the device keeps what it had."""
    stop = StopRequest()
    with SimulatedDevice(tmp_path, "pace=1000000") as device:
        with pytest.raises(UnreachableError) as caught:
            send("127.0.0.1", device.ota_port, big_image(1_000_000), stop=stop, progress=lambda *_: stop.request())
    assert caught.value.code == "ota-interrupted"
    assert device.image() is None
    stop.close()


def test_stop_after_the_last_byte_waits_for_the_answer(tmp_path: Path) -> None:
    """Once everything is sent, only the answer or a limit ends the attempt."""
    stop = StopRequest()

    def progress(sent: int, total: int) -> None:
        if sent == total:
            stop.request()

    with SimulatedDevice(tmp_path) as device:
        assert send("127.0.0.1", device.ota_port, IMAGE, stop=stop, progress=progress).outcome == "installed"
    stop.close()


def test_stop_while_inviting(tmp_path: Path) -> None:
    """A stop while nobody answers ends the wait at once."""
    stop = StopRequest()
    with SimulatedDevice(tmp_path, "offline=inf") as device:
        threading.Timer(0.1, stop.request).start()
        with pytest.raises(UnreachableError) as caught:
            send("127.0.0.1", device.ota_port, IMAGE, limits=Limits(invitation_interval=60.0), stop=stop)
    assert caught.value.code == "ota-interrupted"
    stop.close()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no second loopback address")
def test_only_the_device_may_connect(tmp_path: Path) -> None:
    """A connection from another address is dropped, the device's is taken."""
    with SimulatedDevice(tmp_path, "drop=3") as device:
        result: list[str] = []
        limits = QUICK._replace(invitation_interval=0.2)
        worker = threading.Thread(
            target=lambda: result.append(send("127.0.0.1", device.ota_port, IMAGE, limits=limits).outcome)
        )
        worker.start()
        for port in _listening():
            with socket.socket() as stranger:
                stranger.bind(("127.0.0.2", 0))
                if stranger.connect_ex(("127.0.0.1", port)) == 0:
                    stranger.settimeout(5)
        worker.join()
    assert result == ["installed"]


def _listening() -> list[int]:
    import os

    import psutil

    return [c.laddr.port for c in psutil.Process(os.getpid()).net_connections("tcp4") if c.status == psutil.CONN_LISTEN]


def test_an_answer_in_the_moment_of_the_last_byte(tmp_path: Path) -> None:
    """The final OK counts also when it is there before the sender has looked again, as with small images."""

    def linger(sent: int, total: int) -> None:
        if sent == total:
            wait_until(device.flashes)
            threading.Event().wait(0.1)

    with SimulatedDevice(tmp_path) as device:
        assert send("127.0.0.1", device.ota_port, IMAGE[:2000], limits=QUICK, progress=linger).outcome == "installed"


@given(
    counts=st.lists(st.integers(1, 1460), min_size=1, max_size=200),
    cuts=st.lists(st.integers(0, 800), max_size=20),
)
def test_what_the_device_took_never_goes_back(counts: list[int], cuts: list[int]) -> None:
    """However its counts run together and packets break: it grows, stays within what was sent, and ends whole."""
    digits, total = b"".join(b"%d" % count for count in counts), sum(counts)
    told: list[int] = []
    seen = _Counts(total, lambda taken, of: told.append(taken))
    edges = [0, *sorted(min(cut, len(digits)) for cut in cuts), len(digits)]
    for start, end in itertools.pairwise(edges):
        seen.add(digits[start:end], total)
    seen.all()
    assert told == sorted(set(told)) and told[-1] == total


@pytest.mark.parametrize("count", [1460, 1436, 1024, 536])
def test_counts_of_one_length_are_exact(count: int) -> None:
    """As devices send them, all but the last alike, what is told is what was taken."""
    told: list[int] = []
    seen = _Counts(10 * count, lambda taken, of: told.append(taken))
    for number in range(1, 10):
        seen.add(b"%d" % count, 10 * count)
        assert told[-1] == number * count


def test_progress_is_what_the_device_took(tmp_path: Path) -> None:
    """While it has taken half, no more than that is told as taken, though the kernel was handed everything."""
    image, gate = IMAGE[:30_000], threading.Event()
    sent, told, at_rest = [0], [0], []
    with SimulatedDevice(tmp_path, "stall=0.01") as device:
        desk.hold(device, gate)

        def watch() -> None:
            wait_until(lambda: sent[-1] == len(image) and told[-1] >= len(image) / 2)
            at_rest.append(told[-1])
            gate.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        took = {"progress": lambda count, of: sent.append(count), "taken": lambda count, of: told.append(count)}
        done = send("127.0.0.1", device.ota_port, image, limits=QUICK._replace(idle=10.0), **took)
        watcher.join()
    assert done.outcome == "installed"
    assert len(image) / 2 <= at_rest[0] <= len(image) / 2 + 1460
    assert told[-1] == len(image) and told == sorted(told)
