"""Starting a command costs what importing click costs: what may be imported is held by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl.discovery import entry_points
from k1ctl.plugins import Plugins
from tests.archive.saving import archived
from tests.kit import REPOSITORY, Project

HEAVY = {
    "asyncio",
    "concurrent.futures",
    "email",
    "hashlib",
    "http.client",
    "importlib.metadata",
    "json",
    "logging",
    "multiprocessing",
    "pathlib",
    "pexpect",
    "psutil",
    "requests",
    "rich",
    "serial",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "tomllib",
    "urllib.request",
    "xml",
}
COMMANDS = sorted(entry_points())


def imported(*args: str, cwd: Path) -> set[str]:
    """The modules that ``k1ctl ARGS`` has loaded when it ends, beyond those of `import click` itself."""
    code = (
        "import click, sys, os\n"
        "before = set(sys.modules)\n"
        "sys.argv = ['k1ctl', *sys.argv[1:]]\n"
        "from k1ctl.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.stdout.flush()\n"
        "os.write(1, b'\\0' + '\\n'.join(set(sys.modules) - before).encode())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, capture_output=True, text=True)
    assert "\0" in done.stdout, done.stderr
    return set(done.stdout.rpartition("\0")[2].split())


def test_reserving_budget_stays_light(workspace: Project) -> None:
    """`budget reserve` and `budget check` load sqlite3 and nothing else that costs; a --help not even that."""
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.configure('[budget]\nday = "1M"\n')
    for words in (("reserve", "1k"), ("check", "--need", "1k"), ("status", "--json")):
        assert imported("budget", *words, cwd=workspace.root) & (HEAVY | {"threading"}) <= {"sqlite3", "tomllib"}
    modules = imported("budget", "reserve", "1k", cwd=workspace.root)
    assert modules & (HEAVY | {"threading", "zoneinfo", "k1ctl.budget.prices"}) == {"sqlite3"}
    for name in ("reserve", "sync"):
        modules = imported("budget", name, "--help", cwd=workspace.root)
        assert not modules & HEAVY and not any(m.startswith(("k1ctl.budget", "k1ctl.state")) for m in modules)


def test_events_stay_light(workspace: Project) -> None:
    """Listing, figures and compressing need the standard library's JSON as little as `tail` does."""
    workspace.write("ops/events/2026-01-01.jsonl", '{"at":"2026-01-01T10:00:00.000Z","event":"a.b","n_seconds":1}\n')
    for words in (("list", "--limit", "1"), ("tail", "--jsonl"), ("stats", "a.b"), ("compact",), ("list", "--json")):
        assert not imported("events", *words, cwd=workspace.root) & (HEAVY | {"threading", "gzip"})


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_imports_itself_and_nothing_heavy(name: str, workspace: Project) -> None:
    """`k1ctl NAME --help` loads exactly one plugin package, and nothing that costs."""
    modules = imported(name, "--help", cwd=workspace.root)
    assert not modules & HEAVY
    assert {m.split(".")[1] for m in modules if m.startswith("k1ctl_plugins.")} == {name}


def test_a_quick_command_stays_light_to_its_end(workspace: Project) -> None:
    """`queue list --json`, run through with root and configuration, still imports nothing heavy."""
    workspace.run("init").assert_ok()
    workspace.run("config", "get", "ota.attempts").assert_ok()  # the file is parsed once and kept
    modules = imported("queue", "list", "--json", cwd=workspace.root)
    assert not modules & HEAVY
    assert not imported("device", "disable", "k1", "--reason", "a test", cwd=workspace.root) & HEAVY


def test_asking_for_a_device_stays_light(workspace: Project) -> None:
    """`device health` loads sockets when it is the one who asks, and nothing heavy when it reads another's answer."""
    workspace.configure('[devices.k1]\nhost = "127.0.0.1"\nhttp_port = 9\n[device]\nwindow = "1h"\n')
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("config", "get", "ota.attempts").assert_ok()
    assert imported("device", "health", cwd=workspace.root) & (HEAVY | {"threading"}) == {"socket"}
    assert not imported("device", "health", "--json", cwd=workspace.root) & (HEAVY | {"threading"})
    assert not imported("device", "escalation", "--json", cwd=workspace.root) & (HEAVY | {"threading"})
    assert not imported("device", "rollback", "--list", cwd=workspace.root) & (HEAVY | {"threading", "socket"})


def test_listing_devices_stays_light(workspace: Project) -> None:
    """`device list` reads the answers that others got without a thing that is heavy; pyserial only for a MAC."""
    section = '[devices.k1]\nhost = "127.0.0.1"\nhttp_port = 9\n[device]\nwindow = "1h"\n'
    workspace.configure(section)
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("device", "list").assert_ok()
    assert not imported("device", "list", "--json", cwd=workspace.root) & (HEAVY | {"threading", "zeroconf"})
    workspace.configure(section.replace("[device]", 'mac = "02:4B:31:00:00:01"\n[device]'))
    workspace.run("device", "list").assert_ok()
    assert imported("device", "list", "--json", cwd=workspace.root) & (HEAVY | {"zeroconf"}) == {"serial"}


def test_status_stays_light(workspace: Project) -> None:
    """`status` reads files: no socket, process, walk over processes or database, which only kept books need."""
    workspace.configure('[targets.fw]\n[devices.k1]\nhost = "127.0.0.1"\nmac = "02:4B:31:00:00:01"\n')
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("config", "get", "ota.attempts").assert_ok()
    assert not imported("status", cwd=workspace.root) & (HEAVY | {"threading", "textual"})


def test_listing_worktrees_stays_light(workspace: Project) -> None:
    """`worktree list` asks git about every worktree without threads and without what is heavy."""
    (workspace.ops / "queue").mkdir(exist_ok=True)
    modules = imported("worktree", "list", "--json", cwd=workspace.root)
    assert not modules & (HEAVY | {"threading"})
    ours = {m for m in modules if m.startswith("k1ctl_plugins.worktree.")}
    assert ours == {"k1ctl_plugins.worktree.list", "k1ctl_plugins.worktree.listing"}


@pytest.mark.parametrize("name", ["disable", "discover", "enable", "escalation", "info", "list", "rollback", "watch"])
def test_each_of_them_tells_about_itself_at_once(name: str, workspace: Project) -> None:
    """Its --help loads its own package among those of `device`, and nothing heavy."""
    modules = imported("device", name, "--help", cwd=workspace.root)
    assert not modules & (HEAVY | {"zeroconf"})
    assert {m for m in modules if m.startswith("k1ctl_plugins.device.")} == {f"k1ctl_plugins.device.{name}"}


def test_telling_whose_ports_stays_light(workspace: Project) -> None:
    """`worktree ports` reads one file; a subcommand's --help loads its own module among those of `worktree`."""
    (workspace.ops / "queue").mkdir(exist_ok=True)
    assert not imported("worktree", "ports", "--json", cwd=workspace.root) & (HEAVY | {"threading"})
    for name in ("setup", "which"):
        modules = imported("worktree", name, "--help", cwd=workspace.root)
        assert not modules & HEAVY
        assert {m for m in modules if m.startswith("k1ctl_plugins.worktree.")} == {f"k1ctl_plugins.worktree.{name}"}


def test_reading_kept_logs_stays_light(workspace: Project) -> None:
    """`device logs` reads files; the console itself loads pexpect only for a dialogue."""
    master, slave = os.openpty()
    workspace.configure(f'[devices.k1]\nusb_port = "{os.ttyname(slave)}"\n')
    os.close(slave)
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("device", "logs", "--list").assert_ok()
    assert not imported("device", "logs", "--json", cwd=workspace.root) & HEAVY
    modules = imported("device", "console", "--for", "10ms", cwd=workspace.root)
    assert "serial" in modules and not modules & {"pexpect", "psutil", "rich", "sqlite3", "requests"}
    os.close(master)


def test_planning_a_pattern_test_stays_light(workspace: Project) -> None:
    """The call of `device test` only stands in line and waits; what measures is its worker."""
    workspace.configure('[devices.k1]\nhost = "127.0.0.1"\n')
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("config", "get", "ota.attempts").assert_ok()
    assert not imported("device", "test", "lava", "--dry-run", cwd=workspace.root) & (HEAVY | {"socket"})


def test_looking_at_artifacts_stays_light(workspace: Project) -> None:
    """`artifact list` reads manifests and hashes nothing; its --help loads its own module among those of `artifact`."""
    workspace.run("config", "get", "ota.attempts").assert_ok()
    assert not imported("artifact", "list", "--json", cwd=workspace.root) & HEAVY
    assert not imported("artifact", "prune", "--dry-run", cwd=workspace.root) & HEAVY
    assert not imported("archive", "schedule", "--print", cwd=workspace.root) & HEAVY
    modules = imported("artifact", "push", "--help", cwd=workspace.root)
    assert {m for m in modules if m.startswith("k1ctl_plugins.artifact.")} == {"k1ctl_plugins.artifact.push"}


def test_looking_at_archives_stays_light(workspace: Project) -> None:
    """`archive list` and the plan of `archive purge` start no program; `archive show` loads what git is called with;
    only the store that is configured is loaded, and its library by no --help."""
    archive = archived(workspace)
    workspace.configure('[stores.nas]\npath = "/nowhere"\n[stores.cloud]\nkind = "s3"\nbucket = "b"\n')
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("config", "get", "archive.keep").assert_ok()
    assert not imported("archive", "list", "--json", cwd=workspace.root) & HEAVY
    assert not imported("archive", "purge", "--dry-run", cwd=workspace.root) & HEAVY
    assert imported("archive", "show", archive.id, cwd=workspace.root) & HEAVY == {"subprocess"}
    assert not imported("archive", "run", "--help", cwd=workspace.root) & (HEAVY | {"k1ctl_plugins.archive.idle"})
    for name in ("save", "restore"):
        modules = imported("archive", name, "--help", cwd=workspace.root)
        assert not modules & HEAVY and not any(module.startswith("k1ctl.archive") for module in modules)
    modules = imported("archive", "push", "--help", cwd=workspace.root)
    assert not modules & (HEAVY | {"obstore", "k1ctl_plugins.archive.stores"})
    assert {m for m in modules if m.startswith("k1ctl_plugins.archive.")} == {"k1ctl_plugins.archive.push"}


def test_looking_at_the_host_stays_light(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """`host health` reads what the kernel tells by itself: without psutil, and without a process for no GPU."""
    monkeypatch.delenv("K1CTL_FACTS")
    workspace.configure('[capacity]\ngpu_memory = "1G"\n')
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("config", "get", "ota.attempts").assert_ok()
    modules = imported("host", "health", cwd=workspace.root)
    assert not modules & (HEAVY | {"threading"})
    ours = {m for m in modules if m.startswith("k1ctl_plugins.host.")}
    assert ours == {"k1ctl_plugins.host.health", "k1ctl_plugins.host.verdict"}


def test_telling_what_fits_stays_light(workspace: Project) -> None:
    """`capacity show` simulates turns with the standard library's random numbers only, and loads nothing that is heavy;
    its --help loads no model."""
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("config", "get", "ota.attempts").assert_ok()
    modules = imported("capacity", "show", "--json", cwd=workspace.root)
    assert not modules & (HEAVY | {"threading"})
    assert "k1ctl.capacity.queueing" in modules
    modules = imported("capacity", "show", "--help", cwd=workspace.root)
    assert not modules & HEAVY and not any(m.startswith("k1ctl.capacity") for m in modules)
    assert {m for m in modules if m.startswith("k1ctl_plugins.capacity.")} == {"k1ctl_plugins.capacity.show"}


def test_asking_the_gate_stays_light(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """`capacity check` is called by every hook: it reads this host without psutil, a process or a thread; the --help of
    each loads its own module only."""
    monkeypatch.delenv("K1CTL_FACTS")
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("config", "get", "ota.attempts").assert_ok()
    words = ("capacity", "check", "--need", "mem=1M,cpu=0.1,disk=1M,build:fw=1")
    assert not imported(*words, cwd=workspace.root) & (HEAVY | {"threading"})
    assert not imported("capacity", "check", "--need", "mem=1M", "--reserve", cwd=workspace.root) & HEAVY
    assert not imported("capacity", "list", "--json", cwd=workspace.root) & (HEAVY | {"threading"})
    for name in ("check", "list", "release"):
        modules = imported("capacity", name, "--help", cwd=workspace.root)
        assert not modules & HEAVY and not any(m.startswith("k1ctl.capacity") for m in modules)
        assert {m for m in modules if m.startswith("k1ctl_plugins.capacity.")} == {f"k1ctl_plugins.capacity.{name}"}


def test_a_watchdog_is_a_small_process(workspace: Project) -> None:
    """What watches a limited command loads nothing heavy; the help of `capacity run` loads its own module only."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import k1ctl.capacity.watchdog; print(*sys.modules)"
    words = [sys.executable, "-E", "-S", "-c", code, str(REPOSITORY)]
    modules = set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    assert "k1ctl.capacity.watchdog" in modules and not modules & (HEAVY | {"threading", "click", "re"})
    modules = imported("capacity", "run", "--help", cwd=workspace.root)
    assert not modules & HEAVY and not any(m.startswith("k1ctl.capacity") for m in modules)
    assert {m for m in modules if m.startswith("k1ctl_plugins.capacity.")} == {"k1ctl_plugins.capacity.run"}


def test_planning_a_stress_run_stays_light(workspace: Project) -> None:
    """`capacity stress --dry-run` reads what was measured and starts nothing; its help loads its own module only."""
    words = ("capacity", "stress", "--agents", "1", "--mem", "1G", "--dry-run", "--", "true")
    assert not imported(*words, cwd=workspace.root) & (HEAVY | {"threading"})
    modules = imported("capacity", "stress", "--help", cwd=workspace.root)
    assert not any(m.startswith("k1ctl.capacity") for m in modules)


def test_the_version_needs_no_click() -> None:
    """`k1ctl --version` answers before anything is imported."""
    code = "import sys\nfrom k1ctl.__main__ import main\nmain(); print('click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == ["False"]


def test_entry_points_are_the_commands() -> None:
    """Entry-point name, command name and module name are the same, and every plugin folder has its entry point."""
    plugins = Plugins()
    assert {n: plugins.command(n).name for n in plugins.targets} == {n: n for n in plugins.targets}
    assert {n: t for n, t in plugins.targets.items() if t.startswith("k1ctl_plugins.")} == {
        n: f"k1ctl_plugins.{n}" for n in COMMANDS
    }
    folder = REPOSITORY / "plugins" / "k1ctl_plugins"
    there = {p.stem for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - {"__init__"}
    assert there == set(COMMANDS)


def test_no_built_in_plugin_is_broken() -> None:
    """A broadcast loads them all."""
    plugins = Plugins()
    plugins.load_all()
    assert plugins.broken == {}


@pytest.fixture
def broken_plugin(tmp_path: Path) -> dict[str, str | None]:
    """An environment with a third-party distribution whose module cannot be imported."""
    info = tmp_path / "site" / "k1ctl_bad-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: k1ctl-bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[k1ctl.plugins]\nbad = k1ctl_bad\n")
    (tmp_path / "site" / "k1ctl_bad.py").write_text("import no_such_module_at_all\n")
    return {"PYTHONPATH": str(tmp_path / "site")}


def test_a_broken_third_party_plugin_fails_alone(workspace: Project, broken_plugin: dict[str, str | None]) -> None:
    """It is named with its cause in --help, exits 1 in one line when called, and leaves the others working."""
    told = workspace.run("--help", env=broken_plugin).assert_ok().stdout
    assert "bad" in told
    assert "no_such_module_at_all" in " ".join(told.split())
    workspace.run("bad", env=broken_plugin).assert_fails(1, "plugin bad (k1ctl_bad)", "no_such_module_at_all")
    workspace.run("config", "path", env=broken_plugin).assert_ok()


def test_a_set_up_goes_on_without_a_broken_plugin(workspace: Project, broken_plugin: dict[str, str | None]) -> None:
    """A broadcast names the broken plugin and calls the rest."""
    outcome = workspace.run("worktree", "setup", "--dry-run", env=broken_plugin).assert_ok()
    assert "plugin bad is left out" in outcome.stderr


@pytest.mark.skipif(not os.path.exists(os.path.join(os.path.dirname(sys.executable), "k1ctl")), reason="needs k1ctl")
def test_the_console_script_is_the_same_command(workspace: Project) -> None:
    """What pip installs answers as `python -m k1ctl` does, and an unknown command ends with 2 and a near match."""
    script = os.path.join(os.path.dirname(sys.executable), "k1ctl")
    done = subprocess.run([script, "config", "path", "--json"], cwd=workspace.root, capture_output=True, text=True)
    assert json.loads(done.stdout)["file"] == str(workspace.config_file)
    done = subprocess.run([script, "confg"], cwd=workspace.root, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Did you mean 'config'" in done.stderr


def test_planning_stays_light(workspace: Project) -> None:
    """`capacity plan` and `capacity forecast` simulate with the standard library's random numbers only; plots and the
    other subcommands are not loaded."""
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.run("config", "get", "ota.attempts").assert_ok()
    for name, more in (("plan", ("--scenario", "light", "--turns", "200")), ("forecast", ())):
        modules = imported("capacity", name, *more, "--json", cwd=workspace.root)
        assert not modules & (HEAVY | {"threading"})
        ours = {m for m in modules if m.startswith("k1ctl_plugins.capacity.")}
        assert ours == {f"k1ctl_plugins.capacity.{each}" for each in (name, f"{name}_study", "place")}
        assert "k1ctl.capacity.plot" not in modules


def test_taking_turns_stays_light(workspace: Project) -> None:
    """`budget keys next` loads what compares keys in memory, and no more; a pace of writes, and a chain of models where
    no budget is set, load nothing heavy; --help loads its own module among those of `budget`."""
    (workspace.ops / "queue").mkdir(exist_ok=True)
    workspace.configure(
        '[budget.buckets.a]\nrequests = 9\n[budget.keys.a1]\nbucket = "a"\nenv = "HOME"\n'
        '[budget.providers.p]\nmodels = ["m"]\n[budget.chains.c]\nmodels = ["m"]\n'
    )
    workspace.run("config", "get", "ota.attempts").assert_ok()
    assert not imported("budget", "keys", "next", cwd=workspace.root) & (HEAVY - {"hashlib"} | {"threading"})
    assert not imported("budget", "model", "--for", "c", cwd=workspace.root) & (HEAVY - {"hashlib"} | {"threading"})
    assert not imported("budget", "github", "--pace", cwd=workspace.root) & (HEAVY | {"threading"})
    for name in ("keys", "github", "model"):
        modules = imported("budget", name, "--help", cwd=workspace.root)
        assert not modules & HEAVY and not any(m.startswith("k1ctl.budget") for m in modules)
        assert {m.split(".")[2] for m in modules if m.startswith("k1ctl_plugins.budget.")} == {name}


def test_looking_at_objectives_and_alerts_stays_light(workspace: Project) -> None:
    """What cron calls each minute folds events and looks at every rule without a thing that is heavy."""
    (workspace.ops / "queue").mkdir(exist_ok=True)
    for words in (("slo", "--json"), ("alert", "check", "--json"), ("alert", "list", "--json")):
        assert not imported(*words, cwd=workspace.root) & (HEAVY | {"threading"})


def test_taking_samples_stays_light(workspace: Project) -> None:
    """What cron calls each minute asks every plugin and loads nothing heavy; no server, no socket, no JSON."""
    (workspace.ops / "queue").mkdir(exist_ok=True)
    for words in (("metrics", "write"), ("metrics", "json"), ("metrics", "print", "--json")):
        assert not imported(*words, cwd=workspace.root) & (HEAVY | {"threading", "http.server"})
