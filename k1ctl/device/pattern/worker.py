"""The worker of a pattern test: ``python -m k1ctl.device.pattern.worker RUN_DIR``.

It is started by a supervisor that holds the device's lease, in a process group of its own. It reads
``RUN_DIR/test.json``, prints plain lines, and leaves ``RUN_DIR/test-outcome.json``, written anew with each result.
Before the first change it writes the mark (`k1ctl.device.pattern.client.Mark`), and it puts back what it changed
however it ends; after a kill the supervisor does, and after a kill of both the next test.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

from k1ctl.device import guard, report
from k1ctl.device.pattern import baseline, client
from k1ctl.device.pattern.job import (
    CURRENT,
    EXIT_SKIPPED,
    FAILED,
    JOB,
    OUTCOME,
    PASSED,
    SKIPPED,
    VOID,
    nothing_measured,
)
from k1ctl.device.pattern.sampling import RestartedError, Sample, Watch
from k1ctl.errors import K1ctlError, UnreachableError, UsageError, WrongDataError
from k1ctl.files import read_json, write_json
from k1ctl.units import format_duration, rfc3339

_UNDO_SECONDS = 20.0
_CHANGED = ("pattern-changed", "parameters-changed")
_LOOK_SECONDS = 0.2  # between two looks whether the supervisor lives


class Stopped(BaseException):
    """^C or TERM arrived."""


class NoTimeLeft(BaseException):
    """What is put back takes too long; no Exception, so that no request takes it for one of its own."""


class PatternTest:
    """One test: its job, its outcome file and what it prints."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.job: dict[str, Any] = read_json(os.path.join(folder, JOB)) or {}
        self.signal = 0
        self.armed = False
        self.mark: client.Mark | None = None
        self.rest: client.Rest | None = None
        self.watch: Watch | None = None
        self.shown: dict[str, Any] | None = None  # the result of the pattern that the device shows
        self.record: dict[str, Any] = {
            "state": "running",
            "pid": os.getpid(),
            "code": "",
            "message": "",
            "hint": "",
            "exit_code": 1,
            "attempts": 0,
            "device_identity": "",
            "device_mac": "",
            "results": [],
            "restored": None,
        }

    def told_to_end(self, number: int, _frame: object) -> None:
        """Signal handler: breaks off what is under way, once; what is put back is not broken off."""
        self.signal = self.signal or number
        if self.armed:
            self.armed = False
            raise Stopped

    def run(self) -> int:
        """Do it and record how it ended; returns the exit code."""
        failure: Exception | None = None
        try:
            self.armed = True
            try:
                self._test()
            except Exception as exc:
                failure = exc
            self.armed = False
        except Stopped:
            pass
        self._put_back(failure)
        self._end(failure)
        return int(self.record["exit_code"])

    # what is done

    def _test(self) -> None:
        device = self.job["device"]
        self._guard(guard.guard_key(device))
        rest = self.rest = self._reach(device)
        self._undo_an_earlier_one(rest)
        self.watch = Watch(rest, self.job["test"]["lost"])
        self.watch.look()
        known = client.listed(rest)
        shown = client.settled(rest)
        wanted = self._wanted(known, shown)
        before = {word: baseline.read(self.job["baselines"], word) for word in wanted}
        mark = {"run": self.job["run"], "pattern": shown, "parameters": client.all_parameters(rest), "selected": []}
        self.mark = client.Mark(self.job["mark"], {**mark, "restarted": False})
        self.record["results"] = [self._row(word, known[word]) for word in wanted]
        for row in self.record["results"]:
            self._one(rest, row, before[row["pattern"]])
            self._write()
            if row["code"] in _CHANGED:
                return  # a person uses the device: the rest is left out

    def _guard(self, key: str) -> None:
        path = guard.guard_path(key, str(self.job.get("host_dir") or ""))
        if not guard.covered(path):
            workspace, run = str(self.job.get("workspace", "")), str(self.job.get("run", ""))
            guard.acquire(path, float(self.job["guard_timeout"]), workspace=workspace, run=run)

    def _reach(self, device: dict[str, Any]) -> client.Rest:
        """Make sure that the right device is there, in so many attempts. Raises what the last one said."""
        rules = self.job["test"]
        for number in range(1, max(1, rules["attempts"]) + 1):
            self.record["attempts"] = number
            try:
                rest, found = client.reach(device)
                break
            except UnreachableError as exc:
                last = number >= rules["attempts"]
                again = "" if last else f"; again in {format_duration(rules['delay'])}"
                self.say(f"attempt {number} of {rules['attempts']}: {exc.message}{again}")
                if last:
                    exc.details["skip"] = True
                    raise
                time.sleep(rules["delay"])
        self.record.update(device_identity=found.identity, device_mac=found.mac)
        if found.mac and guard.guard_key(device, found.mac) != guard.guard_key(device):
            self._guard(guard.guard_key(device, found.mac))  # another repository may know it by its MAC
        return rest

    def _undo_an_earlier_one(self, rest: client.Rest) -> None:
        left = client.left_mark(self.job["mark"])
        if left is None:
            return
        try:
            message = client.put_back(rest, left)["message"]
        except client.NotShownError as exc:  # as of a firmware that has this pattern no more
            message = f"{left.pattern} is given up: {exc.message}"
        left.remove()
        self.say(f"the test of run {left.run} did not put the pattern back: {message}")

    def _wanted(self, known: dict[str, str], shown: str) -> list[str]:
        if self.job["all"]:
            return list(known)
        wanted = list(dict.fromkeys(shown if word == CURRENT else word for word in self.job["patterns"]))
        for word in wanted:
            if word not in known:
                close = client.near(word, known)
                meant = f"; did you mean {' or '.join(close)}?" if close else ""
                raise UsageError(
                    f"{self.job['device']['name']} has no pattern {word!r}{meant}",
                    hint=f"it has: {', '.join(list(known)[:60])}",
                    code="unknown-pattern",
                    near=close,
                )
        return wanted

    def _row(self, word: str, name: str) -> dict[str, Any]:
        row = {"pattern": word, "name": name, "state": SKIPPED, "code": "not-reached", "message": "it was not begun"}
        return {**row, "seconds": 0.0, **nothing_measured()}

    def _one(self, rest: client.Rest, row: dict[str, Any], before: dict[str, Any] | None) -> None:
        """Show one pattern, sample it and judge it. Raises UnreachableError once the device is lost."""
        assert self.mark is not None and self.watch is not None
        word, rules, begun = row["pattern"], self.job["test"], time.monotonic()
        sample = Sample(rest, word, self.watch)
        row.update(baseline=before and before["baseline"], state=VOID, code="sample-void", message="it was broken off")
        try:
            self._mark(word)
            self.say(f"{word}: sampling for {format_duration(rules['duration'])}")
            self._look()
            self._show(rest, self.watch, row)
            time.sleep(rules["settle"])
            sample.take(rules["duration"])
            self._parameters_are_the_same(rest)
            self._judge(row, sample, before)
        except RestartedError as exc:
            self._restarted(exc)
        except UnreachableError as exc:
            row.update(code=exc.code, message=exc.message)
            raise
        except K1ctlError as exc:
            row.update(code=exc.code, message=exc.message)
            if exc.code in _CHANGED:
                self._look()  # a start changes them, too
        finally:
            row.update(seconds=round(time.monotonic() - begun, 3), details=sample.details())
            row["figures"] = row["figures"] or sample.figures()
            self.say(f"{word}: {row['state']}{': ' if row['message'] else ''}{row['message']}")

    def _mark(self, word: str) -> None:
        assert self.mark is not None
        if word not in self.mark.selected:
            self.mark.selected.append(word)
        self.mark.save()

    def _show(self, rest: client.Rest, watch: Watch, row: dict[str, Any]) -> None:
        """Show the pattern of ``row``, once more where an answer got lost."""
        word, self.shown = row["pattern"], row
        watch.during = f"while {word} was shown"
        try:
            client.show(rest, word)
        except UnreachableError as exc:
            watch.until_back(exc)
            client.show(rest, word)

    def _look(self) -> None:
        """Notice also what happened behind a sample. Raises UnreachableError."""
        assert self.watch is not None
        try:
            self.watch.look()
        except RestartedError as exc:
            self._restarted(exc)
            self.say(f"{self.shown['pattern']}: {FAILED}: {exc.message}" if self.shown else exc.message)

    def _restarted(self, exc: RestartedError) -> None:
        """The pattern that was shown fails; the device gets the parameters back that it keeps in RAM."""
        assert self.mark is not None and self.rest is not None
        if self.shown is not None:
            self.shown.update(state=FAILED, code=exc.code, message=exc.message)
        self.mark.restarted = True
        self.mark.save()
        try:
            client.put_parameters_back(self.rest, self.mark)
        except K1ctlError as failed:  # the end tries it again
            self.say(f"its parameters are not yet as before the restart: {failed.message}")

    def _parameters_are_the_same(self, rest: client.Rest) -> None:
        assert self.mark is not None
        now, before = client.parameters(rest), self.mark.parameters
        changed = sorted(name for name in now if now[name] != before.get(name, now[name]))
        if changed:
            what, code = "somebody else changed parameters meanwhile", "parameters-changed"
            if self.mark.restarted:
                what, code = "parameters are not yet as before the restart", "parameters-lost"
            raise K1ctlError(f"{what}: {', '.join(changed[:5])}", code=code)

    def _judge(self, row: dict[str, Any], sample: Sample, before: dict[str, Any] | None) -> None:
        figures = row["figures"] = sample.figures()
        found = baseline.compare(figures, before, self.job["test"]["regression"])
        assert self.mark is not None
        other = baseline.other_parameters(before, self.mark.parameters)
        if self.job["record"]:  # it replaces the baseline; limits that a person set still hold
            found = [finding for finding in found if finding["kind"] == "threshold"]
        row["findings"] = found
        row["warnings"] = [f"the device gave {baseline.figure_text(n, None)}" for n, v in figures.items() if v is None]
        if other and not self.job["record"]:
            row["warnings"].append(f"not set as when the baseline was recorded: {'; '.join(other)}")
        if found:
            code = "pattern-regression" if found[0]["kind"] == "regression" else "pattern-limit"
            row.update(state=FAILED, code=code, message="; ".join(baseline.finding_text(f) for f in found))
            return
        if self.job["record"]:
            baseline.record(self.job["baselines"], row["pattern"], figures, before, self.mark.parameters)
            row["recorded"] = True
        elif before is None:
            self._without_a_baseline(row)
            return
        row.update(state=PASSED, code="passed", message="")

    def _without_a_baseline(self, row: dict[str, Any]) -> None:
        text = "there is no baseline to compare with"
        row["warnings"].append(f"{text}: --record makes one")
        strict = self.job["strict"]
        row.update(state=FAILED if strict else PASSED, code="no-baseline" if strict else "passed")
        row["message"] = text if strict else ""

    # how it ends

    def _put_back(self, failure: Exception | None) -> None:
        """Undo what was changed; the mark stays where that fails, for the next test. A ``failure`` that tells that the
        device is lost has waited for it already."""
        if self.mark is None or not self.mark.selected or self.rest is None:
            return
        signal.signal(signal.SIGALRM, self._no_time)
        seconds = self.job["undo_seconds"] if self.signal else _UNDO_SECONDS
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            if not isinstance(failure, UnreachableError):
                self._look()
            self.record["restored"] = client.put_back(self.rest, self.mark)
            self.mark.remove()
        except (K1ctlError, OSError, NoTimeLeft) as exc:
            why = getattr(exc, "message", str(exc)) or f"it was not done in {format_duration(seconds)}"
            message = f"{self.mark.pattern} could not be put back: {why}; the next k1ctl device test tries it again"
            self.record["restored"] = {"pattern": self.mark.pattern, "state": "failed", "message": message}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.say(self.record["restored"]["message"])

    @staticmethod
    def _no_time(*_: object) -> NoReturn:
        raise NoTimeLeft

    def _end(self, failure: Exception | None) -> None:
        rows = self.record["results"]
        states = {row["state"] for row in rows}
        told: dict[str, Any] = {"code": "passed", "message": "", "hint": "", "exit_code": 0}
        if self.signal:
            told = {"code": "interrupted", "message": "the test was stopped", "exit_code": 128 + self.signal}
        elif failure is not None:
            told = self._failed(failure)
        elif states & {FAILED, VOID}:
            bad = [row["pattern"] for row in rows if row["state"] in (FAILED, VOID)]
            told = {"code": "pattern-failed", "message": f"not passed: {', '.join(bad)}", "exit_code": 1}
        self.record.update(told, state="ended", ended_at=rfc3339())
        try:
            self._write()
        except OSError as exc:
            self.say(f"{OUTCOME} could not be written: {exc.strerror}")

    def _failed(self, failure: Exception) -> dict[str, Any]:
        from k1ctl.failure import known_error

        error = known_error(failure, [])
        if error.code == "bug":
            report.trace(failure)
        told = {"code": error.code, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        if error.details.get("skip"):
            told.update(exit_code=EXIT_SKIPPED)
        return {**told, **{k: v for k, v in error.details.items() if k == "near"}}

    def _write(self) -> None:
        write_json(os.path.join(self.folder, OUTCOME), self.record)

    say = staticmethod(report.say)


def main(argv: list[str]) -> int:
    """Test what ``argv[0]`` (a run folder) describes; returns the exit code."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m k1ctl.device.pattern.worker RUN_DIR\n")
        return 2
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    test = PatternTest(argv[0])
    if not test.job:
        raise WrongDataError(f"{argv[0]}/{JOB} cannot be read", code="bad-job")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, test.told_to_end)
    threading.Thread(target=_end_with, args=(test.job["supervisor"],), daemon=True).start()
    return test.run()


def _end_with(supervisor: int) -> None:
    """TERM for a worker whose supervisor is gone: nobody reads what it finds, and others wait for the device."""
    while os.getppid() == supervisor:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
