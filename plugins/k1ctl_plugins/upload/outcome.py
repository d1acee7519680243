"""What became of a flash: what its worker and supervisor left behind, as one document or as an error."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from k1ctl.errors import BusyError, ConfigError, K1ctlError, OutcomeUnknownError, UnreachableError, WrongDataError
from k1ctl.files import read_json
from k1ctl_plugins.upload import verification

if TYPE_CHECKING:
    from k1ctl.process.record import Run

UNKNOWN, UNREACHABLE = OutcomeUnknownError.exit_code, UnreachableError.exit_code
_ERRORS = {e.exit_code: e for e in (WrongDataError, UnreachableError, BusyError, OutcomeUnknownError, ConfigError)}
_DOUBTFUL = ("sending", "unknown")
_FACTS = ("run", "transport", "outcome", "attempts", "earlier", "uptime_before_ms", "uptime_after_ms", "restarted")


def _word(outcome: str, code: str, message: str, exit_code: int) -> dict[str, Any]:
    return {"outcome": outcome, "code": code, "message": message, "exit_code": exit_code, "hint": ""}


# What a worker's exit code says for certain when its last word could not be written.
_CERTAIN: dict[int | None, dict[str, Any]] = {
    0: _word("installed", "installed", "OK", 0),
    UNREACHABLE: _word("interrupted", "ota-interrupted", "the update did not complete", UNREACHABLE),
}


def read(run: Run) -> dict[str, Any]:
    """The outcome document of a run that is over.

    An attempt's last word is what its worker wrote, or else its exit code. ``sending`` left behind means that the
    worker was killed after it began. An earlier attempt whose outcome is unknown may have been installed, so a later
    failure does not make it certain that nothing was.
    """
    rows = run.record.get("attempts", [])
    last, earlier, newer = _words(run)
    # The exit code of an attempt before the last says nothing about the last one.
    ended = bool(rows) and not newer and rows[-1].get("attempt", 0) >= run.record.get("attempt", 0)
    before, exit_code = (rows[:-1], int(rows[-1]["exit_code"])) if ended else (rows, None)
    if last is None:
        last = _CERTAIN.get(exit_code) or (earlier[-1] if earlier else _without_a_word(run))
    if last["outcome"] == "sending":
        last = {**last, **_CERTAIN.get(exit_code, _word("unknown", "", "the flash was killed after it began", UNKNOWN))}
    sent = run.record.get("details", {})
    about = {
        "workspace": run.record.get("workspace"),
        "device": sent.get("device", {}).get("name"),
        **{k: sent.get(k) for k in ("target", "image_kind", "artifact", "sha256", "bytes", "soak_seconds")},
    }
    done = {**about, **last, "run": run.id, "folder": run.folder, "attempts": max(len(rows), len(earlier) + 1)}
    doubtful = any(e["outcome"] in _DOUBTFUL for e in earlier) or any(r["exit_code"] == UNKNOWN for r in before)
    if done["outcome"] == "installed":
        done.update(code="installed", exit_code=0)
    elif doubtful and done["outcome"] != "unknown":
        text = f"an earlier attempt may have been installed; the last: {done['message']}"
        done.update(outcome="unknown", message=text)
    if done["outcome"] == "unknown":
        done.update(code="outcome-unknown", exit_code=UNKNOWN)
    done.setdefault("earlier", [])
    return done


def _words(run: Run) -> tuple[dict[str, Any] | None, list[dict[str, Any]], bool]:
    """(What the last attempt's worker wrote, what those before it did, whether the record does not know of it yet).

    ``installed`` is the last word whoever wrote it. Where the record names another worker than the one that wrote
    last, either that one wrote nothing, or the record is older: its supervisor was killed, or its disk was full.
    """
    left = read_json(os.path.join(run.folder, "flash-outcome.json"))
    if not isinstance(left, dict):
        return None, [], False
    words = [*left.get("earlier", []), left]
    installed = [w for w in words if w["outcome"] == "installed"]
    same = left["pid"] == run.record.get("pid", left["pid"])
    newer = not same and len(words) > max(run.record.get("attempt", 0), len(run.record.get("attempts", [])))
    if installed:
        return installed[-1], words[:-1], newer
    return (left, words[:-1], newer) if same or newer else (None, words, False)


def _without_a_word(run: Run) -> dict[str, Any]:
    """A worker writes before it sends, so where its job lies and no word, nothing was sent."""
    job, word = (os.path.exists(os.path.join(run.folder, n)) for n in ("flash.json", "flash-outcome.json"))
    if job and not word:
        why = "the flash never began: its worker was killed or could not write its record"
        hint = f"nothing was sent; upload again (the log is {run.log})"
        return {**_word("failed", "flash-failed", why, 1), "hint": hint}
    return _word("unknown", "", f"what happened is not known: {run.folder} was cleaned away or damaged", UNKNOWN)


def raise_unless_well(done: dict[str, Any]) -> None:
    """Raise the K1ctlError that fits an outcome document, unless the device took the image and is well with it."""
    raise_unless_installed(done)
    failed = verification.failure(done)
    if failed is not None:
        exit_code, code = failed
        message = verification.sentence(done.get("device") or "the device", done)
        facts = {k: done.get(k) for k in (*_FACTS, "artifact", "verification")}
        hint, log = done["verification"]["hint"], done["verification"].get("boot_log")
        raise error(exit_code, message, f"{hint}; its boot log: {log}" if log else hint, code, **facts)


def raise_unless_installed(done: dict[str, Any]) -> None:
    """Raise the K1ctlError that fits an outcome document, unless the device took the image."""
    if done["outcome"] == "installed":
        return
    code, hint = done["exit_code"], done.get("hint", "")
    device = done.get("device") or "the device"
    if done["outcome"] == "unknown" and not (hint and done.get("transport") == "usb"):
        hint = "upload again: the same image once more settles it"
    if code == UNREACHABLE and done.get("transport") != "usb" and done.get("image_kind") != "filesystem":
        hint = f"{hint} (with a USB cable to this host: k1ctl upload --via usb)".lstrip()
    elif done["outcome"] == "refused" and not hint:
        hint = f"{device} runs what it ran before; is the image for this board (environment and chip of the target)?"
        if done.get("image_kind") == "filesystem":
            hint = f"the filesystem of {device} is overwritten all the same; upload the image again, or the one before"
    cut = any(e["outcome"] == "interrupted" for e in done.get("earlier", []))
    if cut and done.get("image_kind") == "filesystem" and "overwritten" not in hint:
        hint += f"; the filesystem of {device} may be overwritten in part"
    raise error(code, _with_device(device, done), hint, done["code"], **{k: done.get(k) for k in _FACTS})


def _with_device(device: str, done: dict[str, Any]) -> str:
    """The message as a sentence about a device by its name: ``k1 (10.0.0.7:80): Connection refused``."""
    message = str(done["message"])
    if done["outcome"] == "refused" and done["code"] != "ota-login-refused":
        coded = re.fullmatch(r"(ERROR\[\d+\]): *(.+)", message)
        return f"{device} refused the image: {f'{coded[2]} ({coded[1]})' if coded else message}"
    address, colon, rest = message.partition(": ")
    if colon and re.fullmatch(r"\S+:\d+", address):
        return f"{device} ({address}): {rest}"
    address, space, rest = message.partition(" ")
    if space and re.fullmatch(r"\d+(\.\d+){3}", address):
        return f"{device} ({address}) {rest}"
    return message if re.search(rf"(?<!\w){re.escape(device)}(?!\w)", message) else f"{device}: {message}"


def error(exit_code: int, message: str, hint: str, code: str, **details: Any) -> K1ctlError:
    """The error with this exit code."""
    made = _ERRORS.get(exit_code, K1ctlError)(message, hint=hint, code=code, **details)
    made.exit_code = exit_code
    return made
