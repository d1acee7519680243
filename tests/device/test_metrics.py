"""Collecting a device's metrics: bounds on what it tells, and time for each endpoint whatever the others do."""

from __future__ import annotations

import math
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.device import metrics
from k1ctl.device.http import BODY_LIMIT
from k1ctl.jsontext import dumps
from tests.device.fakes import http_server

NUMBERS = st.integers() | st.floats() | st.booleans() | st.just(10**400)  # no float is as large
LEAVES = st.none() | NUMBERS | st.text(max_size=300)
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def leaves(value: Any, depth: int = 0) -> list[tuple[int, Any]]:
    if isinstance(value, list):
        assert len(value) <= metrics.LIST_LIMIT
        return [leaf for item in value for leaf in leaves(item, depth + 1)]
    if isinstance(value, dict):
        assert len(value) <= metrics.MEMBER_LIMIT
        return [leaf for item in value.values() for leaf in leaves(item, depth + 1)]
    return [(depth, value)]


@settings(max_examples=40)
@given(
    DOCUMENTS | st.integers(60, 80).map(lambda n: [1] * n) | st.integers(4, 9).map(lambda n: eval("[" * n + "]" * n))
)
def test_documents_are_bounded(value: Any) -> None:
    """Whatever is told, what is kept is JSON, of limited depth and length, with numbers that a device can have."""
    found = metrics.bounded(value)
    dumps(found)
    for depth, leaf in leaves(found):
        assert depth <= metrics.DEPTH_LIMIT
        assert not isinstance(leaf, str) or len(leaf) <= metrics.TEXT_LIMIT
        assert not isinstance(leaf, float) or math.isfinite(leaf)
        assert not isinstance(leaf, int) or abs(leaf) < 1e15


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=8), DOCUMENTS, max_size=4))
def test_figures_have_names_for_prometheus(document: dict[str, Any]) -> None:
    """Every key makes a name that Prometheus takes, every value is a finite number."""
    for name, value in metrics.figures("x", metrics.bounded(document)):
        assert metrics.is_name(name) and math.isfinite(value)


@settings(max_examples=40)
@given(st.text() | st.lists(st.text()).map("\n".join))
def test_text_is_read_line_by_line(text: str) -> None:
    """No text is too strange: what comes out are names and finite numbers, and lines of the right form are found."""
    for name, value in metrics.exposition(text).items():
        assert metrics.is_name(name) and math.isfinite(value)
    good = "k1_fps 150.25\nk1_nan nan\nk1_big 1e999\n1bad 5\nk1_two 1 2\nk1_free 165\n"
    assert metrics.exposition(good) == {"k1_fps": 150.25, "k1_free": 165.0}


def test_one_endpoint_does_not_eat_the_others_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stalls, one drips, one is endless, one garbage, one 404: each has its reason, all others are there."""
    bad = {
        "/api/device/performance": "stall",
        "/metrics": "drip",
        "/api/audio/tempo": "endless",
        "/api/rmt": "garbage",
        "/api/wifi/metrics": "none",
    }

    monkeypatch.setattr(metrics, "_LEAST", 0.1)

    def answer(link: socket.socket) -> None:
        path = link.recv(4096).split()[1].decode()
        how = bad.get(path, "")
        head = b"HTTP/1.1 404 Not Found\r\n\r\n" if how == "none" else b"HTTP/1.1 200 OK\r\n\r\n"
        link.sendall(head)
        if how == "stall":
            link.recv(1)  # until the client gives up
        while how in ("drip", "endless"):
            link.sendall(b" " * (1 if how == "drip" else BODY_LIMIT))
            time.sleep(0.02)
        if not how or how == "garbage":
            link.sendall(b'{"fps": 1}' if not how else b"<html>")

    with http_server(answer) as port:
        device = {"host": "127.0.0.1", "http_port": port, "probe_timeout": 5}
        found, missing = metrics.collect(device, time.monotonic() + 0.7)
    reasons = {row["path"]: row["code"] for row in missing}
    assert reasons == {
        "/api/device/performance": "device-offline",
        "/metrics": "device-offline",
        "/api/audio/tempo": "device-garbage",
        "/api/rmt": "device-garbage",
        "/api/wifi/metrics": "device-garbage",
    }
    assert set(found) == {e.path for e in metrics.ENDPOINTS} - set(bad)
    assert all(document == {"fps": 1} for document in found.values())


def test_no_time_is_a_reason() -> None:
    """With nothing left, nothing is asked and all of it is missing."""
    device = {"host": "127.0.0.1", "http_port": 9, "probe_timeout": 5}
    found, missing = metrics.collect(device, time.monotonic() - 1)
    assert not found and {row["code"] for row in missing} == {"no-time"} and len(missing) == len(metrics.ENDPOINTS)
