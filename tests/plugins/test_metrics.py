"""`k1ctl metrics`."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.kit import Project, finish, needs
from tests.metrics.told import lived


def test_print_is_data_alone(workspace: Project) -> None:
    """Both formats and JSON on stdout; the annexes' names only where they are wanted."""
    lived(workspace)
    text = workspace.run("metrics", "print", "--format", "openmetrics").assert_ok()
    assert text.stderr == ""
    families = {family.name: family for family in text_string_to_metric_families(text.stdout)}
    assert families["k1_builds"].type == "counter" and "agent_success_rate" in families
    told = workspace.run("metrics", "print", "--no-aliases", "--json").assert_ok().json
    assert told["failed"] == {}
    assert {family["name"] for family in told["families"] if not family["name"].startswith("k1_")} == set()


@needs("promtool")
def test_promtool_has_nothing_to_say(workspace: Project) -> None:
    """check metrics, but for one name that is the annex's: its ending belongs to histograms."""
    lived(workspace)
    for options, said in (
        (["--no-aliases"], ""),
        ([], 'conductor_workspace_count non-histogram and non-summary metrics should not have "_count" suffix\n'),
    ):
        text = workspace.run("metrics", "print", *options).assert_ok().stdout
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert done.stdout + done.stderr == said


def test_json_is_the_annexes(workspace: Project) -> None:
    """Its eight keys in its order, and nothing else."""
    told = workspace.run("metrics", "json").assert_ok().json
    assert list(told) == [
        *("workspace_count_active", "device_upload_queue_length", "build_cache_hit_rate", "agent_success_rate"),
        *("mean_time_to_upload", "mean_time_to_compile", "render_fps_min", "render_fps_target"),
    ]


def test_write_replaces_a_readable_file(workspace: Project, tmp_path: Path) -> None:
    """The default and one that is named, whatever the umask; a dry run writes none."""
    assert workspace.run("metrics", "write", "--dry-run").assert_ok().changed == ()
    mask = os.umask(0o077)
    try:
        told = workspace.run("metrics", "write", "--json").assert_ok().json
        quiet = workspace.run("metrics", "write", tmp_path / "x.prom").assert_ok()
    finally:
        os.umask(mask)
    assert quiet.stdout + quiet.stderr == ""  # for cron
    assert told["path"] == str(workspace.ops / "metrics" / "k1ctl.prom")
    for path in (Path(told["path"]), tmp_path / "x.prom"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert "k1_exported_at_seconds" in path.read_text()


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("k1ctl.txt", 2, "end in .prom"),
        (".prom", 2, "end in .prom"),
        ("no/k1.prom", 2, "no folder"),
        ("d.prom", 1, "was not written"),
    ],
)
def test_write_says_what_was_not_written(name: str, code: int, text: str, workspace: Project, tmp_path: Path) -> None:
    """A name the collector would pass over, a folder that is not there, a target that cannot be replaced."""
    (tmp_path / "d.prom" / "x").mkdir(parents=True)
    workspace.run("metrics", "write", tmp_path / name).assert_fails(code, text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_until_it_is_told_to_end(number: signal.Signals, workspace: Project) -> None:
    """It says where, serves what is so now with the configuration of now, and ends with 0; a second one is refused;
    without ops/ a scrape fails, and no counter begins anew."""
    lived(workspace)
    server = workspace.popen("metrics", "serve", "--port", "0", "--json")
    try:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        with urllib.request.urlopen(told["url"], timeout=20) as answer:
            assert b"\nagent_success_rate 0.66" in answer.read()
        if number == signal.SIGTERM:
            workspace.configure("[metrics]\naliases = false\n")
            with urllib.request.urlopen(told["url"], timeout=20) as answer:
                assert b"\nagent_success_rate" not in answer.read()
            workspace.configure("[metrics\n")
            with urllib.request.urlopen(told["url"], timeout=20) as answer:
                assert b"\nk1_config_valid 0\n" in answer.read()
            workspace.configure("")
            again = workspace.run("metrics", "serve", "--port", str(told["port"]), "--json")
            assert again.assert_fails(75).json["error"]["code"] == "port-taken"
            assert f"(pid {server.pid})" in again.json["error"]["message"]
            (workspace.root / "ops").rename(workspace.root / "away")
            with pytest.raises(urllib.error.HTTPError, match="503") as gone:
                urllib.request.urlopen(told["url"], timeout=20)
            assert b"is gone" in gone.value.read() and not workspace.ops.exists()
            (workspace.root / "away").rename(workspace.root / "ops")
            with urllib.request.urlopen(told["url"], timeout=20) as answer:
                assert b"\nk1_builds_total" in answer.read()
    finally:
        server.send_signal(number)
        assert finish(server) == 0


def test_rules_are_those_of_the_configuration(workspace: Project, tmp_path: Path) -> None:
    """Into ops/metrics or a folder that is there; limits come from [alerts]."""
    workspace.configure("[alerts.queue]\nlimit = 9\n")
    rows = workspace.run("metrics", "rules", "--json").assert_ok().json["files"]
    assert {row["state"] for row in rows} == {"written"}
    assert "k1_queue_waiting > 9" in (workspace.ops / "metrics" / "k1ctl.rules.yml").read_text()
    workspace.run("metrics", "rules", "--out", tmp_path / "none").assert_fails(2, "no folder")
