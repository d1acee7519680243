"""The server: on loopback, for who calls it by its name, one look for all who ask at once, nobody blocked."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest

from k1ctl.errors import BusyError
from k1ctl.metrics import serving
from k1ctl.metrics.serving import Server, negotiated
from k1ctl.samples import GAUGE, Family
from tests.kit import wait_until

LAMPS = [Family("k1_lamps", GAUGE, "Lamps.").add(3)]
PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


class Answer(NamedTuple):
    status: int
    kind: str
    body: str


@contextmanager
def running(look: Callable[[], Sequence[Family]] = lambda: LAMPS, **options: float) -> Iterator[Server]:
    with Server(0, look, ["k1.test"], **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


def get(server: Server, path: str = "/metrics", method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection(serving.ADDRESS, server.server_port, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers["Content-Type"], answer.read().decode())
    finally:
        connection.close()


def test_what_is_there_is_answered() -> None:
    """/metrics in the format that is accepted, health, an index; HEAD without a body; all else 404 or refused."""
    with running() as server:
        assert server.server_address[0] == "127.0.0.1"
        plain = get(server)
        assert plain.kind == "text/plain; version=0.0.4; charset=utf-8"
        assert plain.body == "# HELP k1_lamps Lamps.\n# TYPE k1_lamps gauge\nk1_lamps 3\n"
        open_metrics = get(server, Accept=PROMETHEUS_2_42)
        assert open_metrics.kind.startswith("application/openmetrics-text; version=1.0.0")
        assert open_metrics.body.endswith("# EOF\n")
        assert get(server, "/-/healthy").body == "ok\n"
        assert "/metrics" in get(server, "/").body
        assert get(server, "/etc/passwd").status == 404
        assert get(server, method="HEAD") == (200, plain.kind, "")
        assert get(server, method="POST").status == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("LOCALHOST", 200),
        ("k1.test:1", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("", 403),
    ],
)
def test_only_who_means_this_host_is_answered(host: str, status: int) -> None:
    """A page whose name was made to resolve to 127.0.0.1 (DNS rebinding) gets nothing."""
    with running() as server:
        assert get(server, Host=host).status == status


def test_all_who_ask_at_once_get_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """While samples are taken, whoever asks gets those; who asks later gets new ones."""
    looks, entered, go = [], threading.Event(), threading.Event()

    def look() -> Sequence[Family]:
        looks.append(1)
        entered.set()
        assert go.wait(20)
        return LAMPS

    with running(look) as server:
        asked: list[object] = []
        monkeypatch.setattr(server, "has_asked", asked.append)
        answers: list[Answer] = []
        askers = [threading.Thread(target=lambda: answers.append(get(server))) for _ in range(6)]
        for asker in askers:
            asker.start()
        assert entered.wait(20)
        wait_until(lambda: len(asked) == len(askers))
        go.set()
        for asker in askers:
            asker.join(20)
        assert [a.status for a in answers] == [200] * 6
        assert len(looks) <= 2  # one that had connected but not asked yet may be late
        before = len(looks)
        get(server)
        assert len(looks) == before + 1


def test_clients_that_say_nothing_keep_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than may be there at once: the oldest goes, who asks is answered; each has its patience."""
    monkeypatch.setattr(serving, "CLIENTS", 3)
    with running(patience=0.2) as server:
        silent = [socket.create_connection((serving.ADDRESS, server.server_port)) for _ in range(8)]
        assert get(server).status == 200
        for each in silent:
            each.settimeout(20)
            assert each.recv(1) == b""
            each.close()


def test_who_has_asked_is_not_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """More who wait for their samples than may be silent at once: each gets them."""
    monkeypatch.setattr(serving, "CLIENTS", 1)
    go = threading.Event()

    def look() -> Sequence[Family]:
        assert go.wait(20)
        return LAMPS

    with running(look) as server, ExitStack() as clients:
        asked: list[object] = []
        has_asked = server.has_asked

        def told(request: object) -> None:
            has_asked(request)
            asked.append(request)

        monkeypatch.setattr(server, "has_asked", told)
        waiting = []
        for _ in range(6):
            client = socket.create_connection((serving.ADDRESS, server.server_port), timeout=20)
            waiting.append(clients.enter_context(client))
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            wait_until(lambda: len(asked) == len(waiting))
        go.set()
        assert [client.recv(12) for client in waiting] == [b"HTTP/1.1 200"] * 6


def test_a_look_that_fails_is_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    """The client gets 503 and why, nothing that could be taken for samples; a line says so; the next one is served."""
    fails = [True]

    def look() -> Sequence[Family]:
        if fails:
            fails.pop()
            raise ValueError("no disk")
        return LAMPS

    with running(look) as server:
        answer = get(server)
        assert answer.status == 503 and "ValueError: no disk" in answer.body
        assert get(server).status == 200
    assert "k1ctl metrics: ValueError" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_with_who_has_it() -> None:
    """By whom, where that can be known; also where the other one listens at all addresses."""
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BusyError) as told:
            Server(port, lambda: LAMPS)
    assert f"port {port} is taken" in told.value.message
    assert told.value.code == "port-taken" and "--port" in told.value.hint


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "prometheus"),
        ("*/*", "prometheus"),
        ("text/html", "prometheus"),
        ("application/openmetrics-text", "openmetrics"),
        ("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", "openmetrics"),
        ("application/openmetrics-text; version=0.0.1", "prometheus"),
        ("application/openmetrics-text; version=2.0.0; q=0.9, text/plain; q=0.1", "prometheus"),
        (PROMETHEUS_2_42, "openmetrics"),
        ("text/plain; q=0.9, application/openmetrics-text; q=0.2", "prometheus"),
        ("application/openmetrics-text; q=0", "prometheus"),
        ("application/openmetrics-text; q=x", "prometheus"),
    ],
)
def test_the_format_is_the_one_that_is_preferred(accept: str, form: str) -> None:
    """By RFC 9110's quality values; what nobody asked for by name is Prometheus' own."""
    assert negotiated(accept) == form
