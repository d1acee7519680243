"""Both views of what is there, and what the configuration makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.device import discover as engine
from k1ctl.device import mdns as network
from k1ctl.errors import NotFoundError, UnreachableError
from k1ctl.output import LiveLine
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.device.discover import Board
    from k1ctl.device.mdns import Service
    from k1ctl.device.usb import Port


class Found:
    """The boards, sections for the new ones, and ``missing``: why a view is not there, {view: (code, why, hint)}."""

    def __init__(self, boards: list[Board], taken: list[str], missing: dict[str, tuple[str, str, str]]) -> None:
        self.boards, self.missing = boards, missing
        self.sections: dict[Board, str] = {}
        names = list(taken)
        for board in boards:
            if board.new:
                name, self.sections[board] = engine.section(board, names)
                names.append(name)

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        missing = {view: dict(zip(("code", "message", "hint"), why, strict=True)) for view, why in self.missing.items()}
        boards = [{**board.document(), "toml": self.sections.get(board, "")} for board in self.boards]
        return {"ok": True, "boards": boards, "missing": missing}

    def talk(self) -> list[str]:
        """What is told beside the table."""
        lines = [f"{why}{f' ({hint})' if hint else ''}" for _, why, hint in self.missing.values()]
        if not self.boards:
            lines.append("no board was found")
        elif self.sections:
            lines.append("boards that are not configured: `k1ctl device discover --toml` prints their sections")
        return lines


def discover(config: Config, *, interface: str, seconds: float, usb: bool, mdns: bool) -> Found:
    """Look at USB and listen to the network for ``seconds``. A view that cannot be had is told, unless it is the only
    one that was asked for: then NotFoundError (code mdns-missing) or UnreachableError is raised. ConfigError."""
    missing: dict[str, tuple[str, str, str]] = {}
    services: list[Service] = []
    answers: engine.Answers = {}
    if mdns:
        live = LiveLine()
        try:
            if network.available() and live.terminal:
                live.update(f"listening for {format_duration(seconds)}")
            services = network.browse(seconds, interface)
            answers = engine.ask_all(services)
        except (NotFoundError, UnreachableError) as exc:
            if not usb:
                raise
            missing["mdns"] = (exc.code, f"the network was not listened to: {exc.message}", exc.hint)
        finally:
            live.clear()
    ports: list[Port] = []
    if usb:
        ports, why = engine.plugged()
        if why:
            missing["usb"] = ("usb-not-listed", f"the serial ports could not be listed: {why}", "")
    devices = [{**config.section("devices", name), "name": name} for name in config.names("devices")]
    return Found(engine.join(services, answers, ports, devices), config.names("devices"), missing)
