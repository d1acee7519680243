"""A command with a hold of its own: begun once the budget is held, settled by what it says it used."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from k1ctl.budget import told
from k1ctl.budget.holds import RUN_TTL, HoldEndedError
from k1ctl.budget.waiting import reserve
from k1ctl.errors import K1ctlError, NotExecutableError, NotFoundError, UsageError
from k1ctl.output import say

if TYPE_CHECKING:
    from k1ctl.budget.holds import Hold
    from k1ctl.budget.ledger import Ledger

HOLD, USAGE = "K1CTL_BUDGET_HOLD", "K1CTL_BUDGET_USAGE"
FOR_SYNC = 6 * 3600.0  # s that a hold is kept for `budget sync` after its command's end
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by Python; a command expects the usual


class Call:
    """One run of ``command`` for ``who`` (agent, task, pool, model, critical, micro_usd) with ``estimate`` tokens."""

    def __init__(self, ledger: Ledger, command: list[str], estimate: int, who: dict[str, Any]) -> None:
        self.ledger, self.command, self.estimate, self.who = ledger, command, estimate, who

    def run(self, wait: float, settle_from: str, settle_by: str) -> int:
        """Do it; the exit code. Raises BusyError (budget-exhausted), NotFoundError, NotExecutableError, K1ctlError."""
        from k1ctl.budget.holds import new_id

        id_ = new_id(self.ledger.clock()[0])
        own = told.path_of(self.ledger.workspace, id_)
        usage = os.path.abspath(settle_from) if settle_from else own
        if settle_from:
            _check_file(usage)
        os.makedirs(os.path.dirname(own), exist_ok=True)
        child, hold = _Child(self.command, {HOLD: id_, USAGE: usage}), None
        try:
            hold = reserve(self.ledger, self.estimate, wait=wait, ttl=RUN_TTL, owner=child.pid, id=id_, **self.who)
            if settle_from:
                _check_file(usage, "w")  # what an earlier run left must not be taken for this one's
                os.symlink(usage, own)  # for whoever settles it when this call was killed
        except BaseException:
            child.give_up()
            if hold is not None:
                self.ledger.release(id_)
            raise
        failure = child.begin()
        if failure is not None:
            self.ledger.release(hold.id)
            told.remove(own)
            raise failure
        child.ended()
        try:
            self._settle(hold, usage, settle_by)
        except K1ctlError as exc:
            say(f"k1ctl: what was used is not booked: {exc.message}")
            say(f"hint: once that is mended: k1ctl budget settle {hold.id} TOKENS; what it told is in {usage}")
        else:
            told.remove(own)
        return child.wait()

    def _settle(self, hold: Hold, usage: str, settle_by: str) -> None:
        from k1ctl.budget.limits import amount

        used, micro_usd = None, None
        try:
            used, micro_usd = told.read(usage) or (None, None)
        except ValueError as exc:
            say(f"k1ctl: {usage} is no usage: {exc}")
        if used is None and settle_by == "sync":
            try:
                self.ledger.extend(hold.id, FOR_SYNC, orphan=True)
            except HoldEndedError:
                pass  # somebody settled it, or sync will
            return
        settled = self.ledger.settle(hold.id, used, micro_usd=micro_usd)
        if settled.overrun:
            say(f"k1ctl: overrun: {amount(0, settled.overrun)} more than the {amount(0, hold.tokens)} held")


class _Child:
    """The command in a process that has not begun it yet: the hold can be its own from the start."""

    def __init__(self, command: list[str], variables: dict[str, str]) -> None:
        go, self.go = os.pipe()
        self.failed, failed = os.pipe()  # both end with an exec
        self.command, self.status = command, -1
        self.handlers: dict[int, Any] = {}
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(go)
            os.close(failed)
            return
        try:
            os.close(self.go)
            if os.read(go, 1):
                for number in _IGNORED:
                    signal.signal(number, signal.SIG_DFL)
                os.execvpe(command[0], command, {**os.environ, **variables})
        except OSError as exc:
            os.write(failed, str(exc.errno).encode())
        finally:
            os._exit(127)

    def give_up(self) -> None:
        """Nothing is run."""
        os.close(self.go)
        os.close(self.failed)
        os.waitpid(self.pid, 0)

    def begin(self) -> K1ctlError | None:
        """Run the command; why it could not be, None where it could."""
        os.write(self.go, b"g")
        os.close(self.go)
        told = os.read(self.failed, 16)
        os.close(self.failed)
        if not told:
            return None
        os.waitpid(self.pid, 0)
        name, number = self.command[0], int(told)
        if number == errno.ENOENT:
            return NotFoundError(f"{name} is not there", hint="nothing was run, and the budget is given back")
        return NotExecutableError(f"{name} cannot be run: {os.strerror(number)}", hint="the budget is given back")

    def ended(self) -> None:
        """Wait for its end. What ends this call is handed on. It stays a zombie, and the hold its own, until `wait`:
        nobody takes the hold back before it is settled. (macOS has waitid(2) from Python 3.13 on.)
        """
        self.handlers = {number: signal.signal(number, self._forward) for number in _FORWARDED}
        # a terminal sends it to the command as well
        self.handlers[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self.status = os.waitpid(self.pid, 0)[1]

    def wait(self) -> int:
        """The exit code of one that has ended, 128+N for a signal; signals do what they did before again."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if self.status < 0:
            self.status = os.waitpid(self.pid, 0)[1]
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code

    def _forward(self, number: int, frame: object) -> None:
        if self.status >= 0:
            return  # its number may be another's
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def _check_file(path: str, mode: str = "a") -> None:
    """Whether a command can write there; with "w" it is emptied. Raises UsageError."""
    if os.path.exists(path) and not os.path.isfile(path):  # one end of a pipe would wait for the other
        raise UsageError(f"--settle-from {path} is no file", hint="a file that CMD will write")
    try:
        with open(path, mode):
            pass
    except OSError as exc:
        raise UsageError(f"--settle-from {path}: {exc.strerror}", hint="a file that CMD will write") from None
