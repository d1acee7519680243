"""Expected failures: each has a text code, an exit code, a sentence and a hint."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs 7 ms, and this module is on every path
if TYPE_CHECKING:
    from typing import Any

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "the work itself failed (build broke, image refused)",
    2: "usage",
    64: "unknown run target",
    65: "the data or the device is not the right one",
    69: "device unreachable",
    70: "a bug in k1ctl (a report file is named)",
    75: "not now: busy, no capacity, over budget, wait timed out",
    76: "outcome unknown",
    77: "skipped",
    78: "bad configuration",
    124: "ran past its limit",
    126: "tool not executable",
    127: "tool not found",
    128: "128+N: killed by signal N",
}


class K1ctlError(Exception):
    """An expected failure, shown to the user as one line and a hint.

    Arguments: ``message`` what went wrong and why; ``hint`` what to do next; ``code`` the text code used in JSON,
    events and docs (default: the class's); ``details`` further JSON-able facts.
    """

    exit_code = 1
    code = "failed"

    def __init__(self, message: str, *, hint: str = "", code: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or type(self).code
        self.details = details

    def document(self) -> dict[str, Any]:
        """The one JSON shape of an error."""
        error = {"code": self.code, "message": self.message, "hint": self.hint, "exit_code": self.exit_code}
        return {"ok": False, "error": {**error, **self.details}}


class UsageError(K1ctlError):
    """The call itself is wrong."""

    exit_code = 2
    code = "usage"


class UnknownTargetError(K1ctlError):
    """A run target that is not configured (64, as the old scripts had it)."""

    exit_code = 64
    code = "unknown-target"


class WrongDataError(K1ctlError):
    """The image, the artifact or the device is not the right one."""

    exit_code = 65
    code = "wrong-data"


class UnreachableError(K1ctlError):
    """The device does not answer."""

    exit_code = 69
    code = "device-offline"


class BusyError(K1ctlError):
    """Not now: the caller may try again later."""

    exit_code = 75
    code = "busy"


class OutcomeUnknownError(K1ctlError):
    """The work may or may not have been done."""

    exit_code = 76
    code = "outcome-unknown"


class ConfigError(K1ctlError):
    """The configuration, or the place k1ctl is asked to work in, cannot be used."""

    exit_code = 78
    code = "bad-configuration"


class TimedOutError(K1ctlError):
    """The command ran past its limit."""

    exit_code = 124
    code = "timed-out"


class NotExecutableError(K1ctlError):
    """A tool is there but cannot be run."""

    exit_code = 126
    code = "not-executable"


class NotFoundError(K1ctlError):
    """A tool is not there."""

    exit_code = 127
    code = "tool-missing"
