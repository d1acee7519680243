"""Which event says how what ended.

- ``build``: build.finished; where none came (never let in, the artifact could not be kept), run.ended of kind build
- ``upload``: upload.finished; where none came, run.ended of kind upload
- ``test``: test.finished, test.skipped; where none came, run.ended of kind device-test
- ``run``: run.ended of any other kind, which is the target: queue-run, queue-submit, hook-run, capacity-run

Each run counts once, by the first event that says how it ended; one whose supervisor was killed, and that nobody
settled since, counts not at all. A turn is what `k1ctl.capacity.turnlog` says. It counts (as good) when it is over:
with the workspace's next build, or four hours after its last work. Results:

- ``done``: exit 0
- ``failed``: the work itself (1), the wrong data or device (65), an unreachable device (69), an image that the device
  refused, one that it took and is not well with, a tool that is missing, a signal from outside, a bug
- ``timeout``: it ran past its limit (124)
- ``unknown``: nobody knows (76)
- ``refused``: k1ctl did not begin it: not now (75), a wrong call (2), a wrong configuration (78), an unknown target
  (64)
- ``cancelled``: somebody ended it: `queue cancel`, ^C, a caller that left
- ``skipped``: 77

For objectives done is good, failed, timeout and an upload's unknown are bad, and the others count on neither side.
"""

from __future__ import annotations

from k1ctl.device.afterwards import NEEDS_USB, NOT_BACK, SOAK_FAILED, WRONG_BUILD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Granted = tuple[float, float, dict[str, int], str]  # as k1ctl.capacity.turnlog.Runs has it

DONE, FAILED, TIMEOUT, UNKNOWN = "done", "failed", "timeout", "unknown"
REFUSED, CANCELLED, SKIPPED = "refused", "cancelled", "skipped"
RESULTS = (DONE, FAILED, REFUSED, UNKNOWN, CANCELLED, TIMEOUT, SKIPPED)
BUILD, UPLOAD, TEST, RUN, TURN = "build", "upload", "test", "run", "turn"

_KINDS = {"build": BUILD, "upload": UPLOAD, "device-test": TEST}
FINISHED = {"build.finished": BUILD, "upload.finished": UPLOAD, "test.finished": TEST, "test.skipped": TEST}
_CANCELS = ("cancelled", "queue-cancelled", "caller-gone", "caller-left", "caller-terminated", "interrupted")
_INTERRUPTED = 130  # 128 + SIGINT: also a command that ends itself so at ^C
_EXITS = {0: DONE, 2: REFUSED, 64: REFUSED, 75: REFUSED, 78: REFUSED, 76: UNKNOWN, 77: SKIPPED, 124: TIMEOUT}
_UPLOADS = {"installed": DONE, "unknown": UNKNOWN, "sending": UNKNOWN}
_TESTS = {"passed": DONE, "failed": FAILED, "skipped": SKIPPED}
_UNWELL = (NOT_BACK, WRONG_BUILD, NEEDS_USB, SOAK_FAILED)  # verifications of an image that did not do


class Outcome:
    """How something ended: ``at`` (RFC 3339), ``kind``, ``target``, ``result``, ``workspace``, ``run``, ``device``
    ("" where there is none), ``seconds`` it took and ``wait_seconds`` in line (None where not known), ``code``,
    ``message``."""

    __slots__ = (
        "at",
        "code",
        "device",
        "kind",
        "message",
        "result",
        "run",
        "seconds",
        "target",
        "wait_seconds",
        "workspace",
    )

    def __init__(
        self,
        at: str,
        kind: str,
        target: str,
        result: str,
        *,
        workspace: str = "",
        run: str = "",
        device: str = "",
        seconds: float | None = None,
        wait_seconds: float | None = None,
        code: str = "",
        message: str = "",
    ) -> None:
        self.at, self.kind, self.target, self.result = at, kind, target, result
        self.workspace, self.run, self.device = workspace, run, device
        self.seconds, self.wait_seconds, self.code, self.message = seconds, wait_seconds, code, message

    def document(self) -> dict[str, Any]:
        """The outcome as JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def verdict(kind: str, result: str) -> int:
    """For objectives: 1 good, -1 bad, 0 neither."""
    if result == DONE:
        return 1
    return -1 if result in (FAILED, TIMEOUT) or (kind == UPLOAD and result == UNKNOWN) else 0


def kind_of(event: dict[str, Any]) -> str:
    """The kind of work whose end the event tells; "" for events that tell of no end."""
    name = event["event"]
    if name == "run.ended":
        return _KINDS.get(str(event.get("kind")), RUN)
    return FINISHED.get(name, "")


def result_of(kind: str, event: dict[str, Any]) -> str:
    """How it ended, from an event that `kind_of` knows."""
    code, exit_code = str(event.get("code") or ""), event.get("exit_code")
    if code in _CANCELS or exit_code == _INTERRUPTED:
        return CANCELLED
    if event["event"] == "upload.finished":
        unwell = event.get("outcome") == "installed" and event.get("verification") in _UNWELL
        return FAILED if unwell else _UPLOADS.get(str(event.get("outcome")), _EXITS.get(exit_code or 1, FAILED))
    if event["event"] in ("test.finished", "test.skipped") and event.get("outcome") in _TESTS:
        return _TESTS[str(event["outcome"])]
    if not isinstance(exit_code, int):
        return UNKNOWN
    if event.get("by") == "command":  # its exit codes are its own
        return {0: DONE, 77: SKIPPED}.get(exit_code, FAILED)
    return _EXITS.get(exit_code, FAILED)


def target_of(kind: str, event: dict[str, Any], granted: Granted | None) -> str:
    """The target that was built or uploaded, the device that was tested, the kind of run."""
    if kind == RUN:
        return str(event.get("kind") or "")
    if kind == TEST:
        return device_of(event, granted)
    return str(event.get("target") or _resource("build:", granted))


def device_of(event: dict[str, Any], granted: Granted | None) -> str:
    """The device's name; "" where there is none."""
    device = event.get("device")
    name = device.get("name") if isinstance(device, dict) else device
    return str(name or _resource("device:", granted))


def seconds_of(
    kind: str, event: dict[str, Any], granted: Granted | None, epoch: Callable[[str], float]
) -> float | None:
    """How long it took: a build, a test and a run from their start, an upload from asking to the device's OK; None
    where nothing tells."""
    if event.get("seconds") is not None:
        return float(event["seconds"])
    if granted is None:
        return None
    if kind != UPLOAD:
        return max(0.0, epoch(event["at"]) - granted[0])
    if event.get("installed_at"):
        return max(0.0, epoch(event["installed_at"]) - granted[0] + granted[1])
    # one that was written before events told when the device said OK: what was watched afterwards is not the upload
    return max(0.0, epoch(event["at"]) - granted[0] + granted[1] - float(event.get("soak_seconds") or 0.0))


def _resource(kind: str, granted: Granted | None) -> str:
    return next((r.removeprefix(kind) for r in granted[2] if r.startswith(kind)), "") if granted else ""
