"""`k1ctl init --conductor`: the scripts, Conductor's file, and what became of each key of a conductor.json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.files import Locked
from k1ctl_plugins.init import imports, scripts
from tests.kit import REPOSITORY, Project, finish, wait_until

# The keys of the K1 repository's first conductor.json, and those that its last one added.
K1: dict[str, Any] = {
    "scripts": {
        "setup": "bash ops/scripts/conductor-setup.sh",
        "run": "bash ops/scripts/conductor-run.sh",
        "archive": "bash ops/scripts/conductor-archive.sh",
    },
    "runScriptMode": "nonconcurrent",
    "maxConcurrentWorkspaces": 16,
    "deviceUploadQueue": {"max_concurrent": 1, "timeout_sec": 240, "retry_policy": "exponential_backoff"},
    "portRange": {"start": 3000, "count": 10, "perWorkspace": True},
    "environment": {
        "NODE_VERSION": "20.11.0",
        "PATH_ADDITIONS": "/opt/x",
        "PIO_HOME": "~/pio",
        "K1_TARGET": "fw:build",
    },
    "mcp": {"servers": {"k1_device": {"headers": {"X-API-Key": "hidden-value"}}}},
    "git": {"agentIdentity": "agent", "branchPrefix": "conductor"},
    "workspace": {
        "timeout_sec": 3600,
        "symlink_shared_caches": True,
        "shared_paths": ["node_modules", "firmware/.pio"],
    },
    "monitoring": {"prometheus_port": 8080, "logs_dir": "~/.conductor/logs"},
    "failover": {
        "max_retries": 3,
        "retry_backoff_sec": 10,
        "timeout_device_check_sec": 30,
        "escalation_after_attempts": 2,
    },
    "enterpriseDataPrivacy": True,
    "agents": [{"name": "CodeGenAgent"}],
    "tasks": [],
    "ownKey": {"deep": 1},
}
SETTINGS_TOML = Path(".conductor") / "settings.toml"


def write_json(project: Project, **changes: Any) -> None:
    project.write("conductor.json", json.dumps({**K1, **changes}))


def init(project: Project, *args: str) -> Any:
    return project.run("init", "--json", *args).assert_ok().json


def became(report: Any) -> dict[str, str]:
    return {row["key"]: row["became"] for row in report["conductor"]["keys"]}


def test_a_fresh_repository_is_ready_for_conductor(workspace: Project) -> None:
    """Executable scripts that find this k1ctl with nothing in the environment, and the file that names them."""
    report = init(workspace, "--conductor")["conductor"]
    assert (report["form"], report["written"]) == ("toml", True)
    assert {Path(s["path"]).name: s["how"] for s in report["scripts"]} == dict.fromkeys(scripts.NAMES, "made")
    settings = tomllib.loads((workspace.root / SETTINGS_TOML).read_text())
    assert settings["scripts"]["run_mode"] == "concurrent"
    tree = workspace.add_worktree("oslo")
    env = {"CONDUCTOR_ROOT_PATH": str(workspace.root), "CONDUCTOR_WORKSPACE_PATH": str(tree)}
    env |= {"K1CTL_HOST_DIR": os.environ["K1CTL_HOST_DIR"]}
    commands = {name: settings["scripts"][name] for name in ("setup", "archive")}
    commands |= {name: row["command"] for name, row in settings["scripts"]["run"].items()}
    for name, command in commands.items():  # as Conductor calls them: a shell's line, in the workspace
        line = (
            command if name in ("setup", "archive") else command.replace('conductor-run"', 'conductor-run" --dry-run')
        )
        done = subprocess.run(["sh", "-c", line], cwd=tree, env=env, capture_output=True, text=True)
        folder_missing = done.returncode == 78 and "not there" in done.stderr  # there is no webapp and no firmware
        assert done.returncode == 0 or folder_missing, (name, done)


def test_every_button_is_a_target(workspace: Project) -> None:
    """The examples name only targets that there are, one is the default, and both call the same scripts."""
    settings = tomllib.loads(scripts.source("settings.toml.example").decode())
    known = load(workspace.facts(), {}).names("run_targets")
    buttons = settings["scripts"]["run"]
    assert {row["command"].split()[-1] for row in buttons.values()} <= set(known)
    assert [name for name, row in buttons.items() if row.get("default")] == ["web-dev"]
    legacy = json.loads(scripts.source("conductor.json.example"))
    assert legacy["runScriptMode"] == settings["scripts"]["run_mode"] == "concurrent"
    assert [legacy["scripts"][n] for n in ("setup", "archive")] == [
        settings["scripts"][n] for n in ("setup", "archive")
    ]
    assert set(legacy) == {"//", "scripts", "runScriptMode"} and "SIGKILL" in legacy["//"]


def test_it_is_for_every_form(workspace: Project) -> None:
    """json when asked for, or when that is what there is; else settings.toml; of both Conductor reads the latter."""
    root = str(workspace.root)
    assert scripts.form_of(root, "auto") == "toml"
    report = init(workspace, "--conductor", "json")["conductor"]
    assert report["file"].endswith("conductor.json") and not (workspace.root / SETTINGS_TOML).exists()
    assert scripts.form_of(root, "auto") == "json"
    workspace.write(str(SETTINGS_TOML), "")
    assert scripts.form_of(root, "auto") == "toml"
    workspace.run("init", "--conductor", "yaml").assert_fails(2)


def test_every_key_is_told_of(workspace: Project) -> None:
    """One row for each, with the setting it became or the reason why nothing; what may be secret is not shown."""
    write_json(workspace)
    done = workspace.run("init", "--json", "--conductor").assert_ok()
    report = done.json
    assert became(report) == {
        **{f"scripts.{name}": "conductor" for name in ("setup", "run", "archive")},
        "runScriptMode": "conductor",
        "maxConcurrentWorkspaces": "imported",
        "deviceUploadQueue.max_concurrent": "same",
        "deviceUploadQueue.timeout_sec": "imported",
        "deviceUploadQueue.retry_policy": "same",
        "portRange": "none",
        "environment.NODE_VERSION": "none",
        "environment.PATH_ADDITIONS": "none",
        "environment.PIO_HOME": "none",
        "environment.K1_TARGET": "imported",
        "mcp": "none",
        "git": "none",
        "workspace.timeout_sec": "none",
        "workspace.symlink_shared_caches": "none",
        "workspace.shared_paths": "none",
        "monitoring": "none",
        "failover.max_retries": "imported",
        "failover.retry_backoff_sec": "same",
        "failover.timeout_device_check_sec": "add",
        "failover.escalation_after_attempts": "none",
        "enterpriseDataPrivacy": "conductor",
        "agents": "none",
        "tasks": "none",
        "ownKey.deep": "none",
    }
    why = {row["key"]: row["why"] for row in report["conductor"]["keys"]}
    assert all(why.values()) and why["ownKey.deep"] == imports.UNKNOWN
    assert "SIGKILL" in why["runScriptMode"] and "SIGKILL" in " ".join(report["conductor"]["notes"])
    told = workspace.run("init", "--conductor").assert_ok()
    for secret in ("hidden-value", "/opt/x"):
        assert secret not in done.stdout + done.stderr + told.stdout + told.stderr
    assert all(key in told.stdout for key in became(report))


def test_settings_come_into_a_fresh_configuration(workspace: Project) -> None:
    """Where there was none, the written file has them in their places, and the hook does what the old script did."""
    write_json(workspace)
    init(workspace, "--conductor", "toml")
    config = load(workspace.facts(), {})
    assert config.get("ota", "attempt_timeout") == 240.0 and config.origin("ota", "attempt_timeout") == "file"
    assert config.get("capacity", "agents") == 16
    assert config.get("ota", "attempts") == 4 and config.get("hooks", "target") == "fw:build"
    assert config.names("devices") == []
    assert "k1ctl build" in workspace.run("hook", "run", "--dry-run").assert_ok().stdout


def test_an_existing_configuration_is_only_added_to(workspace: Project) -> None:
    """Tables that it lacks come at its end; for those it has the lines are told; every byte of it stays. Once."""
    write_json(workspace)
    mine = '# mine\n[ota]\nattempts = 2  # by hand\n[devices.k1]\nhost = "a"'
    workspace.configure(mine)
    report = init(workspace, "--conductor")
    text = workspace.config_file.read_text()
    source = "\n\n# from conductor.json\n"
    assert text == f'{mine}{source}[capacity]\nagents = 16{source}[hooks]\ntarget = "fw:build"\n'
    assert report["conductor"]["added"][1:] == text.splitlines()[6:]
    by_hand = {row["setting"]: row["line"] for row in report["conductor"]["by_hand"]}
    assert by_hand == {
        "ota.attempt_timeout": 'attempt_timeout = "4m"',
        "devices.k1.probe_timeout": 'probe_timeout = "30s"',
    }
    assert became(report)["failover.max_retries"] == "kept"
    again = init(workspace, "--conductor")
    assert workspace.config_file.read_text() == text and again["conductor"]["added"] == []
    assert became(again)["environment.K1_TARGET"] == "same"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"deviceUploadQueue": {"timeout_sec": "soon"}}, "deviceUploadQueue.timeout_sec"),
        ({"deviceUploadQueue": {"timeout_sec": True}}, "deviceUploadQueue.timeout_sec"),
        ({"failover": {"max_retries": -3}}, "failover.max_retries"),
        ({"failover": {"max_retries": [1]}}, "failover.max_retries"),
        ({"environment": {"RUN_TARGET": "agent:CodeGenAgent:1"}}, "environment.RUN_TARGET"),
    ],
)
def test_values_that_make_no_sense_are_not_taken(workspace: Project, changes: dict[str, Any], key: str) -> None:
    """The row says what is wrong with the value; the configuration stays one that loads."""
    write_json(workspace, **changes)
    report = init(workspace, "--conductor")
    row = next(row for row in report["conductor"]["keys"] if row["key"] == key)
    assert row["became"] == "none" and row["why"]
    workspace.run("config", "show").assert_ok()


@pytest.mark.parametrize("order", [("RUN_TARGET", "K1_TARGET"), ("K1_TARGET", "RUN_TARGET")])
def test_of_two_targets_the_one_that_counts_is_taken(workspace: Project, order: tuple[str, str]) -> None:
    """`hook run` looks at RUN_TARGET first, whatever the order in the file; the other's row says so."""
    values = {"RUN_TARGET": "web:test", "K1_TARGET": "fw:build"}
    workspace.write("conductor.json", json.dumps({"environment": {name: values[name] for name in order}}))
    report = init(workspace, "--conductor")
    assert became(report) == {"environment.RUN_TARGET": "imported", "environment.K1_TARGET": "none"}
    assert load(workspace.facts(), {}).get("hooks", "target") == "web:test"


def test_what_is_added_goes_through_a_link_and_keeps_permissions(workspace: Project) -> None:
    """A k1ctl.toml that only its owner reads, and that is a link, is both afterwards."""
    write_json(workspace)
    target = workspace.write("elsewhere.toml", "[ota]\n")
    target.chmod(0o600)
    workspace.config_file.symlink_to(target)
    init(workspace, "--conductor")
    assert workspace.config_file.is_symlink() and target.stat().st_mode & 0o777 == 0o600
    assert load(workspace.facts(), {}).get("hooks", "target") == "fw:build"


def test_a_change_at_the_same_time_is_not_lost(workspace: Project) -> None:
    """What is added waits for the lock that `config set` takes, and then sees what that wrote."""
    write_json(workspace)
    path = workspace.configure("[ota]\n")
    with Locked(str(path)):
        adding = workspace.popen("init", "--conductor")
        wait_until(lambda: (workspace.ops / "hooks" / "conductor-archive").exists())
        path.write_text("[ota]\nattempts = 9\n")
    assert finish(adding) == 0
    config = load(workspace.facts(), {})
    assert config.get("ota", "attempts") == 9 and config.get("hooks", "target") == "fw:build"


def test_privacy_is_carried_over(workspace: Project) -> None:
    """conductor.json counts no more beside settings.toml, so what it says about privacy goes with it."""
    write_json(workspace)
    report = init(workspace, "--conductor", "toml")
    settings = tomllib.loads((workspace.root / SETTINGS_TOML).read_text())
    assert settings["enterprise_data_privacy"] is True and settings["scripts"]["run_mode"] == "concurrent"
    assert any("passes conductor.json over" in note for note in report["conductor"]["notes"])
    (workspace.root / SETTINGS_TOML).write_text("[scripts]\nrun_mode = 'nonconcurrent'\n")
    notes = " ".join(init(workspace, "--conductor", "toml")["conductor"]["notes"])
    assert "lacks enterprise_data_privacy" in notes and "SIGKILL" in notes and "does not call all" in notes


@pytest.mark.parametrize("form", ["json", "toml"])
def test_files_that_are_there_are_kept(workspace: Project, form: str) -> None:
    """Neither Conductor's file nor a script that is somebody else's is replaced; both are told. Ours is renewed."""
    write_json(workspace)
    workspace.write(str(SETTINGS_TOML), "# mine\n")
    foreign = workspace.write("ops/hooks/conductor-run", "#!/bin/sh\necho mine\n")
    old = workspace.write("ops/hooks/conductor-setup", "#!/bin/sh\n# k1ctl hook: conductor-setup. An older one.\n")
    before = (workspace.root / "conductor.json").read_text()
    report = init(workspace, "--conductor", form)["conductor"]
    assert report["written"] is False
    assert [s["how"] for s in report["scripts"]] == ["renewed", "kept", "made", "made"]
    assert foreign.read_text() == "#!/bin/sh\necho mine\n"
    assert old.read_bytes() == scripts.source("conductor-setup") and os.access(old, os.X_OK)
    assert (workspace.root / "conductor.json").read_text() == before
    assert (workspace.root / SETTINGS_TOML).read_text() == "# mine\n"
    assert any(str(foreign) in note for note in report["notes"])
    again = init(workspace, "--conductor", form)["conductor"]["scripts"]
    assert [s["how"] for s in again] == ["same", "kept", "same", "same"]


def test_a_dry_run_changes_nothing(workspace: Project) -> None:
    """It tells what would be written and shows its text, which is the one that is written then."""
    write_json(workspace)
    workspace.ops.rmdir()
    planned = init(workspace, "--conductor", "toml", "--dry-run")
    assert sorted(p.name for p in workspace.root.iterdir()) == [".git", "README", "conductor.json"]
    done = init(workspace, "--conductor", "toml")
    assert (workspace.root / SETTINGS_TOML).read_text() == planned["conductor"]["text"]
    assert workspace.config_file.read_text() == planned["config"]
    assert became(planned) == became(done) and planned["conductor"]["scripts"] == done["conductor"]["scripts"]


ODD_NUMBERS = ['{"a": NaN}', '{"failover": {"max_retries": 1e400}}', '{"a": -Infinity}', f'{{"a": {"9" * 5000}}}']


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1,}', "\xff", "[" * 100_000, *ODD_NUMBERS])
def test_a_broken_conductor_json_is_named(workspace: Project, content: str) -> None:
    """Exit 78 with the file, before anything was made."""
    workspace.write("conductor.json", content.encode("latin-1"))
    workspace.ops.rmdir()
    workspace.run("init", "--conductor").assert_fails(78, "conductor.json")
    assert not workspace.ops.exists()
    workspace.run("init").assert_ok()


def test_what_git_ignores_is_told(workspace: Project) -> None:
    """The K1 repository ignores everything that it does not name: without force the file would never be committed."""
    workspace.write(".gitignore", "/*\n!/webapp\n")
    notes = init(workspace, "--conductor")["conductor"]["notes"]
    all_of_them = ".conductor/settings.toml ops/k1ctl.toml ops/hooks/conductor-setup ops/hooks/conductor-run"
    assert any(f"git add -f {all_of_them} ops/hooks/conductor-archive" in note for note in notes)
    workspace.write(".gitignore", "ops/*\n")
    workspace.git("add", "-f", "ops/k1ctl.toml")
    notes = init(workspace, "--conductor")["conductor"]["notes"]
    assert any("git add -f ops/hooks/conductor-setup" in note for note in notes)


def test_the_record_of_this_k1ctl_is_no_ones_commit(workspace: Project) -> None:
    """k1ctl.path is this host's own: git does not see it, the scripts can be committed."""
    script = Path(sys.executable).parent / "k1ctl"
    if not script.exists():
        pytest.skip("needs an installed k1ctl")
    init(workspace, "--conductor")
    assert (workspace.ops / "hooks" / scripts.RECORD).read_text() == f"{script}\n"
    status = workspace.git("status", "--porcelain", "--untracked-files=all").splitlines()
    assert "?? ops/hooks/conductor-run" in status
    assert not any(scripts.RECORD in line for line in status)


def test_without_the_option_nothing_of_conductor(workspace: Project) -> None:
    """A plain init writes no script and reads no conductor.json."""
    workspace.write("conductor.json", "{")
    assert "conductor" not in init(workspace)
    assert not (workspace.ops / "hooks").exists()


def test_the_web_app_becomes_a_target_where_there_is_one(workspace: Project) -> None:
    """`web:build` needs [targets.web]; init writes it beside webapp/package.json, and only there."""
    workspace.write("webapp/package.json", "{}")
    init(workspace)
    config = load(workspace.facts(), {})
    assert config.get("targets", "web", "kind") == "npm" and config.get("targets", "web", "path") == "webapp"


def test_the_files_come_from_one_place() -> None:
    """What init writes is what lies in hooks/ of the source tree."""
    for name in (*scripts.NAMES, *scripts.EXAMPLES.values()):
        assert scripts.source(name) == (REPOSITORY / "hooks" / name).read_bytes()
    with pytest.raises(FileNotFoundError, match="lacks it"):
        scripts.source("no-such-file")
