"""There is one gate and no second path: whatever starts somebody's command goes through it, or stands here with the
reason why it does not."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from k1ctl.capacity import promises, reservations
from k1ctl.capacity.limits import units
from k1ctl.capacity.need import Need
from k1ctl.process.spec import RunSpec
from tests import firmware
from tests.kit import REPOSITORY, Project
from tests.proofs.capacitycell import HOST

LIMIT = 2 << 30
# Who makes a run: its kind, and what keeps it waiting on a full host. Every run is admitted by its supervisor.
RUNS = {
    "k1ctl/lane.py": ("queue-run", "its --need, and the watermark of builds"),
    "plugins/k1ctl_plugins/build/flow.py": ("build", "the memory of its class, and the watermark of builds"),
    "plugins/k1ctl_plugins/capacity/run_call.py": ("capacity-run", "its --need, and the watermark of builds"),
    "plugins/k1ctl_plugins/hook/foreign.py": ("hook-run", "the watermark of builds, where it takes such slots"),
    "plugins/k1ctl_plugins/hook/interactive.py": ("hook-run", "the watermark of builds, where it takes such slots"),
    "plugins/k1ctl_plugins/upload/buildfs.py": ("queue-run", "the watermark of builds: it packs a filesystem"),
    "plugins/k1ctl_plugins/upload/flow.py": ("upload", ""),  # it recovers a device, and takes a few MB
    "plugins/k1ctl_plugins/device/test/flow.py": ("device-test", ""),  # reads a device's answers
    "k1ctl/process/script.py": ("script", ""),  # starts nothing: the script is there already, and keeps a lease
}
# Who starts something by other means than a run: where its promise is from.
OTHERS = {
    "k1ctl/capacity/executor.py": "the cell's promise: plugins/k1ctl_plugins/capacity/stress",
    "k1ctl/process/limiting.py": "the run's promise: its supervisor was admitted",
    "k1ctl/capacity/limited.py": "the way in itself: who calls it is in this table",
}
# Who starts processes at all: whose promise covers what is heavy there, or what else it is.
PROCESSES = {
    "k1ctl/process/attempt.py": "a run",
    "k1ctl/capacity/entry.py": "a limited command: the table above",
    "k1ctl/capacity/baseline.py": "capacity baseline: measures a command and waits for no room, as its page says",
    "k1ctl/capacity/baseline_container.py": "asks the container tool; what it runs is measured by the one above",
    "plugins/k1ctl_plugins/worktree/running.py": "steps of worktree setup, which has room for an agent by then",
    "plugins/k1ctl_plugins/worktree/npm.py": "npm of worktree setup",
    "plugins/k1ctl_plugins/budget/run_call.py": "budget run: holds tokens; memory is capacity run's, as its page says",
    "plugins/k1ctl_plugins/hook/interactive.py": "becomes the command of a hook, whose tether is a run",
    "plugins/k1ctl_plugins/hook/routine.py": "k1ctl's own commands, each a call of its own",
    "plugins/k1ctl_plugins/top/calls.py": "k1ctl why, queue cancel and queue bump",
    "plugins/k1ctl_plugins/upload/flow.py": "k1ctl build: a run",
    "plugins/k1ctl_plugins/upload/verification.py": "watches a device",
    "plugins/k1ctl_plugins/device/rollback/flow.py": "k1ctl upload: a run that recovers",
    "plugins/k1ctl_plugins/demo/stage.py": "k1ctl in the demo's own repository",
    "plugins/k1ctl_plugins/config/editor.py": "a person's editor",
    "plugins/k1ctl_plugins/notify/channels.py": "a person's channel",
    "k1ctl/platformio/scons_script.py": "a compiler within a build",
    "k1ctl/platformio/host_platform/builder/image.py": "objcopy within a build",
    "k1ctl/platformio/install.py": "pip, once for all",
    "k1ctl/archive/calls.py": "git and npm of an archive, which recovers",
    "k1ctl/device/esptool_run.py": "esptool: a flash",
    "k1ctl/simulator/daemon.py": "the simulated device",
    "k1ctl/testing/project.py": "tests",
    **dict.fromkeys(
        (
            *(
                "k1ctl/git.py",
                "k1ctl/builds.py",
                "k1ctl/filesystem.py",
                "k1ctl/device/esptool.py",
                "k1ctl/device/usb.py",
            ),
            *("k1ctl/device/console/backtrace.py", "k1ctl/capacity/watchdog.py", "k1ctl/capacity/cgroup.py"),
            *("k1ctl/capacity/gpu.py", "k1ctl/escalation/keeper.py", "plugins/k1ctl_plugins/worktree/listing.py"),
            *("plugins/k1ctl_plugins/worktree/cache_key.py", "plugins/k1ctl_plugins/build/platformio_setup.py"),
            *("plugins/k1ctl_plugins/build/outputs.py", "plugins/k1ctl_plugins/archive/schedule/crontab.py"),
            *("plugins/k1ctl_plugins/archive/schedule/launchd.py", "plugins/k1ctl_plugins/init/scripts.py"),
            *("plugins/k1ctl_plugins/upload/absent.py",),
        ),
        "asks the system or a tool something, and is over at once",
    ),
}
STARTS = [f"subprocess.{name}" for name in ("Popen", "run", "call", "check_call", "check_output")]
STARTS += [f"os.{name}" for name in ("posix_spawn", "posix_spawnp", "execv", "execve", "execvp", "execvpe", "system")]
# Who asks the gate.
ASKS = {
    "k1ctl/process/admission.py",  # every run
    "k1ctl/capacity/stress_call.py",
    "plugins/k1ctl_plugins/worktree/agents.py",
    "plugins/k1ctl_plugins/capacity/check_call.py",
}


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """(file, call) of every call of a function of one of these names in the product."""
    for folder in ("k1ctl", "plugins/k1ctl_plugins"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            text = path.read_text()
            if not any(f"{name}(" in text for name in names):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
                    yield str(path.relative_to(REPOSITORY)), node


def test_who_starts_what_is_known() -> None:
    """Each maker of a run, each starter of a limited command and each who asks the gate stands in the tables above."""
    made = {path: ast.literal_eval(call.args[0]) for path, call in calls("RunSpec")}
    assert made == {path: kind for path, (kind, _) in RUNS.items()}
    for path, (kind, held_by) in RUNS.items():
        slots = {"build:fw": 1} if held_by else {"device:k1": 1}
        assert RunSpec(kind, ["true"], slots).gated is bool(held_by), path
    assert {path for path, _ in calls("spawn", "leash.spawn", "limited.start")} == set(OTHERS)
    assert {path for path, _ in calls(*STARTS)} == set(PROCESSES)
    assert {path for path, _ in calls("gate.promise", "promise", "Asking") if "gate.py" not in path} == ASKS


@pytest.fixture
def full(workspace: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """A repository on a host of which everything is reserved, with a worktree that is not set up."""
    firmware.need_pio()
    for name, content in firmware.files().items():
        workspace.write(name, content)
    workspace.commit("firmware")
    workspace.configure(f"[capacity]\nmemory = {LIMIT}\nagents = 1\n[targets.fw]\n[devices.k1]\n")
    workspace.add_worktree("oslo")
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(HOST))
    monkeypatch.setenv("K1CTL_FACTS", str(facts))
    everything = Need(LIMIT, agents=1)
    place = promises.folder()
    Path(place).mkdir(parents=True, exist_ok=True)
    about = {"what": "all of it", "kind": "reservation"}
    reservations.add(place, everything, units=units(everything), until=time.time() + 600, **about)
    return workspace


GATED = [
    ("capacity", "run", "--need", "mem=64M", "--", "touch", "begun"),
    ("queue", "run", "r", "--need", "mem=64M", "--wait", "0", "--", "touch", "begun"),
    ("build", "fw", "--wait", "0"),
    ("capacity", "stress", "--agents", "1", "--mem", "64M", "--wait", "0", "--", "touch", "begun"),
    ("worktree", "setup"),
    ("capacity", "check", "--need", "mem=64M"),
    ("capacity", "check", "--need", "mem=64M", "--reserve"),
]
NOT_ASKED = [
    ("queue", "run", "r", "--wait", "0", "--", "true"),
    ("queue", "run", "device:k1", "--wait", "0", "--", "true"),
]


def test_on_a_full_host_nothing_begins(full: Project) -> None:
    """Each command is refused with the gate's own code and reasons, and leaves nothing begun or promised; what needs
    nothing goes."""
    oslo = full.worktree("oslo")
    for words in GATED:
        done = full.run(*words, cwd=oslo)
        assert done.exit_code == 75 and "promised" in done.stderr, str(done)
        assert "no room for" in done.stderr, str(done)
    assert not (oslo / "begun").exists() and not (oslo / "firmware" / ".pio").exists()
    assert [p.what for p in promises.held(waiting=True)] == ["all of it"]
    assert {e["kind"] for e in full.events("capacity.refused")} == {
        *("capacity-run", "queue-run", "build", "stress", "worktree", "check"),
    }
    for words in NOT_ASKED:
        full.run(*words, cwd=oslo).assert_ok()
