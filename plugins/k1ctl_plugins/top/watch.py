"""Events as they come, and looks at everything: in a thread of its own, which nobody waits for at the end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from k1ctl.errors import K1ctlError
from k1ctl.events_follow import Follower
from k1ctl.failure import words

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.overview import Overview

PULSE = 0.05  # s between two looks for events
_BATCH = 0.2  # s between two times that events are told: each draws the screen
_REST = (0.15, 0.3)  # s of rest after a picture: as long as it took, between these


class Watch(threading.Thread):
    """``tell`` runs a function with arguments in the thread of the screen; ``events`` gets what came, ``found`` each
    overview, ``failed`` why there was none.

    It looks when an event came, and every ``interval`` seconds without; not while ``holding``. A daemon: where a file
    system hangs, the screen and its keys do not, and its end is no wait.
    """

    def __init__(
        self,
        folder: str,
        look: Callable[[], Overview],
        interval: float,
        *,
        tell: Callable[..., object],
        events: Callable[[list[dict[str, Any]]], None],
        found: Callable[[Overview], None],
        failed: Callable[[str], None],
        kept: int,
    ) -> None:
        super().__init__(daemon=True, name="k1ctl-top-watch")
        self.follower, self.look, self.interval, self.kept = Follower(folder), look, interval, kept
        self._tell, self._events, self._found, self._failed = tell, events, found, failed
        self._over, self._wake = threading.Event(), threading.Event()
        self._untold: list[dict[str, Any]] = []
        self._told = 0.0  # when events were told, monotonic
        self.holding = False
        self.cost = 0.0  # s that the last look and its picture took
        self.began = 0.0  # when the look that is under way began, monotonic; 0: none is

    def stop(self) -> None:
        """Look no more; a look that is under way is not waited for."""
        self._over.set()
        self._wake.set()

    def now(self) -> None:
        """Look at once."""
        self._wake.set()

    def run(self) -> None:
        """Follow the events and look, each time when it is due, until `stop`."""
        try:
            self._first()
            looked = self._look()
            news = False
            while not self._over.is_set():
                asked = self._wake.wait(PULSE)
                self._wake.clear()
                news = self._follow() or news
                since = time.monotonic() - looked
                rest = min(max(self.cost, _REST[0]), _REST[1])
                if not self.holding and (asked or since >= self.interval or (news and since >= rest)):
                    news, looked = False, self._look()
        finally:
            self.follower.close()

    def _first(self) -> None:
        try:
            last = self.follower.last(self.kept // 5, lambda event: True)
        except OSError as exc:
            self._say(self._failed, words(exc))
        else:
            self._say(self._events, last)

    def _follow(self) -> bool:
        """Whether there were events; they are told, those that come fast together."""
        try:
            news = list(self.follower.news())
        except OSError:  # their folder was removed meanwhile: it may come back
            news = []
        self._untold = (self._untold + news)[-self.kept :]
        if self._untold and time.monotonic() - self._told >= _BATCH:
            told, self._untold = self._untold, []
            self._say(self._events, told)
            self._told = time.monotonic()
        return bool(news)

    def _look(self) -> float:
        """Look and tell; returns when that was over (monotonic)."""
        self.began = began = time.monotonic()
        try:
            found = self.look()
        except Exception as exc:  # whatever it is, the next look may succeed
            self.began = 0.0
            self._say(self._failed, words(exc) if isinstance(exc, K1ctlError | OSError) else repr(exc))
        else:
            self.began = 0.0
            self._say(self._found, found)
        done = time.monotonic()
        self.cost = done - began
        return done

    def _say(self, what: Callable[..., None], *given: object) -> None:
        """Have it done, and wait until it is: who draws slowly is not flooded."""
        done = threading.Event()

        def call() -> None:
            try:
                if not self._over.is_set():
                    what(*given)
            finally:
                done.set()

        if self._tell(call) is False:
            return
        while not done.wait(0.2):
            if self._over.is_set():
                return
