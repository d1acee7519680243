"""`k1ctl budget`: limits, holds and what was spent, from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl import groups
from k1ctl.__main__ import main
from k1ctl.budget.ledger import Ledger
from k1ctl.budget.settling import OWNER_GONE
from k1ctl.budget.tokens import Usage
from k1ctl.budget.told import read as read_usage
from k1ctl.config import load
from k1ctl_plugins.budget import export
from k1ctl_plugins.budget.run_call import FOR_SYNC
from tests.kit import Project, finish, wait_until


def limited(workspace: Project, text: str = 'day = "100k"') -> None:
    """Limits, and what makes the first call of a root slower than the next."""
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.configure(f"[budget]\n{text}\n")


def test_from_a_reserve_to_the_proof(workspace: Project) -> None:
    """An id on stdout, the refusal of what does not fit with its numbers, one settle, and books that come out."""
    limited(workspace)
    before = workspace.run("budget", "status", "--json").assert_ok()
    assert before.json["limited"] and not (workspace.ops / "state.db").exists()
    id_ = workspace.run("budget", "reserve", "60k", "--agent", "A", "--task", "T").assert_ok().stdout.strip()
    error = workspace.run("budget", "reserve", "50k", "--agent", "B", "--json").assert_fails(75).json["error"]
    assert error["code"] == "budget-exhausted" and 590 < error["expected_seconds"] <= 600
    assert error["reasons"][0]["free"] == 40_000
    assert workspace.run("budget", "check", "--need", "50k").assert_fails(75, "40k tokens free").stdout == ""
    assert workspace.run("budget", "extend", id_, "--ttl", "1h").assert_ok().stdout.endswith("Z\n")
    told = workspace.run("budget", "settle", id_, "--input", "3k", "--output", "500", "--json").assert_ok().json
    assert (told["booked_tokens"], told["again"], told["overrun_tokens"]) == (3500, False, 0)
    assert "was settled before" in workspace.run("budget", "settle", id_, "9k").assert_ok().stdout
    status = workspace.run("budget", "status", "--json").json
    day = next(c for c in status["counters"] if c["scope"] == "day")
    assert (day["spent_tokens"], day["held_tokens"], day["free_tokens"], status["holds"]) == (3500, 0, 96500, [])
    (row,) = workspace.run("budget", "history", "--by", "agent", "--by", "hour", "--json").assert_ok().json["rows"]
    assert (row["agent"], row["input"], row["output"]) == ("A", 3000, 500)
    hour = next(c for c in status["counters"] if c["scope"] == "hour")
    assert row["hour_utc"] == hour["name"] and hour["name"].endswith(":00:00.000Z")
    record = workspace.run("budget", "export").assert_ok().jsonl
    assert [line["what"] for line in record] == ["reserve", "extend", "settle"]
    assert workspace.run("budget", "verify", "--json").assert_ok().json["entries"] == 3


def test_an_export_that_nobody_reads_keeps_no_transaction_open(
    workspace: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of the books begins anew meanwhile; what is told in parts is the record as it was at the beginning."""
    books = Ledger(workspace.facts(), load(workspace.facts()), durable=False)
    for n in range(400):
        books.reserve(1, agent="a", id=f"h{n}")
    process = workspace.popen("budget", "export", stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and '"h0"' in process.stdout.readline()
        books.release("h0")
        assert books.state.fold()
    finally:
        process.kill()
        process.communicate()
    monkeypatch.setattr("k1ctl_plugins.budget.export._AT_ONCE", 150)
    rows = export._rows(books.state, "record", "")
    first = next(rows)
    books.release("h1")
    assert [row[0] for row in (first, *rows)] == list(range(1, 402))
    books.state.close()


def test_limits_are_set_in_the_file(workspace: Project) -> None:
    """Several in one step; a dry run and a wrong value leave the file as it is."""
    limited(workspace, "# mine\nday = 1")
    words = ("--day", "3M", "--agent-day", "500k", "--pool", "web=1M", "--soft", "50,90", "--weight", "cache_read=0.1")
    before = workspace.config_file.read_text()
    assert "+agent_day" in workspace.run("budget", "set", *words, "--dry-run").assert_ok().stdout
    assert workspace.config_file.read_text() == before
    workspace.run("budget", "set", *words).assert_ok()
    assert "# mine" in workspace.config_file.read_text()
    status = workspace.run("budget", "status", "--json").json
    assert {c["scope"]: c["limit_tokens"] for c in status["counters"]} == {"day": 3e6, "pool": 1e6, "hour": None}
    assert status["soft_percents"] == [50, 90]


def test_wrong_calls_are_one_line(
    workspace: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each bad input with its exit code and a hint; nothing is held."""
    limited(workspace)
    monkeypatch.chdir(workspace.root)
    for words, code, text in (
        (("reserve",), 2, "how many tokens?"),
        (("reserve", "x"), 2, "no number of tokens"),
        (("reserve", "1k", "--input", "1k"), 2, "in all and by class"),
        (("reserve", "1k", "--ttl", "0"), 2, "more than 0 s"),
        (("reserve", "1k", "--owner-pid", "4194300"), 2, "no such process"),
        (("reserve", "1k", "--agent", "a\nb"), 2, "printable"),
        (("reserve", "1k", "--usd", "nan"), 2, "no number of dollars"),
        (("settle", "b0", "--usd", "1e300"), 2, "no number of dollars"),
        (("settle", "b0"), 1, "no hold 'b0'"),
        (("release", "b0"), 1, "no hold"),
        (("history", "--by", "day", "--by", "day"), 2, "the same twice"),
        (("export", "--since", "today"), 2, "no day"),
        (("set",), 2, "no limit is named"),
        (("set", "--pool", "web"), 2, "a name and a number"),
        (("set", "--soft", "90,50"), 78, "percents that rise"),
        (("set", "--reserve-pool", "100k"), 2, "nothing would be left for other work"),
        (("set", "--day", "1k", "--reserve-pool", "2k"), 2, "all of the day's limit"),
        (("set", "--zone", "Mars/Base"), 78, "no zone 'Mars/Base'"),
        (("run", "--estimate", "1k", "--", "no-such-program"), 127, "is not there"),
        (("run", "--estimate", "1k", "--", "/etc"), 126, "cannot be run"),
    ):
        monkeypatch.setattr(sys, "argv", ["k1ctl", "budget", *words])
        assert main() == code, words
        said = capsys.readouterr()
        assert text in said.err and "Traceback" not in said.err, words
        assert not said.out
    facts = workspace.facts()
    assert Ledger(facts, load(facts)).holds() == []


def test_money_is_named_or_priced(
    workspace: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where money is limited a look needs the model or the dollars; a model without a price is told to be dear."""
    limited(workspace, "day_usd = 1")
    monkeypatch.chdir(workspace.root)
    for words, code, text in (
        (("check", "--need", "1k"), 2, "--usd"),
        (("check", "--need", "1k", "--usd", "0.9"), 0, ""),
        (("check", "--need", "1k", "--usd", "1.1"), 75, "$1.10 asked"),
        (("check", "--need", "1k", "--model", "claude-opus-4-5"), 0, ""),
        (("check", "--need", "1k", "--model", "glm"), 0, "no price is known of glm: priced as the dearest"),
        (("reserve", "1k", "--model", "glm"), 0, "no price is known of glm"),
        (("run", "--estimate", "1k", "--", "true"), 2, "--usd"),
        (("run", "--estimate", "1k", "--usd", "1.1", "--", "true"), 75, "$1.10 asked"),
        (("run", "--estimate", "1k", "--usd", "0.1", "--", "true"), 0, ""),
        (("run", "--estimate", "1k", "--model", "glm", "--", "true"), 0, "no price is known of glm"),
    ):
        monkeypatch.setattr(sys, "argv", ["k1ctl", "budget", *words])
        assert main() == code, words
        said = capsys.readouterr().err
        assert text in said and bool(text) == bool(said), words


def test_a_run_settles_what_it_says(workspace: Project) -> None:
    """By the file it was given, with the command's own status; by the estimate where it says nothing; not at all when
    nothing was run for want of budget; one that is left to `budget sync` is held until then."""
    limited(workspace, 'day = "199k"')
    script = (
        'echo \'{"input": 3, "output": 4}\' >> "$K1CTL_BUDGET_USAGE"; echo \'{"input": 1}\' >> "$K1CTL_BUDGET_USAGE"'
    )
    run = ("budget", "run", "--estimate", "50k", "--agent", "A")
    workspace.run(*run, "--", "sh", "-c", f"{script}; exit 7").assert_fails(7)
    workspace.run(*run, "--", "sh", "-c", "kill -TERM $$").assert_fails(128 + signal.SIGTERM)
    workspace.run(*run, "--settle-by", "sync", "--", "true").assert_ok()
    workspace.run(*run, "--", "touch", "ran").assert_ok()
    (workspace.root / "told").write_text("of another run\n")
    workspace.run(*run, "--settle-from", "told", "--", "touch", "ran-too").assert_fails(75, "no budget")
    assert (workspace.root / "told").read_text() == "of another run\n"
    workspace.run(*run, "--settle-from", ".", "--", "touch", "ran-too").assert_fails(2, "is no file")
    assert not (workspace.root / "ran-too").exists()
    record = [line for line in workspace.run("budget", "export").jsonl if line["what"] != "reserve"]
    assert [(line["what"], line["tokens"]) for line in record] == [
        ("settle", 8), ("settle", 50_000), ("extend", 0), ("settle", 50_000),
    ]  # fmt: skip
    (kept,) = workspace.run("budget", "status", "--json").json["holds"]
    assert kept["owner_pid"] is None and kept["gone"] is None and kept["left_seconds"] <= FOR_SYNC
    assert not list((workspace.ops / "cache" / "budget").iterdir())


def test_a_run_that_cannot_settle_has_its_commands_status(workspace: Project) -> None:
    """It tells how to book it later, and what the command told is kept."""
    script = 'echo \'{"tokens": 5}\' > "$K1CTL_BUDGET_USAGE"; mv ops/state.db ops/x; : > ops/state.db; exit 7'
    ran = workspace.run("budget", "run", "--estimate", "50k", "--", "sh", "-c", script)
    ran.assert_fails(7, "not booked")
    (kept,) = (workspace.ops / "cache" / "budget").iterdir()
    assert kept.read_text() == '{"tokens": 5}\n' and f"k1ctl budget settle {kept.stem}" in ran.stderr


def test_a_killed_run_keeps_the_hold_for_its_command(workspace: Project) -> None:
    """The hold is the command's: it lasts as long as that, whoever started it. Then it is booked with what the command
    told, as nobody knows that it spent nothing."""
    limited(workspace)
    fifo = workspace.root / "fifo"
    os.mkfifo(fifo)
    script = f"echo $$ > pid; read x < {fifo}; echo '{{\"tokens\": 30000}}' > told"
    words = ("budget", "run", "--estimate", "100k", "--settle-from", "told")
    call = workspace.popen(*words, "--", "sh", "-c", script)
    pid = workspace.root / "pid"
    wait_until(lambda: pid.exists() and pid.read_text().strip())
    call.kill()
    finish(call)
    workspace.run("budget", "reserve", "1k").assert_fails(75, "100k tokens held")
    fifo.write_text("go\n")
    wait_until(lambda: not groups.living(int(pid.read_text())))
    (hold,) = workspace.run("budget", "status", "--json").json["holds"]
    assert (hold["gone"], hold["counts"]) == ("owner", True)
    workspace.run("budget", "reserve", "71k").assert_fails(75, "30k tokens spent, 0 tokens held")
    workspace.run("budget", "reserve", "70k").assert_ok()
    record = [line for line in workspace.run("budget", "export").jsonl if line["what"] == "settle"]
    assert [(line["tokens"], line["note"]) for line in record] == [(30_000, OWNER_GONE)]
    assert not list((workspace.ops / "cache" / "budget").iterdir())


@settings(max_examples=20)
@given(st.lists(st.builds(Usage, *[st.integers(0, 10**9)] * 4), max_size=5), st.booleans())
def test_files_of_usage_add_up(tmp_path_factory: pytest.TempPathFactory, used: list[Usage], torn: bool) -> None:
    """Whatever number of documents; a torn one is an error, and never taken for less."""
    path = tmp_path_factory.mktemp("usage") / "usage.json"
    text = "\n".join(json.dumps(usage.document()) for usage in used)
    path.write_text(text[:-1] if torn and used else text)
    if torn and used:
        with pytest.raises(ValueError):
            read_usage(str(path))
        return
    assert read_usage(str(path)) == ((sum(used, Usage()), None) if used else None)
