"""The signal functions without the `signal` module's enums, which cost 3 ms at every start."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
else:
    import _signal as signals

__all__ = ["FOR_COMMANDS", "signals"]

# What k1ctl or Python handles or ignores, and a command that it starts finds as the system has it.
FOR_COMMANDS = [
    signals.SIGHUP,
    signals.SIGINT,
    signals.SIGTERM,
    signals.SIGPIPE,
    signals.SIGUSR1,
    signals.SIGCHLD,
    signals.SIGXFSZ,
]
