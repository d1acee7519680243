"""The simulated device's mDNS: what the firmware announces, on 127.0.0.1 only, taken back when it stops."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from zeroconf import ServiceInfo, Zeroconf

HOST = "k1-reinvented"  # firmware, main.cpp
LOOPBACK = "127.0.0.1"
# firmware, webserver.cpp; arduino-esp32 2.0.17, ESPmDNS.cpp (enableArduino)
_HTTP = {"device": "K1.reinvented", "version": "2.0", "api": "/api"}
_WEBSOCKET = {"path": "/ws"}
_ARDUINO = {"board": "esp32s3", "tcp_check": "no", "ssh_upload": "no", "auth_upload": "no"}
_REGISTER_SECONDS = 10.0


def host_of(name: str) -> str:
    """The host name, without ``.local``, of the simulated device ``name``: that of the firmware for ``k1``."""
    bare = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
    return HOST if name in ("", "k1") or not bare else f"{HOST}-{bare}"[:63].rstrip("-")


class Announcement:
    """The three services of a device under one host name.

    ``start`` registers them, ``stop`` takes them back, with a goodbye, so that whoever listens forgets them at once.
    While ``answering`` says no, nothing is said at all, not even goodbye, as by a board that is off or restarts. That
    nobody else has the name is not asked: two boards that answer to one name are worth simulating.
    """

    def __init__(
        self, host: str, ota_port: int, http_port: int, *, identity: str, login: bool, answering: Callable[[], bool]
    ) -> None:
        from k1ctl.device.mdns import check_available

        check_available()
        self.host, self._answering = host, answering
        self._services = (
            ("_arduino._tcp.local.", ota_port, {**_ARDUINO, "auth_upload": "yes" if login else "no"}),
            ("_http._tcp.local.", http_port, {**_HTTP, "device": identity}),
            ("_ws._tcp.local.", http_port, _WEBSOCKET),
        )
        self._zeroconf: Zeroconf | None = None

    def start(self) -> None:
        """Answer for the services from now on, and announce them. Raises OSError, TimeoutError."""
        import asyncio

        from zeroconf import IPVersion, Zeroconf

        answering = self._answering

        class Board(Zeroconf):
            def async_send(self, *args: Any, **kwargs: Any) -> None:
                if answering():
                    super().async_send(*args, **kwargs)

        self._zeroconf = zeroconf = Board(interfaces=[LOOPBACK], ip_version=IPVersion.V4Only)
        assert zeroconf.loop is not None
        for kind, port, properties in self._services:
            registering = zeroconf.async_register_service(
                self._info(kind, port, properties), cooperating_responders=True
            )
            asyncio.run_coroutine_threadsafe(registering, zeroconf.loop).result(_REGISTER_SECONDS)

    def stop(self) -> None:
        """Take them back."""
        if self._zeroconf is not None:
            self._zeroconf.close()
            self._zeroconf = None

    def _info(self, kind: str, port: int, properties: dict[str, str]) -> ServiceInfo:
        from zeroconf import ServiceInfo

        return ServiceInfo(
            kind,
            f"{self.host}.{kind}",
            port=port,
            properties=properties,
            server=f"{self.host}.local.",
            parsed_addresses=[LOOPBACK],
        )
