"""A real Prometheus scrapes the server, loads the rules and knows what was told."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.metrics.exposition import OPENMETRICS, render
from k1ctl.metrics.rules import DASHBOARD, PROMETHEUS, files, write
from tests.kit import Project, finish, needs, wait_until
from tests.metrics.told import gathered, lived

RULES = '[metrics]\nport = {port}\nperiod = "200ms"\n[alerts.success]\nevents = 2\nfor = "1h"\n'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """A server with the configuration and the rules of ``folder``; its address."""
    address = f"127.0.0.1:{free_port()}"
    argv = ["prometheus", f"--config.file={folder / PROMETHEUS}", f"--storage.tsdb.path={folder / 'data'}"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        finish(process)


def ask(address: str, path: str, **query: str) -> Any:
    """What its API answers; None while it is not there."""
    try:
        with urllib.request.urlopen(f"{address}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=20) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def value(found: Any) -> float:
    """The one figure of an answer."""
    (row,) = found["result"]
    return round(float(row["value"][1]), 4)


def rules(address: str) -> list[Any]:
    groups = (ask(address, "rules") or {"groups": []})["groups"]
    return [rule for group in groups for rule in group["rules"]]


def pending(address: str) -> set[str]:
    return {alert["labels"]["alertname"] for alert in ask(address, "alerts")["alerts"]}


def judged(address: str) -> None:
    """Every rule was evaluated without an error, and the one that has to is about to fire."""
    wait_until(lambda: rules(address) and all(rule["health"] == "ok" for rule in rules(address)))
    assert len(rules(address)) == 41
    wait_until(lambda: "K1SuccessLow" in pending(address))


@needs("promtool")
@needs("prometheus")
def test_prometheus_reads_samples_and_evaluates_rules(workspace: Project, tmp_path: Path) -> None:
    """Its own parser of OpenMetrics takes all samples; from them all rules are healthy, an alert goes pending, and each
    panel of the dashboard has a query that it can answer."""
    lived(workspace)
    workspace.configure(workspace.config_file.read_text() + RULES.format(port=8080))
    text = render(gathered(workspace).families, OPENMETRICS)
    (tmp_path / "text").write_text(re.sub(r"(?m)^([^#].*)$", rf"\1 {time.time():.0f}", text))  # a block wants times
    argv = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "text", "data"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    write(str(tmp_path), files(load(workspace.facts())))
    with prometheus(tmp_path) as address:
        judged(address)
        told = ask(address, "query", query='{__name__!=""}')["result"]
        assert sum(row["metric"]["__name__"] != "ALERTS" for row in told) >= text.count("\n") - text.count("#")
        assert value(ask(address, "query", query="agent_success_rate")) == 0.6667
        panels = json.loads((tmp_path / DASHBOARD).read_text())["panels"]
        queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
        asked = [query.replace("$instance", ".*").replace("$__rate_interval", "5m") for query in queries]
        answers = [ask(address, "query", query=query) for query in asked]
        assert len(answers) > 20 and None not in answers
        assert answers[0]["result"]


@pytest.mark.soak  # it looks for targets every 5 s, also for the first
@needs("prometheus")
def test_prometheus_scrapes_and_loads(workspace: Project, tmp_path: Path) -> None:
    """The target is up, samples are those of the repository, all rules are healthy, and an alert goes pending."""
    lived(workspace)
    server = workspace.popen("metrics", "serve", "--port", "0", "--json")
    try:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        workspace.configure(workspace.config_file.read_text() + RULES.format(port=port))
        write(str(tmp_path), files(load(workspace.facts())))
        with prometheus(tmp_path) as address:
            wait_until(lambda: (ask(address, "query", query="agent_success_rate") or {}).get("result"))
            assert value(ask(address, "query", query="agent_success_rate")) == 0.6667
            (target,) = ask(address, "targets")["activeTargets"]
            assert target["health"] == "up" and target["lastError"] == ""
            assert value(ask(address, "query", query='k1_build_duration_seconds_bucket{le="120.0"}')) == 3
            names = [result["metric"]["__name__"] for result in ask(address, "query", query="{job='k1ctl'}")["result"]]
            assert {"k1_queue_waiting", "conductor_workspace_count"} <= set(names)
            judged(address)
    finally:
        server.terminate()
        assert finish(server) == 0
