"""A command with a hold of its own: begun once the budget is held, settled by what it says it used."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from k1ctl.budget.holds import RUN_TTL
from k1ctl.budget.tokens import CLASSES, MOST, Usage
from k1ctl.budget.waiting import reserve
from k1ctl.errors import K1ctlError, NotExecutableError, NotFoundError, UsageError
from k1ctl.output import say

if TYPE_CHECKING:
    from k1ctl.budget.holds import Hold
    from k1ctl.budget.ledger import Ledger

HOLD, USAGE = "K1CTL_BUDGET_HOLD", "K1CTL_BUDGET_USAGE"
_LIMIT = 1 << 20  # bytes of a file of usage
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by Python; a command expects the usual


class Call:
    """One run of ``command`` for ``who`` (agent, task, pool, model, critical) with ``estimate`` tokens."""

    def __init__(self, ledger: Ledger, command: list[str], estimate: int, who: dict[str, Any]) -> None:
        self.ledger, self.command, self.estimate, self.who = ledger, command, estimate, who

    def run(self, wait: float, settle_from: str, settle_by: str) -> int:
        """Do it; the exit code. Raises BusyError (budget-exhausted), NotFoundError, NotExecutableError, K1ctlError."""
        from k1ctl.budget.holds import new_id

        id_ = new_id(self.ledger.clock()[0])
        usage = os.path.abspath(settle_from) if settle_from else self._usage_file(id_)
        if settle_from:
            _check_file(usage)
        child = _Child(self.command, {HOLD: id_, USAGE: usage})
        try:
            hold = reserve(self.ledger, self.estimate, wait=wait, ttl=RUN_TTL, owner=child.pid, id=id_, **self.who)
            if settle_from:
                _check_file(usage, "w")  # what an earlier run left must not be taken for this one's
        except BaseException:
            child.give_up()
            raise
        failure = child.begin()
        if failure is not None:
            self.ledger.release(hold.id)
            raise failure
        child.ended()
        try:
            self._settle(hold, usage, settle_by)
        except K1ctlError as exc:
            say(f"k1ctl: what was used is not booked: {exc.message}")
            say(f"hint: once that is mended: k1ctl budget settle {hold.id} TOKENS; what it told is in {usage}")
        else:
            if not settle_from:
                _remove(usage)
        return child.wait()

    def _usage_file(self, id_: str) -> str:
        folder = self.ledger.workspace.ops_path("cache", "budget")
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, f"{id_}.json")

    def _settle(self, hold: Hold, usage: str, settle_by: str) -> None:
        from k1ctl.budget.limits import amount

        used, micro_usd = None, None
        try:
            told = read_usage(usage)
            if told is not None:
                used, micro_usd = told
        except ValueError as exc:
            say(f"k1ctl: {usage} is no usage: {exc}")
        if used is None and settle_by == "sync":
            self.ledger.release(hold.id)
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
        for number in _FORWARDED:
            signal.signal(number, self._forward)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the command as well
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self.status = os.waitpid(self.pid, 0)[1]

    def wait(self) -> int:
        """The exit code of one that has ended, 128+N for a signal."""
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


def read_usage(path: str) -> tuple[int | Usage, int | None] | None:
    """(what was used, micro-dollars or None) by a file of JSON documents; None where it has none. Raises ValueError."""
    from k1ctl.jsontext import loads

    try:
        with open(path, encoding="utf-8") as f:
            text = f.read(_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ValueError(exc.strerror) from None
    if len(text) > _LIMIT:
        raise ValueError(f"more than {_LIMIT} bytes")
    if not text.strip():
        return None
    try:
        documents = [loads(text, bounded=True)]
    except ValueError:
        documents = [loads(line, bounded=True) for line in text.splitlines() if line.strip()]
    usage, tokens, usd = Usage(), 0, None
    for document in documents:
        found = _usage(document)
        if isinstance(found, Usage):
            usage += found
        else:
            tokens += found
        if "usd" in document:
            usd = (usd or 0) + round(document["usd"] * 1_000_000)
    if tokens > MOST or (usd or 0) > MOST:
        raise ValueError("more than anybody uses")
    if tokens and usage:
        raise ValueError("tokens in all and by class; name either")
    return (tokens if tokens else usage), usd


def _usage(document: Any) -> int | Usage:
    if not isinstance(document, dict) or not ({"tokens", *CLASSES} & document.keys()):
        raise ValueError(f"has none of tokens, {', '.join(CLASSES)}")
    numbers = {name: document[name] for name in ("tokens", *CLASSES) if name in document}
    for name, number in numbers.items():
        if type(number) is not int or not 0 <= number < 10**15:
            raise ValueError(f"{name} is {str(number)[:40]!r}, and no number of tokens")
    usd = document.get("usd", 0)
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < 1e9:
        raise ValueError("usd is no number of dollars")
    if "tokens" in numbers:
        if len(numbers) > 1:
            raise ValueError("tokens in all and by class; name either")
        return int(numbers["tokens"])
    return Usage(**numbers)


def _check_file(path: str, mode: str = "a") -> None:
    """Whether a command can write there; with "w" it is emptied. Raises UsageError."""
    if os.path.exists(path) and not os.path.isfile(path):  # one end of a pipe would wait for the other
        raise UsageError(f"--settle-from {path} is no file", hint="a file that CMD will write")
    try:
        with open(path, mode):
            pass
    except OSError as exc:
        raise UsageError(f"--settle-from {path}: {exc.strerror}", hint="a file that CMD will write") from None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
