"""What a device says on its serial port: listened to for a while, as it is, without resetting it."""

from __future__ import annotations

import time
from contextlib import nullcontext

from k1ctl.device.cable import BAUD, BUSY, Cable, CableLost, find
from k1ctl.device.console.panic import Reader
from k1ctl.device.port import LOOK, borrowed, key_of
from k1ctl.errors import BusyError, K1ctlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from k1ctl.device.console.panic import Panic, Reset

KEPT = 1 << 20  # bytes of the output that are kept, the last ones


class Heard:
    """What came: ``data`` (the last megabyte of it), the ``panics`` in it, and why it started, each time it did."""

    def __init__(self) -> None:
        self.data = b""
        self.reader = Reader()

    @property
    def text(self) -> str:
        """The output as text."""
        return self.data.decode("utf-8", "replace")

    @property
    def panics(self) -> list[Panic]:
        """The crashes in it."""
        return self.reader.panics

    @property
    def resets(self) -> list[Reset]:
        """The starts in it, by the ROM's first line."""
        return self.reader.resets

    def take(self, data: bytes) -> None:
        """Take a piece."""
        self.data = (self.data + data)[-KEPT:]
        self.reader.feed(data)


def listen(
    device: Mapping[str, Any],
    seconds: float,
    *,
    enough: Callable[[Heard], bool] = lambda heard: False,
    say: Callable[[str], None] = lambda text: None,
    baud: int = BAUD,
    held: bool = False,
    yield_timeout: float = 10.0,
    folder: str = "",
) -> Heard:
    """Listen to a device (its settings and ``name``) for ``seconds``, or until ``enough`` of what came so far.

    The port is opened without a reset and asked of our console, if one has it (``held``: the caller has borrowed it
    already); ``folder`` stands for the host's state folder. A device that goes and comes back, as one that crashes
    over and over does on some ports, is found again. Raises UnreachableError, WrongDataError, ConfigError, BusyError
    (code port-busy) when it cannot be listened to at all.
    """
    port = find(device)
    key = key_of(device, *port)
    heard, end = Heard(), time.monotonic() + seconds
    with nullcontext() if held else borrowed(key, yield_timeout, say, what="a look at the console", folder=folder):
        cable: Cable | None = Cable(port.path, baud)
        while (left := end - time.monotonic()) > 0 and not enough(heard):
            try:
                if cable is None:
                    cable = Cable(find(device).path, baud)
                heard.take(cable.receive(min(left, LOOK)))
            except (CableLost, K1ctlError) as exc:
                if cable is not None:
                    cable.close()
                cable = None
                time.sleep(min(BUSY if isinstance(exc, BusyError) else LOOK, left))
        if cable is not None:
            cable.close()
    heard.reader.close()
    return heard
