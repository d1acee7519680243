"""The simulated device as one object: start it, point k1ctl at it, look at what it knows."""

from __future__ import annotations

import os
import threading
from typing import Any

from k1ctl.simulator.device import FILESYSTEM, FILESYSTEM_SIZE, IDENTITY, MAC, PARTITION, Device
from k1ctl.simulator.http import HttpServer
from k1ctl.simulator.ota import OtaServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from k1ctl.device.login import Password
    from k1ctl.simulator.links import Link
    from k1ctl.simulator.login import Login
    from k1ctl.simulator.mdns import Announcement
    from k1ctl.simulator.serial import SerialPort


class SimulatedDevice:
    """``with SimulatedDevice(folder, "lost-ok:1") as device:`` runs a K1 on loopback in this process.

    ``faults`` are written as in `k1ctl.simulator.faults`; port 0 takes a free one; ``partition_size`` in bytes;
    ``reboot_seconds`` is how long a restart takes. With a ``password`` it asks for a login, by the rule ``login`` (a
    key of `k1ctl.simulator.login.LOGINS`). ``usb`` gives it a serial port: True or ``pty`` a terminal named
    ``FOLDER/usb``, ``tcp`` a ``socket://``, ``rfc2217`` one with DTR and RTS, at ``usb_tcp_port``. ``mdns``
    is the host name, without ``.local``, that it announces on loopback (NotFoundError, code mdns-missing, without the
    package zeroconf). ``folder`` keeps ``image.bin``, ``filesystem.bin``, ``flashes.jsonl``, and with ``usb`` the whole
    flash as ``flash.bin``.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *faults: str,
        mac: str = MAC,
        identity: str = IDENTITY,
        partition_size: int = PARTITION,
        filesystem_size: int = FILESYSTEM_SIZE,
        password: str | Password | None = None,
        login: str = "sha256",
        reboot_seconds: float = 0.05,
        ota_port: int = 0,
        http_port: int = 0,
        usb: bool | str = False,
        usb_tcp_port: int = 0,
        mdns: str = "",
    ) -> None:
        if mdns:
            from k1ctl.device.mdns import check_available

            check_available()
        self.device = Device(
            os.fspath(folder),
            faults=faults,
            mac=mac,
            identity=identity,
            partition_size=partition_size,
            filesystem_size=filesystem_size,
            login=_login(password, login),
            reboot_seconds=reboot_seconds,
        )
        self.ota = OtaServer(self.device, ota_port)
        try:
            self.http = HttpServer(self.device, http_port)
        except BaseException:
            self.ota.udp.close()
            raise
        self.usb = _serial_port(self, usb, usb_tcp_port) if usb else None
        self.mdns = _announcement(self, mdns) if mdns else None
        self._stop, self._stopper = os.pipe()
        servers = [self.ota.serve, self.http.serve, *([self.usb.serve] if self.usb else [])]
        self._threads = [threading.Thread(target=serve, args=(self._stop,), daemon=True) for serve in servers]

    def press_reset(self) -> None:
        """Press the board's RESET button."""
        if self.usb:
            self.usb.press_reset()
        else:
            self.ota.abort()
            self.device.restart()

    def name_again(self) -> None:
        """Make the terminal's name again where somebody cleaned it away (git clean)."""
        if self.usb:
            self.usb.name_again()

    @property
    def ota_port(self) -> int:
        """UDP port of ArduinoOTA."""
        return self.ota.port

    @property
    def http_port(self) -> int:
        """TCP port of the REST API."""
        return self.http.port

    @property
    def usb_port(self) -> str:
        """What a host opens to reach it over USB; "" without one."""
        return self.usb.link.address if self.usb else ""

    def start(self) -> Self:
        """Begin to serve."""
        for thread in self._threads:
            thread.start()
        if self.mdns:
            try:
                self.mdns.start()
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """Take back what was announced, end all servers and wait for them."""
        if self.mdns:
            self.mdns.stop()
        os.write(self._stopper, b"x")
        self.ota.abort()
        for thread in self._threads:
            thread.join()
        os.close(self._stop)
        os.close(self._stopper)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def image(self) -> bytes | None:
        """What the device runs; None before the first flash."""
        return self.device.image()

    def filesystem(self) -> bytes | None:
        """What its filesystem's partition holds, also after an update that broke off; None before the first one."""
        return self.device.image(FILESYSTEM)

    def flashes(self) -> list[dict[str, Any]]:
        """Every flash it saw, oldest first: {flash, transport, start, end, outcome, why, said, size, received, ...}.

        ``outcome`` is the truth: installed or not-installed.
        """
        return self.device.flashes()

    def settings(self, name: str = "k1", *, probe_timeout: float = 5.0) -> dict[str, Any]:
        """What ``Config.section("devices", name)`` gives for this device, with its ``name``."""
        return {
            "name": name,
            "host": self.host,
            "mac": self.device.mac,
            "identity": self.device.identity,
            "ota_port": self.ota_port,
            "http_port": self.http_port,
            "probe_timeout": probe_timeout,
            **({"usb_port": self.usb_port} if self.usb else {}),
        }

    def toml(self, name: str = "k1") -> str:
        """The section of ``ops/k1ctl.toml`` that names this device."""
        return section(name, self.settings(name))


def _serial_port(simulated: SimulatedDevice, kind: bool | str, tcp_port: int) -> SerialPort:
    from k1ctl.simulator.links import PtyLink, TcpLink
    from k1ctl.simulator.serial import SerialPort

    device = simulated.device
    link: Link
    if kind == "rfc2217":
        from k1ctl.simulator.rfc2217 import Rfc2217Link

        link = Rfc2217Link(tcp_port)
    else:
        link = TcpLink(tcp_port) if kind == "tcp" else PtyLink(os.path.join(os.path.abspath(device.folder), "usb"))
    return SerialPort(device, link, simulated.ota.abort)


def _announcement(simulated: SimulatedDevice, host: str) -> Announcement:
    from k1ctl.simulator.mdns import Announcement

    device = simulated.device
    return Announcement(
        host,
        simulated.ota_port,
        simulated.http_port,
        identity=device.identity,
        login=device.login is not None,
        answering=lambda: device.answering,
    )


def mac_of(name: str) -> str:
    """The MAC of the simulated device ``name``: each has its own, and always the same."""
    if name == "k1":
        return MAC
    from hashlib import sha256

    return ":".join([MAC[:8], *(f"{byte:02X}" for byte in sha256(name.encode()).digest()[:3])])


def _login(password: str | Password | None, rule: str) -> Login | None:
    if not password:
        return None
    from k1ctl.device.login import Password
    from k1ctl.simulator.login import Login

    return Login(password if isinstance(password, Password) else Password(password.encode()), rule)


def section(name: str, settings: dict[str, Any]) -> str:
    """A ``[devices.NAME]`` section with the settings that tell this device from others."""
    from k1ctl.jsontext import dumps

    bare = name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name)
    keys = ["host", "mac", "identity", "ota_port", "http_port"]
    keys += [key for key in ("password_env", "password_file", "usb_port") if settings.get(key)]
    lines = [f"{key} = {dumps(settings[key])}" for key in keys]
    return "\n".join([f"[devices.{name if bare else dumps(name)}]", *lines, ""])
