"""What a device does once it took an image: is it back, the same one, with that build, and does it stay?

Every flash worker of ours calls this at its end, and so the lease goes on being held where its supervisor is killed.
Behind a worker that ended without it (a third party's, one that was killed) the upload's supervisor starts
``python -m k1ctl.device.verify RUN_DIR``, in its own session and with the descriptors of lease and guard. It is no part
of a transport, and it never sends anything: whatever it finds, the image is installed.
"""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TYPE_CHECKING, Any

from k1ctl.device import buildid, crashes
from k1ctl.device.afterwards import (
    BOOT_SECONDS,
    NEEDS_USB,
    NOT_BACK,
    OK,
    PROBE_SECONDS,
    SKIPPED,
    SOAK_FAILED,
    WRONG_BUILD,
    WRONG_DEVICE,
    blank,
)
from k1ctl.device.http import BadAnswer, RateLimited, get_json
from k1ctl.device.identity import difference
from k1ctl.device.probe import INFO, OTHER_INFO, document, read, restarted
from k1ctl.device.soak import Broken, Soak
from k1ctl.errors import K1ctlError, WrongDataError
from k1ctl.output import clean
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from k1ctl.device.stop import StopRequest

_NAP, _ALIVE_NAP = 0.1, 0.25  # s between two looks: at a device that is away; at one that answers (its window: 0.2 s)
_LONGEST = 80  # characters of a build id that are told


class _Stopped(Exception):
    """Somebody asked to end it."""


class Verification:
    """One device after one flash.

    ``job`` is the run's flash.json, with ``device``, and perhaps ``soak`` (seconds) and ``build`` {rule, ids};
    ``told`` what the flash worker recorded; ``folder`` takes the boot log; ``say`` prints a line.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        told: dict[str, Any],
        folder: str,
        stop: StopRequest,
        say: Callable[[str], None],
    ) -> None:
        self.job, self.told, self.folder, self.stop, self.say = job, told, folder, stop, say
        self.device: dict[str, Any] = dict(job["device"])
        self.patience = float(self.device.get("probe_timeout", PROBE_SECONDS))
        self.found = blank()
        self.health: tuple[int, float] | None = None  # its uptime in ms as it was back, and when it told it
        self.info: Any = None  # what it said of itself then

    def run(self) -> dict[str, Any]:
        """Look, and return {state, message, hint, back_seconds, restarted, build_id, soak, boot_log}. Never raises on
        account of the device."""
        try:
            self._look()
        except _Stopped:
            self._is(SKIPPED, "it was stopped before the device was verified", "k1ctl device health says how it is")
        except K1ctlError as exc:
            self._is(SKIPPED, f"it could not be verified: {exc.message}", exc.hint)
        return self.found

    def _is(self, state: str, message: str, hint: str = "") -> None:
        self.found.update(state=state, message=message, hint=hint)

    def _look(self) -> None:
        if not self.device.get("host"):
            self._is(SKIPPED, "the device has no address to be asked at", "set `host` in its section of ops/k1ctl.toml")
            return
        if not (self._back() and self._right_build()):
            return
        seconds = float(self.job.get("soak") or 0.0)
        if seconds:
            self._soak(seconds)
        else:
            self._is(OK, f"back in {format_duration(self.found['back_seconds'])}")

    # back, and the same one

    def _back(self) -> bool:
        """Wait until the right device answers with the uptime of another start."""
        self.say("stage restart")
        start = time.monotonic()
        limit, why, stays = float(self.device.get("boot_timeout", BOOT_SECONDS)), "no answer", False
        while (left := start + limit - time.monotonic()) > 0:
            self._pause(_ALIVE_NAP if stays else _NAP)
            seconds, asked = min(max(left, 0.001), self.patience), time.monotonic()
            try:
                health = get_json(str(self.device["host"]), int(self.device["http_port"]), "/api/health", seconds)
                after = health.get("uptime_ms") if isinstance(health, dict) else None
                again = self.another_start(after, asked)
                stays = again is False
                self.found["restarted"] = again
                if stays:
                    why = "it answers, and has not restarted: it runs what it ran before"
                    continue
                passed, heard = round(time.monotonic() - start, 3), time.monotonic()
                right = self._same(limit - passed)
                self.found.update(back_seconds=passed)
                self.told.update(uptime_after_ms=after, restarted=again, back_seconds=passed)
                self.health = (after, heard) if isinstance(after, int) else None
                return right
            except RateLimited:
                stays, why = True, "it answers 429 only: something polls it too often"
            except K1ctlError as exc:
                why, stays = exc.message, False
        self._not_back(limit, why, stays)
        return False

    def another_start(self, uptime_ms: Any, asked: float) -> bool | None:
        """Whether the uptime told to a question at ``asked`` is of another start than the probe's; None: not known."""
        before, probed = self.told.get("uptime_before_ms"), self.told.get("probed_monotonic")
        if not (isinstance(uptime_ms, int) and isinstance(before, int) and isinstance(probed, float)):
            return None
        return restarted(before, uptime_ms, asked - probed)

    def _same(self, left: float) -> bool:
        """Whether it is the device that was flashed, by what is configured and by what it said before."""
        host, seconds = f"{self.device['host']}:{self.device['http_port']}", max(min(left, self.patience), 1.0)
        self.info = self._info(seconds)
        now = read(host, self.info, 0.0)
        configured = difference(self.device, now.identity, now.mac)
        before = {"identity": self.told.get("device_identity") or "", "mac": self.told.get("device_mac") or ""}
        if configured:
            why, hint = configured
        elif difference({**self.device, **before}, now.identity, now.mac):
            was = f"{before['identity']} {before['mac']}".strip()
            why, hint = f"it is {now.identity} {now.mac}, and was {was} before", "set `mac` in the device's section"
        else:
            return True
        self._is(WRONG_DEVICE, f"another device answers there now: {why}", hint)
        return False

    def _info(self, seconds: float) -> Any:
        """What `INFO` tells, by its route's other name where it has one: that has a rate limit of its own, so that the
        next upload's probe need not wait for ours."""
        try:
            return get_json(str(self.device["host"]), int(self.device["http_port"]), OTHER_INFO, seconds)
        except (BadAnswer, RateLimited):
            return document(self.device, INFO, seconds)

    def _not_back(self, limit: float, why: str, stays: bool) -> None:
        text = f"not back in {format_duration(limit)}: {why}"
        if stays:
            self._is(NOT_BACK, text, "k1ctl device health says how it is; a restart starts what is in its flash")
            return
        self._crashed(NOT_BACK, text)

    def _crashed(self, state: str, text: str, *, loops: bool = False) -> None:
        """``state``, or `NEEDS_USB` where its console says that it crashes, or where it was seen to start over and
        over."""
        self.say("stage console")
        heard = crashes.look(self.device, self.folder, self.stop, self.job)
        self.found["boot_log"] = heard.path
        if heard.crashes or loops:
            what = f"; its console: {heard.what}" if heard.what else ""
            way = " --via usb" if loops else ""  # it answers now and then, which is too little for an update
            hint = f"the image crashes: k1ctl device rollback{way} puts the last good one back, over USB"
            if not heard.there:
                hint += " (connect its cable to this host first)"
            self._is(NEEDS_USB, f"{text}{what}", hint)
        else:
            self._is(state, text, heard.hint)

    # the right build

    def _right_build(self) -> bool:
        """Whether it tells the build that was sent, where it is configured to tell one."""
        build = self.job.get("build") or {}
        if not build.get("ids"):
            return True
        word = self.build_id(self.info)
        matches = buildid.matches(word, build["ids"], build["rule"])
        self.found["build_id"] = word = clean(word)[:_LONGEST]
        if matches:
            return True
        said = f"it says that it runs {word}" if word else "it tells no build id"
        hint = "did its bootloader go back to the image before? its console says (k1ctl device console)"
        self._is(WRONG_BUILD, f"{said}, not {build['ids'][0][:16]}", hint)
        return False

    def build_id(self, info: Any = None) -> str:
        """What the device tells where ``build_id`` says, "" for nothing; ``info``: its answer on that route, when it is
        there already. Raises UnreachableError, RateLimited, BadAnswer."""
        path, keys = buildid.place(str(self.device["build_id"]))
        known = info if path == INFO and info is not None else document(self.device, path, self.patience)
        return buildid.told(known, keys)

    # the soak

    def _soak(self, seconds: float) -> None:
        self.say("stage soak")
        soak = Soak(self.device, seconds, self.health, self.patience)
        self.found["soak"] = soak.figures
        try:
            soak.run(self._pause, lambda passed, fps: self.say(f"soak {passed:.1f} {seconds:g} {fps}"))
        except Broken as exc:
            if exc.silent or exc.loops:
                self._crashed(SOAK_FAILED, exc.message, loops=exc.loops)
            else:
                self._is(SOAK_FAILED, exc.message, exc.hint)
            return
        self._is(OK, f"back in {format_duration(self.found['back_seconds'])}, {soak.text()}")

    def _pause(self, seconds: float) -> None:
        if select.select([self.stop.fd], [], [], max(seconds, 0.0))[0]:
            raise _Stopped


def main(argv: list[str]) -> int:
    """Verify the flash that ``argv[0]`` (a run folder) tells of as installed, and add what is seen to its outcome.

    Returns 0, or 65 where it tells of none.
    """
    import signal

    from k1ctl.device.flash import JOB, OUTCOME, Flash
    from k1ctl.device.stop import StopRequest
    from k1ctl.files import read_json, write_json

    stop = StopRequest()
    stop.on_signal(signal.SIGTERM, signal.SIGINT)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    job, told = (read_json(os.path.join(argv[0], name)) for name in (JOB, OUTCOME))
    if not isinstance(job, dict) or not isinstance(told, dict) or told.get("outcome") != "installed":
        Flash.say(f"{argv[0]} tells of no flash that was installed")
        return WrongDataError.exit_code
    told["verification"] = Verification(job, told, argv[0], stop, Flash.say).run()
    write_json(os.path.join(argv[0], OUTCOME), told, fsync=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
