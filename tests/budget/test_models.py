"""Which model is used now: the first of its chain that budget, keys and breakers let through, and why no other one."""

from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.budget import ends
from k1ctl.budget.breaker import ERROR, LIMIT, OK
from k1ctl.budget.ledger import Ledger
from k1ctl.budget.models import Chosen, Models, Spender
from k1ctl.config import load
from k1ctl.errors import BusyError, ConfigError
from k1ctl.workspace import Workspace
from tests.kit import Project

NOON = 1_700_000_000.0
TOML = """
[budget.chains.fw]
models = ["opus", "sonnet", "glm", "manual", "never-reached"]
[budget.providers.anthropic]
models = ["opus", "sonnet"]
[budget.providers.zai]
models = ["glm"]
"""
KEYS = """
[budget.buckets.team]
provider = "anthropic"
requests = 10
[budget.keys.team-1]
bucket = "team"
env = "TEAM_ONE"
"""
ADA = Spender("ada")


def desk(root: Path, toml: str = TOML) -> Models:
    (root / "ops").mkdir(exist_ok=True)
    (root / "ops" / "k1ctl.toml").write_text(toml)
    here = Workspace(str(root), str(root), "oslo")
    return Models(here, load(here, {}))


def told(chosen: Chosen) -> tuple[str, list[tuple[str, str]]]:
    return chosen.model, [(passed.model, passed.gate) for passed in chosen.before]


def test_down_the_chain_and_up_again(tmp_path: Path) -> None:
    """A limit of opus leaves sonnet; failures of their provider lead to glm; a limit of that to a person, who is told
    the first moment; each comes back when its end is past."""
    models = desk(tmp_path)
    assert told(models.choose("fw", ADA, now=NOON)) == ("opus", [])
    models.report("opus", LIMIT, end=ends.after(7200.0, NOON, "weekly"), now=NOON)
    assert told(models.choose("fw", ADA, now=NOON)) == ("sonnet", [("opus", "breaker")])
    for _ in range(3):
        models.report("sonnet", ERROR, end=None, now=NOON)
    second = models.choose("fw", ADA, now=NOON)
    assert told(second) == ("glm", [("opus", "breaker"), ("sonnet", "breaker")]) and not second.probe
    assert "3 failures in a row" in second.before[1].why
    models.report("glm", LIMIT, end=ends.after(60.0, NOON, "minute"), all_models=True, now=NOON)
    with pytest.raises(BusyError) as refused:
        models.choose("fw", ADA, now=NOON)
    assert refused.value.code == "no-model" and refused.value.details["model"] == "manual"
    assert [r["model"] for r in refused.value.details["reasons"]] == ["opus", "sonnet", "glm"]
    assert 0 <= refused.value.details["expected_seconds"] <= 8.0
    looked = models.choose("fw", ADA, dry_run=True, now=NOON + 8)
    assert told(looked)[0] == "sonnet"
    assert models.choose("fw", ADA, now=NOON + 8).probe, "a look is nobody's probe"
    with pytest.raises(BusyError, match="another caller is trying it"):
        models.choose("fw", ADA, now=NOON + 8)
    models.report("sonnet", OK, now=NOON + 9)
    assert told(models.choose("fw", ADA, now=NOON + 9))[0] == "sonnet"
    again = models.choose("fw", ADA, now=NOON + 7200)
    assert told(again) == ("opus", []) and not again.probe


def test_a_limit_without_an_end_is_tried_by_one(tmp_path: Path) -> None:
    """After its backoff one caller has the model, and its word is what closes or opens it again."""
    models = desk(tmp_path)
    models.report("opus", LIMIT, now=NOON)
    assert models.choose("fw", ADA, now=NOON + 3).probe
    assert told(models.choose("fw", ADA, now=NOON + 3))[0] == "sonnet"
    assert [s["name"] for s in models.report("opus", OK, now=NOON + 4)] == ["anthropic", "anthropic/opus"]
    assert told(models.choose("fw", ADA, now=NOON + 4)) == ("opus", [])


def test_without_a_key_the_next_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account at its limit, or a key that is not there, passes its provider's models over; asking uses none up."""
    assert told(desk(tmp_path, TOML + KEYS).choose("fw", ADA, now=NOON))[0] == "glm"
    monkeypatch.setenv("TEAM_ONE", "x")
    models = desk(tmp_path, TOML + KEYS)
    for _ in range(20):
        assert told(models.choose("fw", ADA, now=NOON))[0] == "opus"
    models.keys.report("team-1", 429, retry_after="90", now=NOON)
    passed = models.choose("fw", ADA, now=NOON).before
    assert [(p.model, p.gate, p.until) for p in passed] == [
        ("opus", "keys", NOON + 90),
        ("sonnet", "keys", NOON + 90),
    ]


def test_the_moment_that_is_told_is_the_last_of_all_gates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is tried again in a minute, a model that is limited for an hour, a key that rests between: the
    hour; and who asks is nobody's probe while the model may not be used."""
    monkeypatch.setenv("TEAM_ONE", "x")
    models = desk(tmp_path, TOML.replace('"sonnet", "glm", ', "") + KEYS)
    models.report("opus", ERROR, end=ends.after(60.0, NOON, "minute"), now=NOON)
    models.report("opus", LIMIT, end=ends.after(3600.0, NOON, "hour"), now=NOON)
    models.keys.report("team-1", 429, retry_after="600", now=NOON)
    with pytest.raises(BusyError) as refused:
        models.choose("fw", ADA, now=NOON)
    assert refused.value.details["expected_seconds"] == 3600.0 and "its breaker is open: hour" in refused.value.message
    assert not models.breakers.ask_all(("anthropic", "anthropic/opus"), NOON + 61).go
    assert models.breakers.ask("anthropic", NOON + 61).probe


def test_a_limit_that_was_told_by_mistake_is_lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer ends no limit, as it may be late; who lifts it says that it was wrong, and everybody goes on."""
    monkeypatch.setenv("TEAM_ONE", "x")
    models = desk(tmp_path, TOML + KEYS)
    models.report("opus", LIMIT, end=ends.after(30 * 86400.0, NOON, "month"), all_models=True, now=NOON)
    models.report("opus", LIMIT, end=ends.after(30 * 86400.0, NOON, "month"), now=NOON)
    models.keys.report("team-1", 429, retry_after="30d", now=NOON)
    models.report("opus", OK, now=NOON)
    models.keys.report("team-1", 200, now=NOON)
    assert told(models.choose("fw", ADA, now=NOON))[0] == "glm"
    assert [state["state"] for state in models.lift("opus", now=NOON)] == ["closed", "closed"]
    assert [p.gate for p in models.choose("fw", ADA, now=NOON).before] == ["keys", "keys"]
    models.keys.report("team-1", 200, lift=True, now=NOON)
    assert told(models.choose("fw", ADA, now=NOON)) == ("opus", [])


def test_the_budget_is_asked_and_not_held(tmp_path: Path) -> None:
    """What does not fit the agent's day is nobody's model; what fits is, and no hold is left of the question."""
    models = desk(tmp_path, TOML + '[budget]\nagent_day = "10k"\nzone = "UTC"\n')
    assert told(models.choose("fw", Spender("ada", 10_000), now=NOON))[0] == "opus"
    ledger = Ledger(models.workspace, models.config)
    assert ledger.holds() == []
    ledger.reserve(6000, agent="ada", now=NOON)
    with pytest.raises(BusyError) as refused:
        models.choose("fw", Spender("ada", 5000), now=NOON)
    assert refused.value.message.count("tokens asked") == 1, "what is said of all is said once"
    assert {r["gate"] for r in refused.value.details["reasons"]} == {"budget"} and refused.value.details["until"]
    assert told(models.choose("fw", Spender("bob", 5000), now=NOON))[0] == "opus"


def test_what_is_configured_wrong(tmp_path: Path) -> None:
    """A chain that is not there, a model that nobody serves, one that two serve when it is reported on."""
    models = desk(tmp_path, TOML.replace('["glm"]', '["sonnet"]'))
    with pytest.raises(ConfigError, match="no chain of models") as refused:
        models.choose("web", ADA)
    assert "configured: fw" in refused.value.hint
    with pytest.raises(ConfigError, match="no provider serves the model 'glm'"):
        models.choose("fw", ADA)
    with pytest.raises(ConfigError, match="several providers serve sonnet"):
        models.report("sonnet", OK)
    with pytest.raises(ConfigError, match="zai does not serve opus"):
        models.report("opus", OK, provider="zai")


def test_on_the_command_line(workspace: Project) -> None:
    """The model on stdout, reasons on stderr; manual is exit 75 with the time; reports and events."""
    workspace.configure(TOML)
    assert workspace.run("budget", "model", "--for", "fw").assert_ok().stdout == "opus\n"
    limit = ("budget", "model", "--report", "limit", "--until", "2h")
    past = workspace.run(*limit[:-1], "2026-03-01T17:00:00Z", "--model", "opus").assert_ok()
    assert "2026-03-01T17:00:00Z is past: opus may be used now" in past.stderr
    told = workspace.run(*limit, "--model", "opus", "--all-models").assert_ok()
    assert told.stdout == "" and "anthropic is left alone until" in told.stderr
    fallen = workspace.run("budget", "model", "--for", "fw").assert_ok()
    assert fallen.stdout == "glm\n" and "not opus (anthropic): its breaker is open: opus: limit" in fallen.stderr
    workspace.run(*limit, "--model", "glm", "--json").assert_ok()
    nobody = workspace.run("budget", "model", "--for", "fw", "--json").assert_fails(75).json["error"]
    assert nobody["code"] == "no-model" and 7100 < nobody["expected_seconds"] <= 7200
    assert [e["provider"] for e in workspace.events("budget.breaker_opened")] == ["anthropic", "zai/glm"]
    workspace.run(*limit).assert_fails(2, "--model")
