"""Work that goes on beside the caller's own: mostly waiting for a git."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

T = TypeVar("T")


def aside(work: Callable[..., T], *args: Any) -> Callable[[], T]:
    """Start ``work(*args)`` in a thread; what is returned waits for it, and returns or raises what it did.

    Lighter to start than `concurrent.futures`, for a command that does one or two such things.
    """
    from threading import Thread

    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(work(*args))
        except BaseException as exc:
            raised.append(exc)

    def wait() -> T:
        thread.join()
        if raised:
            raise raised[0]
        return returned[0]

    thread = Thread(target=run)
    thread.start()
    return wait
