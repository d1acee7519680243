"""What a run is asked to be."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


DEVICE = "K1CTL_DEVICE"  # environment of a command: the device of a group that it was let in for
DEFAULT_DEVICE = "K1CTL_DEFAULTS_DEVICE"  # the setting, so that our own commands below mean that one, too


class RunSpec:
    """One run: the command, what it needs, and the rules it runs by.

    ``kind`` (queue-run, build, upload); ``argv`` the command; ``resources`` {name: slots}; ``cwd``; ``env`` (None: the
    caller's); ``wait`` seconds in line at most (None: no limit); ``timeout`` seconds an attempt at most; ``priority``
    by name; ``attempts`` in all, ``delay`` seconds before the second, doubled each time when ``backoff`` is
    ``exponential``; ``retry_on`` exit codes worth another attempt (None: any but 0); ``key`` keeps the place for a
    later call; ``on_caller_exit`` ``stop`` or ``keep``; ``result`` a file for the JSON result; ``detached``: nobody's
    call, it waits and works on its own; ``details`` what the record keeps beside. ``device`` is the one it was let in
    for, by name, where ``resources`` left that open; the command has it as `DEVICE`.
    """

    __slots__ = (
        "argv",
        "attempts",
        "backoff",
        "cwd",
        "delay",
        "detached",
        "details",
        "device",
        "env",
        "key",
        "kind",
        "label",
        "on_caller_exit",
        "priority",
        "resources",
        "result",
        "retry_on",
        "timeout",
        "wait",
    )

    def __init__(
        self,
        kind: str,
        argv: list[str],
        resources: dict[str, int],
        *,
        cwd: str = ".",
        env: dict[str, str] | None = None,
        wait: float | None = None,
        timeout: float | None = None,
        priority: str = "normal",
        attempts: int = 1,
        delay: float = 0.0,
        backoff: str = "fixed",
        retry_on: tuple[int, ...] | None = None,
        key: str = "",
        label: str = "",
        on_caller_exit: str = "stop",
        result: str = "",
        detached: bool = False,
        details: dict[str, Any] | None = None,
    ) -> None:
        self.kind, self.argv, self.resources, self.cwd, self.env = kind, argv, resources, cwd, env
        self.wait, self.timeout, self.priority = wait, timeout, priority
        self.attempts, self.delay, self.backoff, self.retry_on = attempts, delay, backoff, retry_on
        self.key, self.label, self.on_caller_exit, self.result = key, label, on_caller_exit, result
        self.detached = detached
        self.details = details or {}
        self.device = ""

    def same(self) -> dict[str, Any]:
        """Every field by name, for comparing and for records."""
        return {name: getattr(self, name) for name in self.__slots__}
