"""What a run is asked to be."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.leash import Limits
    from k1ctl.capacity.need import Need


DEVICE = "K1CTL_DEVICE"  # environment of a command: the device of a group that it was let in for
PROMISE = "K1CTL_PROMISE"  # environment of a command: the promises it runs under, "NUMBER RUN FOLDER" a line
DEFAULT_DEVICE = "K1CTL_DEFAULTS_DEVICE"  # the setting, so that our own commands below mean that one, too
_WORK = ("build", "queue-run", "queue-submit", "hook-run")  # kinds of runs that wait where memory runs short
_SCRIPTED = ("bash", "bun", "dash", "deno", "fish", "ksh", "lua", "node", "perl", "php", "python", "ruby", "sh", "zsh")
_NAMING = ("cargo", "docker", "go", "npm", "npx", "pio", "pnpm", "podman", "poetry", "uv", "uvx", "yarn")
_WRAPPING = ("env", "ionice", "nice", "nohup", "setsid", "stdbuf", "sudo", "time", "timeout", "xargs")
_NO_WORK = ("device", "console", "usb", "tree", "port")  # kinds of resources that make no work for the host


class RunSpec:
    """One run: the command, what it needs, and the rules it runs by.

    ``kind`` (queue-run, build, upload); ``argv`` the command; ``resources`` {name: slots}; ``cwd``; ``env`` (None: the
    caller's); ``need`` of the host, promised behind the place in line (None: nothing), ``soft`` when nobody named it
    (`k1ctl.capacity.gate.promise`); the ``limits`` it is kept to (None: none); ``wait`` seconds in line at most (None:
    no limit); ``timeout`` seconds an attempt at most; ``priority`` by name; ``attempts`` in all, ``delay`` seconds
    before the second, doubled each time when ``backoff`` is ``exponential``; ``retry_on`` exit codes worth another
    attempt (None: any but 0); ``key`` keeps the place for a later call; ``on_caller_exit`` ``stop`` or ``keep``;
    ``result`` a file for the JSON result; ``detached``: nobody's call, it waits and works on its own; ``details`` what
    the record keeps beside, ``class`` among it. ``device`` is the one it was let in for, by name, where ``resources``
    left that open; the command has it as `DEVICE`.
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
        "limits",
        "need",
        "on_caller_exit",
        "priority",
        "resources",
        "result",
        "retry_on",
        "soft",
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
        need: Need | None = None,
        soft: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.kind, self.argv, self.resources, self.cwd, self.env = kind, argv, resources, cwd, env
        self.wait, self.timeout, self.priority = wait, timeout, priority
        self.attempts, self.delay, self.backoff, self.retry_on = attempts, delay, backoff, retry_on
        self.key, self.label, self.on_caller_exit, self.result = key, label, on_caller_exit, result
        self.detached = detached
        self.details = details or {}
        self.device = ""
        self.need, self.soft, self.limits = need, soft, limits

    @property
    def gated(self) -> bool:
        """Whether the host has to have room for it: it needs something, or is work that a watermark holds back."""
        if self.need:
            return True
        if self.kind == "capacity-run":
            return self.priority != "critical"
        if self.kind not in _WORK or self.priority == "critical":
            return False
        return any(r.partition(":")[0] not in _NO_WORK for r in self.resources)

    @property
    def class_(self) -> str:
        """Its class in the history of what runs of its kind take; "" where nothing tells its work from another's."""
        if self.details.get("class"):
            return str(self.details["class"])
        if self.kind == "build":
            return f"build:{self.details.get('target', '')}"
        name = self.label or work(self.argv)
        return f"run:{name}" if name else ""

    def same(self) -> dict[str, Any]:
        """Every field by name, for comparing and for records."""
        return {name: getattr(self, name) for name in self.__slots__}


def work(argv: list[str]) -> str:
    """What a command does, by name: its program, the script or module of an interpreter, the task of a runner
    (``npm run build``); "" for what stands on the command line itself, as with ``sh -c``, and behind a wrapper.

    No other word of a command is taken: names are kept, shown, and as many as there are kinds of work.
    """
    program, *words = argv
    program = os.path.basename(program)
    plain = program.rstrip("0123456789.")
    first = words[0] if words else ""
    if plain in _WRAPPING:
        return ""
    if plain in _SCRIPTED:
        if first == "-m" and len(words) > 1:
            return words[1]
        return os.path.basename(first) if not first.startswith("-") else ""
    if plain in _NAMING and first and not first.startswith("-"):
        task = words[1] if first == "run" and len(words) > 1 and not words[1].startswith("-") else ""
        return " ".join(os.path.basename(word) for word in (program, first, task) if word)
    return program
