"""What can happen between a host and a device, row by row: what is said of an attempt, and of the upload in the end.

The rows are those at which three revisions of the reference client were measured: it answers 0 where the device
refused, 1 where it has the image, and hangs where the final OK is lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from k1ctl.process.attempt import ANY_SIGNAL
from k1ctl.process.record import Run
from k1ctl.testing import SimulatedDevice
from k1ctl_plugins.upload import flow, outcome
from tests.device.fakes import big_image
from tests.device.job import OTA, Job

ATTEMPTS = 2
SMALL, BIG = big_image(40_000), big_image(1_200_000)


class Row(NamedTuple):
    """``first`` and ``end``: (outcome, exit code) of the first attempt and of the upload; ``truth``: what the device
    did at each update it saw (True: installed)."""

    name: str
    first: tuple[str, int]
    end: tuple[str, int]
    truth: list[bool]
    faults: tuple[str, ...] = ()
    code: str = ""
    device: dict[str, Any] = {}
    password: str = ""
    image: bytes = SMALL
    invitations: int = 1


INSTALLED, UNKNOWN, INTERRUPTED = ("installed", 0), ("unknown", 76), ("interrupted", 69)
ROWS = [
    Row("no password", INSTALLED, INSTALLED, [True]),
    Row("old rule", INSTALLED, INSTALLED, [True], device={"password": "secret", "login": "md5"}, password="secret"),
    Row("new rule, SHA-256", INSTALLED, INSTALLED, [True], device={"password": "secret"}, password="secret"),
    Row(
        "new rule, stored MD5",
        INSTALLED,
        INSTALLED,
        [True],
        device={"password": "secret", "login": "sha256-md5"},
        password="secret",
        invitations=2,
    ),
    Row(
        "wrong password",
        ("refused", 1),
        ("refused", 1),
        [],
        code="ota-login-refused",
        device={"password": "secret"},
        password="Secret",
    ),
    Row("no password is configured", ("failed", 78), ("failed", 78), [], (), "ota-password-needed", {"password": "x"}),
    Row("first 2 invitations lost", INSTALLED, INSTALLED, [True], ("drop=2",), invitations=3),
    Row("only the 10th invitation answered", INSTALLED, INSTALLED, [True], ("drop=9",), invitations=10),
    Row("device rejects", ("refused", 1), ("refused", 1), [False], ("refuse",), "image-refused"),
    Row("closes without a word, once", UNKNOWN, INSTALLED, [False, True], ("eof:1",)),
    Row("closes without a word, always", UNKNOWN, UNKNOWN, [False, False], ("eof",), "outcome-unknown"),
    Row("flashed, final OK lost once", UNKNOWN, INSTALLED, [True, True], ("lost-ok:1",)),
    Row("flashed, final OK always lost", UNKNOWN, UNKNOWN, [True, True], ("lost-ok",), "outcome-unknown"),
    Row(
        "flashed, final OK lost, then away",
        UNKNOWN,
        UNKNOWN,
        [True],
        ("lost-ok",),
        "outcome-unknown",
        {"reboot_seconds": 60},
    ),
    Row("link cut half-way, once", INTERRUPTED, INSTALLED, [False, True], ("cut=0.5:1", "pace=20000000"), image=BIG),
    Row(
        "link cut half-way, always",
        INTERRUPTED,
        INTERRUPTED,
        [False, False],
        ("cut=0.5", "pace=20000000"),
        "ota-interrupted",
        image=BIG,
    ),
    Row(
        "device never connects",
        ("unreachable", 69),
        ("unreachable", 69),
        [],
        (),
        "ota-no-connect",
        {"partition_size": 1},
    ),
]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_what_is_said_is_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Row) -> None:
    """The word and the exit code of an attempt, and of the upload that tries again under the same lease."""
    if row.password:
        monkeypatch.setenv("THE_PASSWORD", row.password)
    with SimulatedDevice(tmp_path / "device", *row.faults, **row.device) as device:
        settings = {**device.settings(), "password_env": "THE_PASSWORD" if row.password else ""}
        ota = {**OTA, "login_timeout": 5.0, "invitation_interval": 0.5 if row.invitations < 3 else 0.05}
        job = Job(tmp_path / "run", settings, row.image, ota=ota, evidence_seconds=0.2)
        words, codes = upload(job)
        done = ended(job, codes)
        assert [flash["outcome"] == "installed" for flash in device.flashes()] == row.truth
        assert (device.image() == row.image) is any(row.truth)
    assert (words[0]["outcome"], codes[0]) == row.first
    assert (done["outcome"], done["exit_code"], done["code"]) == (*row.end, row.code or "installed")
    assert words[0]["invitations"] in (0, row.invitations)  # 0: it never came to the end of a transfer
    if words[-1]["outcome"] != done["outcome"]:  # a doubt that a later attempt could not settle
        assert "an earlier attempt may have been installed" in done["message"]
    if done["outcome"] == "installed":
        assert row.truth[-1] and words[-1]["invitations"] == (row.invitations if len(words) == 1 else 1)


def upload(job: Job) -> tuple[list[dict[str, Any]], list[int]]:
    """(The words that the attempts left, their exit codes): tried again by the rules of `k1ctl upload`."""
    words, codes = [], []
    for _ in range(ATTEMPTS):
        code, _ = job.run()
        words.append(job.outcome)
        codes.append(code)
        if code not in flow.RETRY_ON or code == ANY_SIGNAL:
            break
    return words, codes


def ended(job: Job, codes: list[int]) -> dict[str, Any]:
    """What `k1ctl upload` tells after these attempts."""
    rows = [{"attempt": number, "exit_code": code} for number, code in enumerate(codes, 1)]
    record = {"run": "r1", "pid": job.outcome["pid"], "attempt": len(rows), "attempts": rows}
    return outcome.read(Run(str(job.folder), record))
