"""An end to what foreign code does, also to a call that blocks."""

from __future__ import annotations


class CutOff:
    """Raises TimeoutError in the block after ``seconds`` (0: never) and, should the block catch that, every ``again``
    seconds more, by an alarm; only in a process's main thread, where alarms arrive."""

    def __init__(self, seconds: float, again: float = 1.0) -> None:
        self.seconds, self.again = seconds, again

    def __enter__(self) -> None:
        self.armed = False
        if not self.seconds:
            return
        import threading

        from k1ctl.signals import signals

        self.armed = threading.current_thread() is threading.main_thread()
        if self.armed:
            self.before = signals.signal(signals.SIGALRM, self._end)
            signals.setitimer(signals.ITIMER_REAL, self.seconds, self.again)

    def _end(self, number: int, frame: object) -> None:
        raise TimeoutError(f"no end after {self.seconds:g} s")

    def __exit__(self, *exc: object) -> None:
        from k1ctl.signals import signals

        if self.armed:
            signals.setitimer(signals.ITIMER_REAL, 0)
            signals.signal(signals.SIGALRM, self.before)
