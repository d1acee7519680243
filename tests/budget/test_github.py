"""GitHub's limits from what its answers said, and a pace of writes that all agents share."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.budget import github
from k1ctl.budget.github import parse
from k1ctl.budget.github_kept import GitHub, fetch
from k1ctl.config import Config
from k1ctl.errors import BusyError, ConfigError, K1ctlError, UnreachableError, WrongDataError
from k1ctl.workspace import Workspace
from tests.kit import Project

NOON = 1_700_000_000.0
TOKEN = "ghp_2718281828459045"


def answer(
    remaining: int, reset: float = NOON + 600, *, status: int = 200, resource: str = "core", more: str = ""
) -> str:
    return (
        f"HTTP/2.0 {status} OK\r\nX-Ratelimit-Limit: 5000\r\nX-Ratelimit-Remaining: {remaining}\r\n"
        f"X-Ratelimit-Reset: {reset:.0f}\r\nX-Ratelimit-Resource: {resource}\r\n{more}\r\n"
        + '{"x-ratelimit-limit": 1}\r\n'
    )


def desk(tmp_path: Path, **rules: Any) -> GitHub:
    values = {("budget", "github", name): value for name, value in rules.items()}
    return GitHub(Workspace(str(tmp_path), str(tmp_path), "oslo"), Config("", values, {}))


def remaining(one: GitHub, now: float = NOON) -> dict[str, int]:
    return {row["resource"]: row["remaining"] for row in one.document(now)["resources"]}


def test_answers_in_any_order_and_of_any_program(tmp_path: Path) -> None:
    """Several answers with bodies, without a status line, the body of /rate_limit: the least that is left holds; what
    is of the window before changes nothing, and what is of the next one does."""
    one = desk(tmp_path)
    one.record(
        parse("HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n" + answer(4000) + answer(3999, resource="search")), NOON
    )
    assert remaining(one) == {"core": 4000, "search": 3999}
    one.record(parse("x-ratelimit-limit: 5000\nx-ratelimit-remaining: 3990\nx-ratelimit-reset: 1700000601\n"), NOON)
    one.record(parse(answer(3995)), NOON)
    one.record(parse(answer(12, NOON - 3000)), NOON)
    assert remaining(one)["core"] == 3990
    body = '{"resources": {"core": {"limit": 5000, "used": 15, "remaining": 4985, "reset": 1700004200}}, "rate": {}}'
    one.record(parse(body), NOON)
    assert remaining(one)["core"] == 4985
    assert remaining(one, NOON + 10_000) == {"core": 5000, "search": 5000}


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "HTTP/2 403 Forbidden\n\n{}", "hello: world", '{"resources": {"a": 1}}']
)
def test_what_tells_of_no_limit_is_refused(text: str) -> None:
    """Also a 403 that says nothing of one: that is a permission."""
    with pytest.raises(WrongDataError):
        parse(text)
    with pytest.raises(WrongDataError):
        parse(answer(1).replace("5000", "-1"))


def test_a_reset_that_is_misread_blocks_nobody(tmp_path: Path) -> None:
    """Milliseconds in the place of seconds would hold writes for millennia, and no later answer would count."""
    one = desk(tmp_path)
    with pytest.raises(WrongDataError, match="more than a day away"):
        one.record(parse(answer(3) + answer(0, (NOON + 600) * 1000)), NOON)
    assert remaining(one) == {} and one.pace(now=NOON, sleep=lambda _: None) == 0.0


@settings(max_examples=40)
@given(st.lists(st.sampled_from([0.0, 0.2, 1.0, 3.0, 20.0]), max_size=40), st.integers(1, 6), st.integers(1, 12))
def test_no_window_has_more_writes_than_it_may(gaps: list[float], minute: int, hour: int) -> None:
    """Whoever asks when: the moments that are given are in order, a second apart, and within both limits."""
    state: dict[str, Any] = {"resources": {}, "secondary": {}, "writes": {}}
    rules, now, times = github.Rules(minute, hour, 1.0), NOON, []
    for gap in gaps:
        now += gap
        at, _ = github.write_at(state, rules, "core", now)
        github.take_write(state, rules, "core", at, now)
        times.append(at)
        assert at >= now
    assert all(b - a >= 1.0 - 1e-6 for a, b in pairwise(times))
    for span, count in ((60.0, minute), (3600.0, hour)):
        assert all(sum(t - span + 1e-3 < other <= t for other in times) <= count for t in times)


def test_a_write_waits_its_turn_or_is_told_the_time(tmp_path: Path) -> None:
    """Within --wait it sleeps until its moment, which nobody else has; else 75, and nothing is reserved."""
    one, slept = desk(tmp_path), []
    assert one.pace(now=NOON, sleep=slept.append) == 0.0
    assert one.pace(5.0, now=NOON, sleep=slept.append) == 1.0
    for _ in range(2):
        with pytest.raises(BusyError) as refused:
            one.pace(1.5, now=NOON)
        assert refused.value.details["expected_seconds"] == 2.0 and refused.value.code == "github-limited"
    assert slept == [0.0, 1.0] and one.pace(2.0, dry_run=True, now=NOON) == 2.0
    assert one.document(NOON + 1)["writes"]["last_minute"] == 2
    with pytest.raises(BusyError):
        one.pace(now=NOON - 4000)
    assert one.pace(now=NOON - 3998, sleep=slept.append) == 0.0, "the clock was set back: nobody waits an hour for it"


def test_a_secondary_limit_holds_for_all(tmp_path: Path) -> None:
    """Retry-After; without it a minute, then two; with the primary limit used up until its reset, and not longer."""
    one = desk(tmp_path)
    one.record(parse(answer(4000, status=403, more="Retry-After: 30\r\n")), NOON)
    with pytest.raises(BusyError, match="secondary limit") as refused:
        one.pace(now=NOON)
    assert refused.value.details["expected_seconds"] == 30.0
    one.record(parse(answer(3000, status=403) + "You have exceeded a secondary rate limit."), NOON + 31)
    assert one.document(NOON + 31)["secondary"]["until"] == "2023-11-14T22:15:51.000Z"
    one.record(parse(answer(2999, status=429, more="Retry-After: soon\r\n")), NOON + 31)
    assert remaining(one, NOON + 31)["core"] == 2999, "a header that cannot be read takes nothing from the others"
    one.record(parse(answer(0, status=403, more="Retry-After: 9000\r\n")), NOON + 300)
    with pytest.raises(BusyError, match="core is used up") as refused:
        one.pace(now=NOON + 300)
    assert refused.value.details["expected_seconds"] == 300.0
    assert one.pace(now=NOON + 600, sleep=lambda _: None) == 0.0


def test_writes_are_taken_off_what_was_told(tmp_path: Path) -> None:
    """Between two answers each write that was let go counts."""
    one = desk(tmp_path)
    one.record(parse(answer(2)), NOON)
    for second in (1, 2):
        one.pace(now=NOON + second, sleep=lambda _: None)
    with pytest.raises(BusyError, match="used up"):
        one.pace(now=NOON + 3)


class Answers(http.server.BaseHTTPRequestHandler):
    """GitHub on loopback: the path decides how it answers; what it is asked is in ``asked``."""

    asked: list[tuple[str, str]] = []
    over = threading.Event()  # the test: an answer that drips ends with it

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization", "")))
        if self.path.startswith("/drip"):
            try:
                self.wfile.write(b"HTTP/1.0 200 OK\r\n")
                while not self.over.wait(0.02):
                    self.wfile.write(b"x")
            except OSError:
                return
        status = {"/moved": 302, "/no": 401}.get(self.path.removesuffix("/rate_limit"), 200)
        self.send_response(status)
        self.send_header("Location", "http://127.0.0.1:9/rate_limit")
        self.end_headers()
        core = {"limit": 60, "remaining": 59, "reset": int(time.time()) + 600}
        self.wfile.write(json.dumps({"resources": {"core": core}}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Answers.asked.clear()
    Answers.over.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as here:
        here.daemon_threads = True
        threading.Thread(target=here.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{here.server_port}"
        Answers.over.set()
        here.shutdown()


def test_a_refresh_asks_once_and_tells_the_token_to_nobody_else(workspace: Project, server: str) -> None:
    """The token goes into one header; it is in no output and no file. Without it, or past the deadline: one line."""
    workspace.configure(f'[budget.github]\nurl = "{server}"\ntoken_env = "MY_TOKEN"\ntimeout = "5s"\n')
    done = workspace.run("budget", "github", "--refresh", "--json", env={"MY_TOKEN": TOKEN}).assert_ok()
    assert done.json["resources"][0]["remaining"] == 59 and Answers.asked == [("/rate_limit", f"Bearer {TOKEN}")]
    shown = workspace.run("budget", "github").assert_ok().stdout
    assert "core" in shown and "59" in shown and "writes: 0 of 80" in shown
    workspace.run("budget", "github", "--refresh").assert_fails(78, "MY_TOKEN", "not set")
    written = [p for p in workspace.ops.rglob("*") if p.is_file()]
    assert TOKEN not in done.stdout + done.stderr and all(TOKEN.encode() not in p.read_bytes() for p in written)


def test_an_answer_that_is_none(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect is not followed, a refusal is told, bytes that drip are given up at the deadline, http to others is
    never spoken; no message has the token."""
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    tried: list[tuple[str, type[K1ctlError]]] = [
        (f"{server}/moved", UnreachableError),
        (f"{server}/no", UnreachableError),
        (f"{server}/drip", UnreachableError),
        ("http://127.0.0.1:9", UnreachableError),
        ("http://127.0.0.1.example.com", ConfigError),
        ("http://127.0.0.1@example.com", ConfigError),
        ("ftp://localhost", ConfigError),
    ]
    for url, kind in tried:
        with pytest.raises(kind) as refused:
            fetch(url, "MY_TOKEN", 0.3)
        assert TOKEN not in str(refused.value.document())
    assert [path for path, _ in Answers.asked] == ["/moved/rate_limit", "/no/rate_limit", "/drip/rate_limit"]


def test_headers_from_standard_input(workspace: Project) -> None:
    """`gh api -i ... | k1ctl budget github --from-headers -`; --wait without --pace is a mistake."""
    text = answer(42, time.time() + 600)
    told = workspace.run("budget", "github", "--from-headers", "-", "--json", stdin=text).assert_ok().json
    assert told["resources"][0]["remaining"] == 42 and told["waited_seconds"] is None
    workspace.run("budget", "github", "--wait", "1s").assert_fails(2, "--pace")
