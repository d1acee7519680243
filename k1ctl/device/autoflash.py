"""The flash worker that takes USB where the network cannot reach: ``python -m k1ctl.device.autoflash RUN_DIR``.

It falls back only where the device certainly took nothing: it did not answer, or never connected back. After an update
that may have been taken, or may still be written, it does not.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from k1ctl.device.flash import Flash, serve
from k1ctl.device.usbflash import UsbFlash
from k1ctl.errors import K1ctlError

if TYPE_CHECKING:
    from k1ctl.device.ota import Outcome

_OUT_OF_REACH = ("device-offline", "device-unreachable-permission", "ota-no-connect")
_BEFORE_THE_TRANSFER = ("probe", "invite")
_DOUBTFUL = ("sending", "unknown")


class AutoFlash(UsbFlash):
    """A flash over the network, else over USB where nothing but the device is plugged in."""

    alone = True

    def _flash(self) -> Outcome:
        self.record["transport"] = "ota"
        # A write over USB has no limit from outside, so what goes over the network gets its last resort here.
        signal.alarm(int(self.last_resort()))
        try:
            return Flash._flash(self)
        except K1ctlError as exc:
            if not self._may_fall_back(exc):
                raise
            failed = exc
        finally:
            signal.alarm(0)
        try:
            port, tool = self._ready()
        except K1ctlError as refused:
            if refused.code != "usb-absent":
                failed.message = f"{failed.message}; USB was not tried: {refused.message}"
                failed.hint += f"; for USB: {refused.hint}" if refused.hint else ""
            raise failed from refused
        self.say(f"over the network: {failed.message}")
        self.record.update(code=failed.code, message=failed.message, exit_code=failed.exit_code)
        self._try_write(outcome="unreachable")  # from here on a kill leaves no doubt about the network
        self.record.update(transport="usb", network={"code": failed.code, "message": failed.message})
        return self._over_usb(port, tool)

    def last_resort(self) -> float:
        """Seconds that the way over the network may take in all; 0: no limit."""
        from k1ctl.files import read_json

        job = read_json(f"{self.folder}/flash.json")
        return float(job.get("last_resort", 0)) if isinstance(job, dict) else 0.0

    def _may_fall_back(self, failed: K1ctlError) -> bool:
        stage = self.record["stage"]
        doubtful = [w for w in self.record.get("earlier", []) if w["outcome"] in _DOUBTFUL]
        certain = all(word.get("transport") == "usb" for word in doubtful)
        return failed.code in _OUT_OF_REACH and stage in _BEFORE_THE_TRANSFER and certain and not self.stop.requested


def main(argv: list[str]) -> int:
    """Flash what ``argv[0]`` (a run folder) describes; returns the exit code."""
    return serve(AutoFlash, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
