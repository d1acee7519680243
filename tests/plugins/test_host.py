"""`k1ctl host health`: its verdict as text, JSON and Nagios's output, and its exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from k1ctl.capacity.facts import Facts, from_document
from k1ctl.config import Config
from k1ctl.workspace import Workspace
from k1ctl_plugins.host import verdict
from tests.kit import Project

GIB = 1 << 30
DATUM = re.compile(r"'[a-z_0-9]+'=-?[\d.]+(s|B|%|c)?;(-?[\d.]+:?)?;(-?[\d.]+:?)?;(0)?(;[\d.]+)?$")
CALM: dict[str, Any] = {"cores": 14, "memory_bytes": 48 * GIB, "available_bytes": 40 * GIB, "load_1m": 21.5}
STALLED = {**CALM, "pressure": {"memory": {"some_avg60": 31.25, "full_avg60": 12.5}}, "available_bytes": 6 * GIB}


def facts_file(tmp_path: Path, document: Any) -> str:
    path = tmp_path / "facts.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def judged(facts: Facts, tmp_path: Path, *, strict: bool = False) -> verdict.Verdict:
    """The verdict on these facts, without a process."""
    path = facts_file(tmp_path, facts.document())
    place = Workspace(str(tmp_path), str(tmp_path), "repo")
    return verdict.look(Config("", {}, {}), place, file=path, strict=strict)


def test_a_calm_host(workspace: Project, tmp_path: Path) -> None:
    """Exit 0; every check is in the table and in the JSON."""
    file = facts_file(tmp_path, CALM)
    out = workspace.run("host", "health", "--facts", file).assert_ok().stdout
    assert out.startswith("host: ok: nothing stalls\n")
    told = workspace.run("host", "health", "--json", env={"K1CTL_FACTS": file}).assert_ok().json
    assert (told["ok"], told["status"], told["facts"]["origin"]) == (True, "ok", file)
    assert [row.split()[:2] for row in out.splitlines()[3:]] == [[c["status"], c["name"]] for c in told["checks"]]
    assert {"name", "status", "value", "unit", "warn", "crit", "alert", "message"} == set(told["checks"][0])


def test_a_host_that_stalls(workspace: Project, tmp_path: Path) -> None:
    """Exit 2; the error is one of the usual shape, with what to do."""
    file = facts_file(tmp_path, STALLED)
    told = workspace.run("host", "health", "--json", "--facts", file).assert_fails(2).json
    assert told["error"]["code"] == "host-crit" and told["error"]["exit_code"] == 2
    assert told["error"]["message"] == ("all waited for memory in 12.5 % of the last minute (and 2 more)")
    assert "capacity list" in told["error"]["hint"]


def test_this_host(workspace: Project) -> None:
    """Asked twice without a file of facts, also outside every repository: an exit code of its own, disks looked at."""
    for folder in (workspace.root, workspace.root.parent):
        outcome = workspace.run("host", "health", "--json", env={"K1CTL_FACTS": None}, cwd=folder)
        assert outcome.exit_code == {"ok": 0, "warn": 1, "crit": 2}[outcome.json["status"]]
        assert "disk_root" in {check["name"] for check in outcome.json["checks"]}


@pytest.mark.parametrize(("document", "code"), [(CALM, 0), ({**CALM, "available_bytes": 6 * GIB}, 1), (STALLED, 2)])
def test_nagios(tmp_path: Path, document: dict[str, Any], code: int) -> None:
    """A first line that fits on a pager, then what is wrong, then data of every check that was made."""
    found = judged(from_document(document), tmp_path)
    assert found.exit_code == code
    first, *rest = verdict.nagios(found).split("\n")
    assert first.startswith(f"K1 {('OK', 'WARNING', 'CRITICAL')[code]} - host: ") and len(first) <= 80
    assert len(rest) == len(found.problems) + 1
    assert len(found.problems) < 2 or first.endswith(f" (and {len(found.problems) - 1} more)")
    data = rest[-1].partition(" | ")[2].split()
    assert all(DATUM.match(datum) for datum in data), data
    assert [d.partition("=")[0].strip("'") for d in data] == [
        check.name for check in found.checks if check.status != "skip" and check.value is not None
    ]


def test_marks_of_the_data_are_those_of_the_checks(tmp_path: Path) -> None:
    """Memory alerts below its marks, stall above; bytes are whole."""
    data = verdict.nagios(judged(from_document(STALLED), tmp_path)).split(" | ")[1].split()
    assert "'memory_full'=12.5%;;5;0;100" in data
    assert f"'memory_available'={6 * GIB}B;{8 * GIB}:;{48 * GIB // 10}:;0;{48 * GIB}" in data


def test_strict_counts_what_is_unknown(tmp_path: Path) -> None:
    """A thermal state that nobody knows: 0 without, 3 with it."""
    odd = from_document({**CALM, "thermal": "molten"})
    assert judged(odd, tmp_path).exit_code == 0
    strict = judged(odd, tmp_path, strict=True)
    assert strict.exit_code == 3 and verdict.nagios(strict).startswith("K1 UNKNOWN - host: thermal pressure is molten")
    assert verdict.document(strict)["error"]["code"] == "host-unknown"


@pytest.mark.parametrize("words", [("--json",), ("--bogus",), ("--facts", "nowhere.json")])
def test_what_cannot_be_checked_is_unknown_to_nagios(workspace: Project, words: tuple[str, ...]) -> None:
    """3 and one line on stdout; never 2, which would be CRITICAL."""
    outcome = workspace.run("host", "health", "--format", "nagios", *words).assert_fails(3)
    assert outcome.stdout.startswith("K1 UNKNOWN - ") and outcome.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is no file of facts"),
        ("{", "is no file of facts"),
        ('{"cores": 4}', "memory_bytes is missing"),
        ('{"cores": "4", "memory_bytes": 1}', "cores is no whole number"),
        ('{"cores": 0, "memory_bytes": 1}', "at least one core"),
        ('{"cores": 1, "memory_bytes": 1, "load_1m": "high"}', "load_1m is no figure"),
        ('{"cores": 1, "memory_bytes": 1, "pressure": [1]}', "is no file of facts"),
        ('{"cores": 1, "memory_bytes": 1, "gpus": [4]}', "is no file of facts"),
    ],
)
def test_a_wrong_file_of_facts_is_named(tmp_path: Path, text: str, said: str) -> None:
    """With what is wrong in it, and what it needs."""
    from k1ctl.capacity import facts
    from k1ctl.errors import ConfigError

    path = facts_file(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        facts.read(environ={"K1CTL_FACTS": path})
    assert caught.value.code == "bad-facts" and path in caught.value.message and "cores" in caught.value.hint
