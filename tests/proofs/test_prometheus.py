"""A real Prometheus scrapes the server, loads the rules and knows what was told."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from k1ctl.config import load
from k1ctl.metrics.rules import PROMETHEUS, files, write
from tests.kit import Project, finish, needs, wait_until
from tests.metrics.told import lived


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """A server with the configuration and the rules of ``folder``; its address."""
    address = f"127.0.0.1:{free_port()}"
    argv = ["prometheus", f"--config.file={folder / PROMETHEUS}", f"--storage.tsdb.path={folder / 'data'}"]
    argv.append("--scrape.discovery-reload-interval=10ms")  # 5 s, else, until it looks for targets
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


@needs("prometheus")
def test_prometheus_scrapes_and_loads(workspace: Project, tmp_path: Path) -> None:
    """The target is up, samples are those of the repository, all rules are healthy, and an alert goes pending."""
    lived(workspace)
    server = workspace.popen("metrics", "serve", "--port", "0", "--json")
    try:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        workspace.configure(
            workspace.config_file.read_text()
            + f'[metrics]\nport = {port}\nperiod = "200ms"\n[alerts.success]\nevents = 2\nfor = "1h"\n'
        )
        write(str(tmp_path), files(load(workspace.facts())))
        with prometheus(tmp_path) as address:

            def success() -> Any:
                return (ask(address, "query", query="agent_success_rate") or {}).get("result")

            wait_until(success)
            assert round(float(success()[0]["value"][1]), 4) == 0.6667
            (target,) = ask(address, "targets")["activeTargets"]
            assert target["health"] == "up" and target["lastError"] == ""
            histogram = ask(address, "query", query='k1_build_duration_seconds_bucket{le="120.0"}')["result"]
            assert float(histogram[0]["value"][1]) == 3
            names = [result["metric"]["__name__"] for result in ask(address, "query", query="{job='k1ctl'}")["result"]]
            assert {"k1_queue_waiting", "conductor_workspace_count"} <= set(names)

            def rules() -> list[Any]:
                groups = (ask(address, "rules") or {"groups": []})["groups"]
                return [rule for group in groups for rule in group["rules"]]

            def pending() -> set[str]:
                return {alert["labels"]["alertname"] for alert in ask(address, "alerts")["alerts"]}

            wait_until(lambda: rules() and all(rule["health"] == "ok" for rule in rules()))
            assert len(rules()) == 41
            wait_until(lambda: "K1SuccessLow" in pending())
    finally:
        server.terminate()
        assert finish(server) == 0
