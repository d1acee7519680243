"""`k1ctl hook run`: which target is meant, what it comes to, and what becomes of its status."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from k1ctl import ports
from k1ctl.config import Config, load
from k1ctl.errors import ConfigError, UnknownTargetError
from k1ctl.plugins import Plugins
from k1ctl.queue import names
from k1ctl.settings import SETTINGS
from k1ctl_plugins.hook import own, targets
from tests.kit import REPOSITORY, Project, finish, wait_until

BUILT_IN = {
    *("web", "web:dev", "web:build", "web:test", "web:e2e", "fw:build", "fw:upload", "fw:monitor", "fw:test"),
    *("test:pattern", "test:integration"),
}


def loaded(project: Project, toml: str = "") -> Config:
    project.configure(toml)
    return load(project.facts(), {})


def target(project: Project, name: str, toml: str = "") -> targets.Target:
    return targets.find(name, loaded(project, toml), project.facts())


@pytest.mark.parametrize(
    ("given", "environ", "meant"),
    [
        ("fw:test", {"RUN_TARGET": "web", "K1_TARGET": "fw:build"}, ("fw:test", "the call")),
        (None, {"RUN_TARGET": "web", "K1_TARGET": "fw:build"}, ("web", "RUN_TARGET")),
        (None, {"RUN_TARGET": "", "K1_TARGET": "fw:build"}, ("fw:build", "K1_TARGET")),
        ("", {"RUN_TARGET": "", "K1_TARGET": ""}, ("fw:upload", "hooks.target")),
    ],
)
def test_who_names_the_target(
    workspace: Project, given: str | None, environ: dict[str, str], meant: tuple[str, str]
) -> None:
    """The call, RUN_TARGET, K1_TARGET, the configuration, in this order; what is empty counts as not set."""
    config = loaded(workspace, '[hooks]\ntarget = "fw:upload"\n')
    assert targets.choose(given, config, environ) == meant


def test_the_targets_of_both_generations_are_there(workspace: Project) -> None:
    """Each is an entry that `config show` knows as a default, and one line tells what it is."""
    listed = workspace.run("hook", "run", "--list", "--json").assert_ok().json
    assert {row["name"] for row in listed["targets"]} == BUILT_IN
    assert listed["default"] == "web:dev"
    assert all(row["about"] and row["origin"] == "default" for row in listed["targets"])
    shown = {row["key"]: row for row in workspace.run("config", "show", "--json").assert_ok().json["settings"]}
    command = next(row for key, row in shown.items() if "web:dev" in key and key.endswith("command"))
    assert (command["value"], command["origin"]) == (["npm", "run", "dev"], "default")
    table = workspace.run("hook", "run", "--list").assert_ok().stdout
    assert all(name in table for name in BUILT_IN)


def test_the_page_for_conductor_users_knows_them_all() -> None:
    """docs/conductor.md names every built-in target and every key of an entry."""
    page = (REPOSITORY / "docs" / "conductor.md").read_text()
    keys = {place[2] for place in SETTINGS if place[0] == "run_targets"}
    assert [word for word in sorted(BUILT_IN | keys) if f"`{word}`" not in page] == []


def test_users_change_and_add_targets(workspace: Project) -> None:
    """A section of the same name changes its keys and leaves the others; any other name is a new target."""
    toml = '[run_targets."web:test"]\ncommand = ["npm", "t"]\n[run_targets.mine]\ncommand = ["true"]\nwait = "5m"\n'
    changed = target(workspace, "web:test", toml)
    assert changed.command == ["npm", "t"]
    assert changed.folder == str(workspace.root / "webapp") and changed.resources == {"build:web": 1}
    assert changed.wait == 1800.0
    assert target(workspace, "mine", toml).wait == 300.0
    rows = {row["name"]: row["origin"] for row in targets.rows(loaded(workspace, toml), workspace.facts())}
    assert (rows["web:test"], rows["mine"], rows["web:e2e"]) == ("file", "file", "default")
    env = {"K1CTL_RUN_TARGETS_WEB_TEST_COMMAND": "npm,run,unit"}
    told = workspace.run("hook", "run", "--list", "--json", env=env).assert_ok().json["targets"]
    row = next(row for row in told if row["name"] == "web:test")
    assert (row["command"], row["origin"]) == (["npm", "run", "unit"], "environment")


@pytest.mark.parametrize("name", ["fw:biuld", "agent:CodeGenAgent:task-1", "FW:BUILD", " "])
def test_an_unknown_target_lists_those_there_are(workspace: Project, name: str) -> None:
    """Exit 64 with all names, a near match, and the same in JSON; nothing was run."""
    workspace.configure('[run_targets.mine]\ncommand = ["true"]\n')
    failed = workspace.run("hook", "run", name).assert_fails(64, repr(name), "mine", *BUILT_IN)
    assert ("did you mean fw:build?" in failed.stderr) == (name == "fw:biuld")
    error = workspace.run("hook", "run", "--json", env={"RUN_TARGET": name}).assert_fails(64).json["error"]
    assert error["code"] == "unknown-target" and set(error["targets"]) == BUILT_IN | {"mine"}
    assert workspace.events("hook.run") == []


def test_what_stands_in_braces(workspace: Project) -> None:
    """A setting's value for its dotted key, the worktree's own lock for {tree}; {port} stays while there is no port."""
    toml = '[defaults]\ndevice = "desk"\n[targets.fw]\npath = "device"\n'
    tested = target(workspace, "fw:test", toml)
    tree = names.stable_key(os.path.realpath(workspace.root))[:12]
    assert tested.resources == {"build:fw": 1, f"tree:{tree}": 1, "device:desk": 1}
    assert tested.folder == str(workspace.root / "device")
    assert target(workspace, "web:dev").command == ["npm", "run", "dev", "--", "--port", "{port}"]


def test_the_port_that_conductor_gives(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONDUCTOR_PORT is handed to the development server, and to nothing else."""
    monkeypatch.setenv("CONDUCTOR_PORT", "3010")
    assert target(workspace, "web:dev").command == ["npm", "run", "dev", "--", "--port", "3010"]
    assert target(workspace, "web:test").command == ["npm", "run", "test"]


PORTS = """
[ports]
first = 47000
last = 47999
[run_targets.serve]
command = ["sh", "-c", 'echo "$0 $1 $K1CTL_PORT $CONDUCTOR_PORT"']
port = ["at:{port}", "too:{port}"]
[run_targets.plain]
command = ["sh", "-c", 'echo "$K1CTL_PORT $CONDUCTOR_PORT"']
"""


def test_without_conductor_a_port_is_leased(workspace: Project) -> None:
    """A run leases the worktree's ports and tells the command; --list and --dry-run lease none and tell what is."""
    workspace.configure(PORTS)
    dry = workspace.run("hook", "run", "--dry-run", "--json", "serve").assert_ok().json
    assert dry["command"][-2:] == ["at:{port}", "too:{port}"]
    assert workspace.run("worktree", "ports", "--json").json == []
    words = workspace.run("hook", "run", "serve").assert_ok().stdout.split()
    port = workspace.run("worktree", "ports", "--json").assert_ok().json[0]["first"]
    assert words == [f"at:{port}", f"too:{port}", str(port), str(port)]
    assert workspace.run("hook", "run", "plain").assert_ok().stdout.split() == [str(port)] * 2
    rows = workspace.run("hook", "run", "--list", "--json").assert_ok().json["targets"]
    assert next(row["command"][-1] for row in rows if row["name"] == "serve") == f"too:{port}"


def test_conductors_port_is_recorded_and_told(workspace: Project) -> None:
    """CONDUCTOR_PORT goes to the command as it is, and is the worktree's from then on, in any shell."""
    workspace.configure(PORTS)
    env = {"CONDUCTOR_PORT": "3010", "CONDUCTOR_WORKSPACE_PATH": str(workspace.root)}
    assert workspace.run("hook", "run", "plain", env=env).assert_ok().stdout.split() == ["3010", "3010"]
    assert workspace.run("hook", "run", "serve").assert_ok().stdout.split()[0] == "at:3010"


def test_no_ports_left(workspace: Project) -> None:
    """A target that wants a port ends with 75; one that does not is run, and told."""
    workspace.configure(PORTS.replace("47999", "47009"))
    facts = workspace.facts()
    facts.path = str(workspace.ops)
    ports.lease(facts, load(workspace.facts(), {}), {})
    workspace.run("hook", "run", "serve").assert_fails(75, "no 10 ports are free")
    told = workspace.run("hook", "run", "plain").assert_ok()
    assert told.stdout.split() == [] and "this worktree has no ports" in told.stderr


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ('resources = ["device:{defaults.devcie}"]', ("run_targets.x.resources", "{defaults.devcie}")),
        ('resources = ["no such"]', ("run_targets.x.resources", "not a resource name")),
        ('resources = ["a=0"]', ("run_targets.x.resources", "number of slots")),
        ('path = "nowhere"', ("nowhere", "not there", 'run_targets."x"')),
        ('command = ["k1ctl", "hook", "run", "x"]', ("k1ctl hook run x",)),
        ('command = ["k1ctl", "frobnicate"]', ("no command 'frobnicate'",)),
        ('command = ["k1ctl", "build"]\nresources = ["device:k1"]', ("run_targets.x.resources", "no effect")),
        ('command = ["k1ctl", "build", "log"]\ntimeout = "5m"', ("run_targets.x.timeout", "build log has its own")),
        ('command = ["true", "a\\u0000b"]', ("run_targets.x.command", "NUL")),
        ('path = "a\\u0000b"', ("run_targets.x.path", "NUL")),
        ('command = ["k1ctl", "upload"]\ntimeout = "5m"', ("run_targets.x.timeout", "no effect")),
    ],
)
def test_a_wrong_entry_is_named(workspace: Project, line: str, texts: tuple[str, ...]) -> None:
    """Exit 78, the key and what is wrong with it; the list of targets goes on working and shows it."""
    command = "" if "command" in line else 'command = ["true"]\n'
    workspace.configure(f"[run_targets.x]\n{command}{line}\n")
    workspace.run("hook", "run", "x").assert_fails(78, *texts)
    workspace.run("hook", "run", "--list").assert_ok()


@pytest.mark.parametrize("name", ["test:pattern", "test:integration"])
def test_what_k1ctl_cannot_know_is_yours_to_say(workspace: Project, name: str) -> None:
    """Without a command: 78 and the key to set. With one, also in a preset's place: it runs, holding the device."""
    if name == "test:integration":
        workspace.run("hook", "run", name).assert_fails(78, f'[run_targets."{name}"]', str(workspace.config_file))
    code = "import os, sys; print(os.getcwd()); sys.exit(5)"
    workspace.configure(f"[run_targets.\"{name}\"]\ncommand = ['{sys.executable}', '-c', '{code}']\n")
    done = workspace.run("hook", "run", name)
    assert (done.exit_code, done.stdout) == (5, f"{workspace.root}\n"), done
    (ended,) = workspace.events("run.ended")
    assert (ended["kind"], ended["exit_code"]) == ("hook-run", 5)
    (granted,) = workspace.events("queue.granted")
    assert granted["resources"] == {"device:k1": 1}


def test_words_status_and_result_are_passed_on(workspace: Project) -> None:
    """A foreign command gets the words behind the target, its output stays apart, and --result tells whose status."""
    script = workspace.write("tools/say", '#!/bin/sh\necho "$PWD $*"\necho talk >&2\nexit 9\n')
    script.chmod(0o755)
    workspace.configure('[run_targets.say]\ncommand = ["../tools/say", "a"]\npath = "tools"\n')
    done = workspace.run("hook", "run", "--result", "r.json", "say", "b c", "--list")
    assert (done.exit_code, done.stdout) == (9, f"{script.parent} a b c --list\n"), done
    assert done.stderr.endswith("talk\n") and "run target say (named by the call)" in done.stderr
    result: Any = json.loads((workspace.root / "r.json").read_text())
    assert (result["exit_code"], result["by"]) == (9, "command")
    workspace.run("hook", "run", "--json", "say").assert_fails(2, "--result")
    long = workspace.run("hook", "run", "say", "x" * 100_000)
    assert "x" * 100_000 in long.stdout and len(long.stderr) < 1000  # nobody reads a line of 100 kB twice


def test_a_hook_waits_no_longer_than_it_was_told(workspace: Project) -> None:
    """The entry's limit, else hooks.wait: then 75 and why, and the place is kept for the same call."""
    queued = '["k1ctl", "queue", "run", "desk", "--", "true"]'
    own_line = f"[run_targets.y]\ncommand = {queued}\n"
    workspace.configure(
        '[hooks]\nwait = "100ms"\n[run_targets.x]\ncommand = ["true"]\nresources = ["desk"]\n' + own_line
    )
    holder = workspace.popen("queue", "run", "desk", "--", "cat", stdin=subprocess.PIPE)
    wait_until(lambda: "running" in workspace.run("queue", "list").stdout)
    workspace.run("hook", "run", "x").assert_fails(75, "desk", "kept")
    workspace.run("hook", "run", "y").assert_fails(75, "waited 100 ms")
    assert holder.stdin is not None
    holder.stdin.close()
    assert finish(holder) == 0
    workspace.run("hook", "run", "x").assert_ok()
    workspace.run("hook", "run", "y").assert_ok()


def test_the_build_before_a_flash_has_the_same_limit(workspace: Project) -> None:
    """fw:upload builds first: where that waits too long it is 75 as well, and nothing was sent."""
    workspace.configure(
        '[hooks]\nwait = "100ms"\n[queue.slots]\n"build:fw" = 1\n[devices.k1]\nhost = "127.0.0.1"\n'
        '[targets.fw]\nkind = "command"\npath = "."\ncommand = ["true"]\noutputs = ["README"]\nchip = "none"\n'
    )
    holder = workspace.popen("queue", "run", "build:fw", "--", "cat", stdin=subprocess.PIPE)
    wait_until(lambda: "running" in workspace.run("queue", "list").stdout)
    workspace.run("hook", "run", "fw:upload").assert_fails(75, "nothing was sent", "build:fw")
    assert holder.stdin is not None
    holder.stdin.close()
    assert finish(holder) == 0


def test_a_missing_tool_is_named(workspace: Project) -> None:
    """127 where there is none, 126 where it may not be run; never a traceback, and no ticket was drawn."""
    workspace.write("plain", "x")
    workspace.configure('[run_targets.a]\ncommand = ["no-such-tool"]\n[run_targets.b]\ncommand = ["./plain"]\n')
    workspace.run("hook", "run", "a").assert_fails(127, "no-such-tool")
    workspace.run("hook", "run", "b").assert_fails(126, "plain", "chmod")
    assert workspace.events("run.ended") == []


def test_with_a_poor_path_tools_are_found(workspace: Project) -> None:
    """cron's PATH: the program is found where its installer put it, and finds its neighbours."""
    home = Path(os.environ["HOME"])
    for name, text in (("k1tool", "#!/bin/sh\nk1neighbour\n"), ("k1neighbour", "#!/bin/sh\necho found\n")):
        path = home / ".local" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    workspace.configure('[run_targets.t]\ncommand = ["k1tool"]\n')
    assert workspace.run("hook", "run", "t", env={"PATH": "/usr/bin:/bin"}).assert_ok().stdout == "found\n"


def test_elsewhere_conductors_variables_say_whose_worktree(workspace: Project) -> None:
    """Called from another folder: the worktree is Conductor's; without a word of whose, 78 before anything runs."""
    tree = workspace.add_worktree("oslo")
    workspace.configure('[run_targets.where]\ncommand = ["pwd"]\n')
    env = {"CONDUCTOR_ROOT_PATH": str(workspace.root), "CONDUCTOR_WORKSPACE_PATH": str(tree)}
    assert workspace.run("hook", "run", "where", cwd=Path("/"), env=env).assert_ok().stdout == f"{tree}\n"
    del env["CONDUCTOR_WORKSPACE_PATH"]
    workspace.run("hook", "run", "where", cwd=Path("/"), env=env).assert_fails(78, "outside every worktree")


def test_a_dry_run_tells_and_does_nothing(workspace: Project) -> None:
    """The very words, the folder, what it would hold and how long it would wait."""
    told = workspace.run("hook", "run", "--dry-run", "--json", "fw:upload").assert_ok().json
    assert told["argv"] == ["k1ctl", "upload", "--wait-limit", "1800", "fw", "--build"]
    workspace.configure('[run_targets.x]\ncommand = ["touch", "made"]\nresources = ["a=2", "b"]\n')
    text = workspace.run("hook", "run", "--dry-run", "x").assert_ok().stdout
    assert "touch made" in text and "a=2, b" in text and "30 m at most" in text
    assert not (workspace.root / "made").exists() and workspace.events() == []


# Targets that are k1ctl itself


def test_the_limits_of_the_entry_go_into_the_call(workspace: Project) -> None:
    """Where the command sets them itself they are left alone; what stands behind -- is not looked at."""
    toml = """
[hooks]
wait = "2m"
[run_targets.a]
command = ["k1ctl", "build", "fw"]
timeout = "10s"
[run_targets.b]
command = ["k1ctl", "build", "fw", "--wait=5s"]
[run_targets.c]
command = ["k1ctl", "queue", "run", "r", "--", "tool", "--wait", "9"]
[run_targets.d]
command = ["k1ctl", "worktree", "list"]
[run_targets.e]
command = ["k1ctl", "build", "list"]
"""
    words = {name: own.words_of(target(workspace, name, toml), ["--x"]) for name in "abcde"}
    assert words == {
        "a": ["build", "--wait", "120", "--timeout", "10", "fw", "--x"],
        "b": ["build", "fw", "--wait=5s", "--x"],
        "c": ["queue", "run", "--wait", "120", "r", "--", "tool", "--wait", "9", "--x"],
        "d": ["worktree", "list", "--x"],
        "e": ["build", "list", "--x"],
    }


def test_the_options_for_limits_are_those_of_the_commands() -> None:
    """What `hook run` adds to a call exists there, as a duration."""
    import click

    from k1ctl.durations import Duration

    plugins = Plugins()
    for table in (own._WAIT, own._TIMEOUT):
        for name, option in table.items():
            command = plugins.command(name.split()[0])
            for word in name.split()[1:]:
                assert isinstance(command, click.Group)
                found_command = command.get_command(click.Context(command), word)
                assert found_command is not None, name
                command = found_command
            (found,) = [p for p in command.params if option in p.opts]
            assert isinstance(found.type, Duration), (name, option)


def test_k1ctls_own_commands_run_in_this_process(workspace: Project) -> None:
    """No second interpreter: the command's plugin is loaded here, its status and its JSON are the hook's."""
    workspace.configure('[run_targets.cfg]\ncommand = ["k1ctl", "config", "get", "ota.attempts"]\n')
    code = (
        "import subprocess, sys, os\n"
        "os.fork = subprocess.Popen = os.posix_spawn = lambda *a, **k: sys.exit('another process')\n"
        "sys.argv = ['k1ctl', *sys.argv[1:]]\nfrom k1ctl.__main__ import main\nsys.exit(main())\n"
    )
    argv = [sys.executable, "-c", code, "hook", "run", "cfg"]
    done = subprocess.run(argv, cwd=workspace.root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "3\n"), done
    told = workspace.run("hook", "run", "--json", "cfg").assert_ok().json
    assert told["value"] == 3 and told["key"] == "ota.attempts"
    assert workspace.run("hook", "run", "cfg", "--json").json == told
    workspace.run("hook", "run", "cfg", "too", "many").assert_fails(2, "k1ctl config get --help")


def test_queue_run_as_a_target(workspace: Project) -> None:
    """The lean lane's way: status passed through, the resource held; --json has no place there."""
    workspace.configure('[run_targets.q]\ncommand = ["k1ctl", "queue", "run", "desk", "--", "sh", "-c", "exit 3"]\n')
    workspace.run("hook", "run", "q").assert_fails(3)
    assert workspace.events("queue.granted")[0]["resources"] == {"desk": 1}
    workspace.write("sub/x", "")
    workspace.configure(
        '[run_targets.q]\npath = "sub"\ncommand = ["k1ctl", "queue", "run", "desk", "--", "sh", "-c", "pwd; exit 3"]\n'
    )
    assert workspace.run("hook", "run", "q").stdout == f"{workspace.root / 'sub'}\n"
    workspace.run("hook", "run", "--json", "q").assert_fails(2, "--result")


def test_hook_setup_is_the_worktrees_set_up(workspace: Project) -> None:
    """The same report, the same event; a dry run changes nothing."""
    tree = workspace.add_worktree("oslo")
    workspace.write(".gitignore", ".env\n")
    workspace.commit()
    workspace.git("merge", "-q", "main", cwd=tree)
    workspace.write(".env", "SECRET=1\n")
    planned = workspace.run("hook", "setup", "--dry-run", "--json", cwd=tree).assert_ok().json
    assert planned["dry_run"] and not (tree / ".env").exists() and not workspace.events("worktree.setup")
    done = workspace.run("hook", "setup", "--json", cwd=tree).assert_ok().json
    assert [s["name"] for s in done["steps"]] == [s["name"] for s in planned["steps"]]
    assert (tree / ".env").read_text() == "SECRET=1\n"
    assert [e["ok"] for e in workspace.events("worktree.setup")] == [True]
    workspace.run("hook", "setup", cwd=tree).assert_ok()


def test_errors_of_python_callers(workspace: Project) -> None:
    """The module raises what the command shows."""
    config = loaded(workspace)
    with pytest.raises(UnknownTargetError):
        targets.find("x", config, workspace.facts())
    with pytest.raises(ConfigError):
        targets.find("test:integration", config, workspace.facts()).check(config)
