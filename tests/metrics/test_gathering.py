"""All plugins are asked; what each tells, and what becomes of one that fails."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from k1ctl.config import load
from k1ctl.metrics import aliases
from k1ctl.metrics.exposition import FORMATS, render
from k1ctl.plugins import Plugins
from k1ctl.queue import view
from k1ctl.samples import COUNTER, GAUGE, INFO
from tests.kit import REPOSITORY, Project
from tests.metrics.told import gathered, lived, value
from tests.queue.owners import Owners

HEAD = """
from k1ctl.hookspecs import hookimpl
from k1ctl.samples import Family
@hookimpl
def k1ctl_samples():
    """


def test_each_plugin_tells_what_it_knows(workspace: Project) -> None:
    """Figures of queue, builds, uploads, device, budget and host are those of the files; no plugin fails."""
    workspace.add_worktree("oslo")
    found = gathered(lived(workspace))
    assert found.failed == {}
    assert value(found, "k1_builds", target="fw", result="done") == 3
    assert value(found, "k1_builds", target="fw", result="failed") == 1
    assert value(found, "k1_builds", target="fw", result="timeout") == 0  # a rate needs it
    assert value(found, "k1_uploads", target="fw", result="done") == 1
    assert value(found, "k1_queue_slots", resource="device:k1") == 1
    assert value(found, "k1_device_up", device="k1") == 1
    assert value(found, "k1_device_fps", device="k1") == 148.5
    assert value(found, "k1_device_heap_free_bytes", device="k1") == 165 * 1024
    assert value(found, "k1_device_uptime_seconds", device="k1") == 60
    assert value(found, "k1_device_state", device="k1", state="offline") == 0
    assert value(found, "k1_budget_limit_tokens", scope="day", name="") == 1_000_000
    assert value(found, "k1_budget_breaker_open", provider="acme") == 0
    assert value(found, "k1_workspaces", status="active") == 1
    assert value(found, "k1_build_recent_cache_hits", target="fw") == 30
    assert value(found, "k1_artifacts", target="fw") == 1
    assert (value(found, "k1_host_memory_bytes") or 0) > 0
    histogram = found.family("k1_build_duration_seconds").histograms[0]
    assert histogram[0] == {"target": "fw"} and histogram[2:] == (3, 270.0)
    waits = found.family("k1_queue_wait_seconds").histograms
    assert [each[2:] for each in waits if each[0] == {"resource": "device:k1"}] == [(2, 5.0)]


def test_the_page_has_every_name(workspace: Project) -> None:
    """docs/metrics.md lists each family with its kind, and none that nobody tells."""
    found = gathered(lived(workspace), aliases=False)
    suffixes = {COUNTER: "_total", INFO: "_info"}
    told = {(family.name + suffixes.get(family.kind, ""), family.kind) for family in found.families}
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    listed = set(re.findall(r"^\| `(k1_\w+)` \| (\w+) \|", page, re.MULTILINE))
    beside = {("k1_config_valid", GAUGE), ("k1_labels_beyond", GAUGE)}
    alerts = {row for row in listed if row[0].startswith("k1_alert_")}
    assert told - alerts == listed - beside - alerts


def test_a_ticket_is_a_sample(workspace: Project) -> None:
    """Who holds a slot and who stands in line are counted by resource, and so is what is paused."""
    lived(workspace)
    with Owners(workspace.ops / "queue") as owners:
        owners.enqueue({"device:k1": 1})
        owners.until(lambda: len(owners.now("granted")) == 1, "the first is let in")
        owners.enqueue({"device:k1": 1, "build:fw": 1})
        owners.until(lambda: len(view.entries(str(workspace.ops / "queue"))) == 2, "the second stands in line")
        view.pause(str(workspace.ops / "queue"), "build:fw", "cable")
        found = gathered(workspace)
    assert value(found, "k1_queue_held", resource="device:k1") == 1
    assert value(found, "k1_queue_waiting", resource="device:k1") == 1
    assert value(found, "device_upload_queue_length") == 1
    assert value(found, "k1_queue_waiting", resource="build:fw") == 1
    assert value(found, "k1_queue_held", resource="build:fw") == 0
    assert value(found, "k1_queue_paused", resource="build:fw") == 1
    assert value(found, "k1_queue_paused", resource="device:k1") == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"wall": "x"}', '{"host": "127.0.0.1", "http_port": 1, "wall": 1}'])
def test_files_that_are_damaged_fail_no_plugin(text: str, workspace: Project) -> None:
    """A device's record, a manifest, the tally: what cannot be read of one is not told, all else is."""
    lived(workspace)
    answers = '{"/api/device/info": {"outcome": "no-answer"}, "/api/health": {"outcome": "no-answer"}}'
    text = text.replace('"wall": 1}', f'"wall": 1, "answers": {answers}}}')
    for name in ("device/k1.json", "artifacts/fw/" + "0" * 16 + "/manifest.json", "metrics/tally.json"):
        workspace.write(f"ops/{name}", text)
    workspace.write("ops/artifacts/.DS_Store", "x")
    found = gathered(workspace)
    assert found.failed == {}
    assert value(found, "k1_device_up", device="k1") is None
    assert value(found, "k1_build_recent_steps", target="fw") is None
    assert value(found, "k1_builds", target="fw", result="done") == 3


def test_the_annexes_names_have_the_same_figures(workspace: Project) -> None:
    """Annex B's eight and Annex C's four names, and Annex B's JSON with its durations; off, none of them is told."""
    found = gathered(lived(workspace))
    families = {family.name: family for family in found.families}
    assert aliases.document(families, load(workspace.facts())) == {
        "workspace_count_active": 0,
        "device_upload_queue_length": 0,
        "build_cache_hit_rate": 0.75,
        "agent_success_rate": pytest.approx(4 / 6, abs=1e-4),
        "mean_time_to_upload": "45s",
        "mean_time_to_compile": "90s",
        "render_fps_min": 148.5,
        "render_fps_target": 150,
    }
    for name in aliases.ANNEX_B:
        assert families[name].samples
    assert families["conductor_workspace_count"].samples == families["k1_workspaces"].samples
    runs = {labels["target"]: count for labels, _, count, _ in families["conductor_run_duration_seconds"].histograms}
    assert runs == {"fw:build": 3, "fw:upload": 1}
    assert families["conductor_agent_success_rate"].samples == families["agent_success_rate"].samples
    assert families["conductor_device_upload_queue_length"].samples == [({}, 0)]
    plain = gathered(workspace, aliases=False)
    assert all(family.name.startswith("k1_") for family in plain.families)
    workspace.configure("[metrics]\naliases = false\nmost = 1\n")
    assert all(family.name.startswith("k1_") for family in gathered(workspace).families)


def test_nothing_known_is_no_sample(workspace: Project) -> None:
    """In a repository where nothing ever happened no rate and no mean is made up, and no plugin fails."""
    found = gathered(workspace)
    assert found.failed == {}
    figures = aliases.figures({family.name: family for family in found.families}, load(workspace.facts()))
    unknown = [name for name, figure in figures.items() if figure is None]
    assert unknown == [
        *("build_cache_hit_rate", "agent_success_rate", "mean_time_to_upload", "mean_time_to_compile"),
        "render_fps_min",
    ]
    assert not {f.name for f in found.families if f.samples} & set(unknown)


def test_a_look_changes_nothing_but_the_tally(workspace: Project) -> None:
    """No lock is waited for and no file of ops/ changes but the tally's own: also where ops/ cannot be written."""
    lived(workspace)
    before = workspace._files()
    gathered(workspace)
    changed = {os.path.relpath(path, workspace.ops) for path, _ in before ^ workspace._files()}
    assert {name for name in changed if not os.path.basename(name).startswith(("tally", ".tally", ".config"))} == set()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise OSError('broken')", "OSError: broken"),
        ("return 7", "TypeError"),
        ("return [7]", "no Family"),
        ("return [Family('k1_lamps', 'gauge', '').add('x')]", "no value"),
        ("return [Family('k1_events', 'counter', '').add(1)]", "of plugin events already"),
        ("return [Family('k1_a', 'gauge', ''), Family('k1_a', 'gauge', '')]", "of plugin zeta already"),
        ("f = Family('k1_a', 'gauge', ''); f.samples = [3]; return [f]", "samples that are none"),
        ("import sys; sys.exit(3)", "SystemExit"),
    ],
)
def test_a_plugin_that_fails_is_a_sample_and_hides_no_other(
    body: str, text: str, workspace: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However it fails: k1_collector_up 0 for it, 1 for the others, whose samples are there; the text can be read."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "p_zeta.py").write_text(HEAD + body)
    plugins = Plugins({"events": "k1ctl_plugins.events", "zeta": "p_zeta"})
    found = gathered(lived(workspace), plugins=plugins)
    assert set(found.failed) == {"zeta"} and text in found.failed["zeta"]
    assert value(found, "k1_collector_up", plugin="zeta") == 0
    assert value(found, "k1_collector_up", plugin="events") == 1
    assert value(found, "k1_events", event="build.finished") == 4
    for form in FORMATS:
        assert 'k1_collector_up{plugin="zeta"} 0' in render(found.families, form)


def test_labels_have_at_most_so_many_values(workspace: Project) -> None:
    """[metrics] most holds for every family; how many stood beyond is a sample."""
    lived(workspace)
    workspace.configure(workspace.config_file.read_text() + "[metrics]\nmost = 2\n")
    found = gathered(workspace)
    for family in found.families:
        if family.name.startswith(("k1_collector", "k1_labels_beyond")):  # there are few plugins and families
            continue
        for label in {name for labels, _ in family.samples for name in labels}:
            assert len({labels[label] for labels, _ in family.samples} - {"other"}) <= 2, family.name
    assert value(found, "k1_labels_beyond", family="k1_builds") == 5
    assert value(found, "k1_builds", target="fw", result="other") == 0


def test_annex_b_is_of_all_there_is(workspace: Project) -> None:
    """Also of devices and resources beyond [metrics] most: the slowest device is the slowest of all."""
    lived(workspace)
    record = json.loads((workspace.ops / "device" / "k1.json").read_text())
    for name, fps in (("k2", 60.5), ("k3", 90.0)):
        record["answers"]["/api/health"]["document"]["fps"] = fps
        workspace.write(f"ops/device/{name}.json", json.dumps({**record, "device": name}))
    devices = "".join(f'[devices.{name}]\nhost = "127.0.0.1"\nhttp_port = 1\n' for name in ("k2", "k3"))
    workspace.configure(workspace.config_file.read_text() + devices + "[metrics]\nmost = 1\n")
    found = gathered(workspace)
    assert found.annex["render_fps_min"] == value(found, "render_fps_min") == 60.5
    assert found.annex["workspace_count_active"] == value(found, "workspace_count_active") == 0
    assert found.annex["mean_time_to_upload"] == "45s"
