"""The flash worker: ``python -m k1ctl.device.flash RUN_DIR``.

It is started by a supervisor that holds the lease, in a process group of its own. It reads ``RUN_DIR/flash.json``,
prints plain lines (``stage NAME``, ``progress SENT TOTAL``, ``taken BYTES TOTAL``) and leaves
``RUN_DIR/flash-outcome.json``, which says ``sending`` from before the invitation on: whoever finds that after a crash
knows that the outcome is not known.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from k1ctl.device import buildid, guard, login, ota, report
from k1ctl.device.afterwards import skipped
from k1ctl.device.http import resolve
from k1ctl.device.probe import INFO, Probe, check_identity, document, probe, read
from k1ctl.device.stop import StopRequest
from k1ctl.device.verify import Verification
from k1ctl.errors import K1ctlError, UnreachableError, WrongDataError
from k1ctl.files import read_bytes, read_json, write_json
from k1ctl.units import rfc3339

JOB, OUTCOME = "flash.json", "flash-outcome.json"
EXIT = {"installed": 0, "refused": 1, "unknown": 76}
EVIDENCE_SECONDS = 5.0  # how long a device whose final word was lost is asked for its uptime
_CODES = {"ota-interrupted": "interrupted", "ota-login-refused": "refused"}
_WORDS = {65: "wrong", 69: "unreachable", 75: "busy", 76: "unknown"}


def serve(kind: type[Flash], argv: list[str]) -> int:
    """Be the worker of this kind for ``argv[0]`` (a run folder); returns the exit code."""
    if len(argv) != 1:
        sys.stderr.write(f"usage: python -m {kind.__module__} RUN_DIR\n")
        return 2
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    stop = StopRequest()
    stop.on_signal(signal.SIGTERM, signal.SIGINT)
    return kind(argv[0], stop).run()


def main(argv: list[str]) -> int:
    """Flash what ``argv[0]`` (a run folder) describes; returns the exit code."""
    return serve(Flash, argv)


class Flash:
    """One flash: its job, its outcome file and what it prints."""

    def __init__(self, folder: str, stop: StopRequest) -> None:
        self.folder, self.stop = folder, stop
        self.job: dict[str, Any] = {}
        self.hint = ""  # what to do about an outcome that is not `installed`
        self.record: dict[str, Any] = {
            "transport": "ota",
            "outcome": "failed",
            "code": "",
            "message": "",
            "stage": "start",
            "exit_code": 1,
            "pid": os.getpid(),
            "attempt_at": rfc3339(),
            "transfer_seconds": None,
            "bytes": 0,
            "invitations": 0,
            "uptime_before_ms": None,
            "uptime_after_ms": None,
            "restarted": None,
            "device_identity": "",
            "device_mac": "",
            "probed_monotonic": None,  # when it had told its uptime, on the host's clock
        }
        self.there: dict[str, Any] = {}  # the device's settings, with the address that was flashed
        self.percent = {"progress": 0, "taken": 0}
        self.before = read_json(os.path.join(folder, OUTCOME))
        if isinstance(self.before, dict):  # what earlier attempts of this run left, so that a doubt is not forgotten
            mine = {key: self.before.get(key) for key in ("outcome", "code", "message", "attempt_at", "transport")}
            self.record["earlier"] = [*self.before.get("earlier", []), mine]

    def run(self) -> int:
        """Do it and record how it ended; returns the exit code."""
        if isinstance(self.before, dict) and self.before["outcome"] == "installed":
            # The attempt before was killed after the device's final OK: nothing is left to send, or to doubt.
            self.record = {**self.before, "earlier": self.record["earlier"], "pid": os.getpid()}
            self.job = read_json(os.path.join(self.folder, JOB)) or {}
            self._verified()
            self._end("installed", "installed", self.before["message"], 0)
            return 0
        try:
            done = self._flash()
            if done.outcome == "installed":
                self.record.update(code="installed", message=done.message, exit_code=0, installed_at=rfc3339())
                self._try_write(outcome="installed", fsync=True)
                self._verified()
            code, text = EXIT[done.outcome], {"installed": "installed", "refused": "image-refused"}
            self._end(done.outcome, text.get(done.outcome, "outcome-unknown"), done.message, code, self.hint)
        except K1ctlError as exc:
            word = _CODES.get(exc.code) or _WORDS.get(exc.exit_code, "failed")
            code = exc.exit_code
            self._end(word, exc.code, exc.message, code, exc.hint)
        except Exception as exc:
            from k1ctl.failure import known_error

            stage = self.record["stage"]
            word = {"transfer": "unknown", "verify": "unknown"}.get(stage, "failed")
            known = known_error(exc, [])
            code = EXIT.get(word, known.exit_code)
            self._end(word, known.code, known.message, code, known.hint)
            if known.code == "bug":
                report.trace(exc)
        return code

    def _flash(self) -> ota.Outcome:
        image = self._load()
        device = self.job["device"]
        self._guard(guard.guard_key(device))
        # One look-up for all of it: two boards may answer to one name, and what is probed must be what is flashed.
        there = self._resolved(device)
        password, local = login.configured(device), self._local(there)  # what is wrong with either is told in any case
        found = self._probe(device, there)
        if found.mac and guard.guard_key(device, found.mac) != guard.guard_key(device):
            # Somebody else may know this device by its MAC: always address first, MAC second, so nobody deadlocks.
            self._guard(guard.guard_key(device, found.mac))
        done = self._send(there, image, password, local)
        self.record.update(transfer_seconds=round(done.transfer_seconds, 6), invitations=done.invitations)
        self.record.update(bytes=done.bytes, md5=done.md5, host_port=done.host_port)
        if done.outcome == "unknown":
            self._stage("verify")
            done = self._evidence(there, done)
        return done

    def _load(self) -> bytes:
        """The job, and the image it names if its bytes are still those that were queued."""
        from hashlib import sha256

        job = read_json(os.path.join(self.folder, JOB))
        if not isinstance(job, dict):
            raise WrongDataError(f"{self.folder}/{JOB} cannot be read", code="bad-job")
        self.job = job
        image = read_bytes(job["image"])
        if image is None or sha256(image).hexdigest() != job["sha256"]:
            raise WrongDataError(
                f"{job['image']} is {'gone' if image is None else 'not what was queued'}",
                hint="upload again",
                code="image-changed",
            )
        self.record.update(image_kind=job.get("image_kind", "app"))
        self.record.update(sha256=job["sha256"], device=job["device"].get("name", ""), run=job.get("run", ""))
        return image

    def _guard(self, key: str) -> guard.Guard:
        self._stage("guard")
        path = guard.guard_path(key, str(self.job.get("host_dir") or ""))
        if guard.covered(path):
            return guard.Guard(path, -1)
        try:
            return guard.acquire(
                path,
                float(self.job.get("guard_timeout", self.job["ota"]["attempt_timeout"])),
                workspace=str(self.job.get("workspace", "")),
                run=str(self.job.get("run", "")),
                waiting=lambda who: self.say(f"waiting: the device is held by {who}"),
                stopped=lambda: self.stop.requested,
            )
        finally:
            self._check_stop()

    def _check_stop(self) -> None:
        if self.stop.requested:
            raise UnreachableError("stopped before anything was sent", code="ota-interrupted")

    def _resolved(self, device: dict[str, Any]) -> dict[str, Any]:
        """The device's settings with its address for its name."""
        self._stage("probe")
        host = str(device["host"])
        self.there = {**device, "host": resolve(host, float(device["probe_timeout"])) if host else host}
        return self.there

    def _probe(self, device: dict[str, Any], there: dict[str, Any]) -> Probe:
        found = probe(there)
        self.record.update(uptime_before_ms=found.uptime_ms, probed_monotonic=time.monotonic())
        self.record.update(device_identity=found.identity, device_mac=found.mac)
        check_identity(found, device)
        self._check_stop()
        return found

    def _local(self, device: dict[str, Any]) -> str:
        """The address of this host that the device is to connect back to; "" where the route decides."""
        if not device.get("interface"):
            return ""
        from k1ctl.device.interface import own_address

        return own_address(str(device["interface"]), str(device["host"]))

    def _send(self, device: dict[str, Any], image: bytes, password: login.Password | None, local: str) -> ota.Outcome:
        settings = self.job["ota"]
        limits = ota.Limits(
            int(settings["invitations"]),
            float(settings["invitation_interval"]),
            float(settings.get("connect_timeout", 10.0)),
            float(settings["idle_timeout"]),
            float(settings["attempt_timeout"]),
            float(settings.get("login_timeout", ota.DEFAULT_LIMITS.login)),
        )
        self._stage("invite")
        # Written and synced before the invitation: once the device has connected it waits one second for bytes, which
        # a sync on a busy disk may take.
        self._write(outcome="sending", fsync=True)
        return ota.send(
            str(device["host"]),
            int(device["ota_port"]),
            image,
            command=ota.FILESYSTEM if self.job.get("image_kind") == "filesystem" else ota.FIRMWARE,
            limits=limits,
            password=password,
            local=local,
            host_port=int(device.get("ota_host_port", 0)),
            progress=lambda sent, total: self._progress("progress", sent, total),
            taken=lambda taken, total: self._progress("taken", taken, total),
            connected=self._connected,
            stop=self.stop,
        )

    def _connected(self) -> None:
        self._stage("transfer")
        self._try_write(outcome="sending")

    def _progress(self, word: str, count: int, total: int) -> None:
        percent = count * 100 // total
        if percent >= self.percent[word] + 5 or count == total:
            self.percent[word] = percent - percent % 5
            self.say(f"{word} {count} {total}")

    def _evidence(self, device: dict[str, Any], done: ota.Outcome) -> ota.Outcome:
        """Look what became of a device that gave no final word: whether it restarted, which is no proof, and where it
        tells its build whether that is the one that was sent, which is."""
        end = time.monotonic() + float(self.job.get("evidence_seconds", EVIDENCE_SECONDS))
        check = self._check(device)
        while time.monotonic() < end and not self.stop.requested:
            asked = time.monotonic()
            try:
                info = document(device, INFO, min(end - time.monotonic(), float(device["probe_timeout"])))
                uptime = read(str(device["host"]), info, 0.0).uptime_ms
                again = check.another_start(uptime, asked)
                self.record.update(uptime_after_ms=uptime, restarted=again)
                if again:
                    return self._settled(check, done, info)
            except K1ctlError:
                pass
            time.sleep(0.1)
        return done

    def _settled(self, check: Verification, done: ota.Outcome, info: Any) -> ota.Outcome:
        build = self.job.get("build") or {}
        word = check.build_id(info) if build.get("ids") else ""
        if not (word and buildid.matches(word, build["ids"], build["rule"])):
            return done
        return done._replace(outcome="installed", message=f"its last word was lost; it restarted and runs build {word}")

    def _check(self, device: dict[str, Any]) -> Verification:
        return Verification({**self.job, "device": device}, self.record, self.folder, self.stop, self.say)

    def _verified(self) -> None:
        """Look what the device does now, holding the lease. What goes wrong with that changes nothing about the image:
        it is installed."""
        if self.record.get("verification"):
            return
        try:
            device = self.there or self.job["device"]
            self.record["verification"] = self._check(device).run()
        except Exception as exc:
            self.record["verification"] = skipped(f"the verification itself failed: {type(exc).__name__}: {exc}")
            report.trace(exc)

    def _stage(self, name: str) -> None:
        self.record["stage"] = name
        self.say(f"stage {name}")

    def _write(self, *, outcome: str, fsync: bool = False) -> None:
        self.record["outcome"] = outcome
        write_json(os.path.join(self.folder, OUTCOME), {**self.record, "at": rfc3339()}, fsync=fsync)

    def _try_write(self, *, outcome: str, fsync: bool = False) -> None:
        """As `_write`, but a full disk does not end a flash that has begun; the exit code still tells."""
        try:
            self._write(outcome=outcome, fsync=fsync)
        except OSError as exc:
            self.say(f"{OUTCOME} could not be written: {exc.strerror}")

    def _end(self, outcome: str, code: str, message: str, exit_code: int, hint: str = "") -> None:
        self.record.update(code=code, message=message, exit_code=exit_code, hint=hint)
        self.say(f"{outcome}: {message}")
        self._try_write(outcome=outcome, fsync=True)

    say = staticmethod(report.say)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
