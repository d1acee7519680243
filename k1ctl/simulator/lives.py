"""What becomes of the simulated device after an update over the network where a fault keeps it from staying up."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.simulator.faults import Faults


class Lives:
    """The starts that follow one: each life of ``seconds``, then away for ``reboot`` seconds, ``restarts`` times."""

    def __init__(self, seconds: float = float("inf"), reboot: float = 0.0, restarts: float = 0.0) -> None:
        self.seconds, self.period, self.restarts = seconds, seconds + reboot, restarts

    def at(self, since: float) -> tuple[int, float, bool]:
        """(Restarts so far, seconds into this life, whether it answers), ``since`` seconds after the first start."""
        if since < self.seconds or not self.restarts:
            return 0, since, True
        number = int(min(since // self.period, self.restarts))
        into = since - number * self.period
        if into >= self.seconds and number < self.restarts:
            return number + 1, into - self.period, False
        return number, into, True


STAYS = Lives()


def after_update(faults: Faults, update: int, reboot: float) -> Lives:
    """The lives of a device that has taken its update number ``update`` (0: none)."""
    if not update:
        return STAYS
    loop, once = faults.value("boot-loop", update), faults.value("restart-after", update)
    if loop is not None:
        return Lives(loop, reboot, float("inf"))
    return STAYS if once is None else Lives(once, reboot, 1)
