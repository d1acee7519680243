"""`k1ctl archive schedule`: an entry for cron or launchd that comes and goes and disturbs no other."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from k1ctl.errors import BusyError, ConfigError, UsageError
from k1ctl.files import Locked
from k1ctl_plugins.archive.schedule import crontab, launchd, times
from k1ctl_plugins.hook import routine
from tests.kit import Project, needs

# Keeps the table in a file; what it says without one is Debian's.
CRONTAB = """#!/bin/sh
case $1 in
-l) [ -e "$CRONTAB_FILE" ] || { echo "no crontab for ada" >&2; exit 1; }; cat "$CRONTAB_FILE" ;;
-) [ -z "${CRONTAB_FAILS:-}" ] || { echo "$CRONTAB_FAILS" >&2; exit 1; }; cat >"$CRONTAB_FILE" ;;
esac
"""
# launchctl(1) of macOS 14: an unknown service is 113 for print and 3 for bootout; bootstrap of a loaded one is 5, and
# so it is for a while after bootout has answered.
LAUNCHCTL = """#!/bin/sh
echo "$*" >>"$LAUNCHD/calls"
case $1 in
print) [ -e "$LAUNCHD/loaded" ] || { echo 'Could not find service in domain for user gui: 501' >&2; exit 113; } ;;
bootout) [ -e "$LAUNCHD/loaded" ] || { echo 'Boot-out failed: 3: No such process' >&2; exit 3; }
    rm "$LAUNCHD/loaded"; : >"$LAUNCHD/leaving" ;;
bootstrap)
    [ ! -e "$LAUNCHD/no-session" ] || { echo 'Bootstrap failed: 125: Domain does not support it' >&2; exit 125; }
    [ ! -e "$LAUNCHD/leaving" ] || {
        rm "$LAUNCHD/leaving"
        echo 'Bootstrap failed: 5: Input/output error' >&2
        exit 5
    }
    : >"$LAUNCHD/loaded" ;;
esac
"""


def program(folder: Path, name: str, text: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def table(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the crontab(1) in PATH keeps its table."""
    outside = workspace.root.parent
    program(outside, "crontab", CRONTAB)
    monkeypatch.setenv("PATH", f"{outside / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CRONTAB_FILE", str(outside / "table"))
    return outside / "table"


# A crontab


def test_it_comes_changes_and_goes_and_the_rest_stays(workspace: Project, table: Path) -> None:
    """Byte for byte, also what is no UTF-8, and the entry of another repository."""
    mine = b"MAILTO=ada\n# 100% \xff mine\n*/5 * * * * date +\\%s\n\n"
    table.write_bytes(mine)
    assert workspace.run("archive", "schedule", "--json").assert_ok().json["installed"] is False
    planned = workspace.run("archive", "schedule", "--install", "--dry-run").assert_ok()
    assert planned.changed == () and table.read_bytes() == mine
    told = workspace.run("archive", "schedule", "--install", "--at", "mon 04:30", "--json").assert_ok().json
    assert told | {"changed": True, "installed": True, "at": "Mon 04:30", "every": "weekly", "last": None} == told
    script = workspace.ops / "hooks" / "weekly-archive"
    assert f"30 4 * * 1 '{script}'\n".encode() in table.read_bytes() and os.access(script, os.X_OK)
    other = crontab.block("/other", "/other/ops/hooks/weekly-archive", "0 3 * * 0")
    table.write_bytes(table.read_bytes() + other + b"# the last\n")
    before = table.stat().st_mtime_ns
    again = workspace.run("archive", "schedule", "--install", "--at", "Monday 4:30")
    assert "nothing to do" in again.assert_ok().stderr and table.stat().st_mtime_ns == before
    workspace.run("archive", "schedule", "--install", "--every", "daily", cwd=workspace.add_worktree("oslo"))
    assert table.read_bytes().count(str(script).encode()) == 1 and b"0 3 * * * '" in table.read_bytes()
    workspace.run("archive", "schedule", "--remove").assert_ok()
    assert table.read_bytes() == mine + other + b"# the last\n"
    assert "no entry" in workspace.run("archive", "schedule", "--remove").assert_ok().stderr


def test_what_is_printed_is_what_is_installed(workspace: Project, table: Path) -> None:
    """`--print` needs no scheduler and changes nothing."""
    printed = workspace.run("archive", "schedule", "--print", "--at", "Sat 23:59", env={"PATH": "/nowhere"}).assert_ok()
    assert printed.changed == ()
    workspace.run("archive", "schedule", "--install", "--at", "Sat 23:59").assert_ok()
    assert table.read_text() == printed.stdout


def test_a_table_that_cannot_be_read_or_written_is_never_replaced(workspace: Project, table: Path) -> None:
    """Only "there is none" counts as empty; what crontab(1) says is told."""
    table.write_text("mine\n")
    table.with_name("bin").joinpath("crontab").write_text("#!/bin/sh\necho 'you are not allowed' >&2\nexit 1\n")
    workspace.run("archive", "schedule", "--install").assert_fails(1, "crontab -l: you are not allowed")
    program(workspace.root.parent, "crontab", CRONTAB)
    full = {"CRONTAB_FAILS": "no space left"}
    workspace.run("archive", "schedule", "--install", env=full).assert_fails(1, "crontab -: no space left")
    assert table.read_text() == "mine\n"


def test_tables_of_any_form_come_back(workspace: Project, table: Path) -> None:
    """Without a last newline, with CRLF, and from a crontab(1) that puts a line of its own before the table."""
    table.write_bytes(b"MAILTO=ada\r\n0 1 * * * date")
    workspace.run("archive", "schedule", "--install").assert_ok()
    workspace.run("archive", "schedule", "--remove").assert_ok()
    assert table.read_bytes() == b"MAILTO=ada\r\n0 1 * * * date\n"
    program(workspace.root.parent, "crontab", CRONTAB.replace('cat "', 'echo "# DO NOT EDIT"; cat "'))
    assert workspace.run("archive", "schedule", "--install", "--json").assert_ok().json["installed"]
    assert b"MAILTO=ada\r\n0 1 * * * date\n# k1ctl" in table.read_bytes()


def test_half_of_an_entry_is_told_and_left_alone() -> None:
    """Where a person has cut one of the two comments away nobody can say what is ours."""
    begin, end = crontab.marks("/root")
    line = b"0 3 * * 0 x\n"
    for table in (begin + b"\n" + line, line + end + b"\n", b"\n".join([end, begin]), b"\n".join([begin, begin, end])):
        with pytest.raises(ConfigError, match="begin and one end"):
            crontab.changed(table, "/root", b"")
    assert crontab.changed(line[:-1], "/root", b"ours\n") == line + b"ours\n"
    both = crontab.block("/a", "/a/x", "0 3 * * 0") + crontab.block("/a b", "/a b/x", "0 3 * * 0")
    assert crontab.changed(both, "/a", b"") == crontab.block("/a b", "/a b/x", "0 3 * * 0")


@pytest.mark.parametrize("path", ["/a b/it's", "/100% $HOME `x` \\045", '/"q"', "/ü\udcff"])
def test_any_path_is_one_word_of_a_shell(path: str) -> None:
    """What sh makes of it is the path; and there is no percent sign, which cron would read as a newline."""
    word = crontab.quoted(path)
    assert b"%" not in word
    done = subprocess.run(["sh", "-c", b"printf '%s' " + word], capture_output=True, check=True)
    assert done.stdout == os.fsencode(path)


def test_a_path_that_no_table_can_hold_is_refused() -> None:
    """A newline would end the line in the middle."""
    for path in ("/a\nb", "/" + "x" * 1000):
        with pytest.raises(ConfigError):
            crontab.quoted(path)


# Times


def test_times() -> None:
    """Days by their beginning, a time alone on Sunday, and what is no time is said."""
    assert times.parse("Sun 03:00") == times.parse("03:00") == times.When(3, 0, 0)
    assert times.parse("thursday 23:59").cron == "59 23 * * 4"
    assert times.parse("4:05", "daily") == times.When(4, 5, None)
    for at, every in (("24:00", ""), ("3", ""), ("T 03:00", ""), ("Xyz 03:00", ""), ("Mon 03:00", "daily"), ("", "")):
        with pytest.raises(UsageError):
            times.parse(at, every)
    for when in (times.When(3, 0, 0), times.When(0, 59, 6), times.When(4, 5, None)):
        assert times.of_cron(when.cron) == when
    assert times.of_cron("*/5 * * * *") is times.of_cron("61 3 * * 0") is None


def test_the_next_run_is_the_first_one_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the host's clock, also across the end of a year and a change of the clocks."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        for now, when, wanted in (
            ((2026, 12, 31, 4, 0), times.When(3, 0, None), (2027, 1, 1, 3, 0)),
            ((2026, 12, 31, 2, 0), times.When(3, 0, None), (2026, 12, 31, 3, 0)),
            ((2026, 3, 28, 12, 0), times.When(4, 0, 0), (2026, 3, 29, 4, 0)),  # the clocks go forward at 2
            ((2026, 1, 4, 3, 0), times.When(3, 0, 0), (2026, 1, 11, 3, 0)),  # a Sunday, at this very time
        ):
            at = time.localtime(when.next(time.mktime((*now, 0, 0, 0, -1))))
            assert tuple(at[:5]) == wanted
    finally:
        monkeypatch.undo()
        time.tzset()


# launchd


@pytest.fixture
def agents(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the launchctl(1) in PATH keeps what it was told."""
    outside = workspace.root.parent
    program(outside, "launchctl", LAUNCHCTL)
    (outside / "launchd").mkdir()
    monkeypatch.setenv("PATH", f"{outside / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("LAUNCHD", str(outside / "launchd"))
    return outside / "launchd"


def test_a_launch_agent_comes_changes_and_goes(workspace: Project, agents: Path) -> None:
    """Loaded, loaded anew when its times change, unloaded; the same again does nothing."""
    words = ("archive", "schedule", "--launchd")
    told = workspace.run(*words, "--install", "--json").assert_ok().json
    assert told | {"changed": True, "installed": True, "at": "Sun 03:00"} == told
    path = Path(launchd.path_of(str(workspace.root)))
    agent = plistlib.loads(path.read_bytes())
    assert agent["ProgramArguments"] == [str(workspace.ops / "hooks" / "weekly-archive")]
    assert agent["StartCalendarInterval"] == {"Hour": 3, "Minute": 0, "Weekday": 0}
    assert agent["Label"] == path.name.removesuffix(".plist") and os.path.isdir(
        os.path.dirname(agent["StandardOutPath"])
    )
    assert not agent["StandardOutPath"].startswith(str(workspace.root))  # git clean -fdx must not stop the agent
    (agents / "calls").unlink()
    assert workspace.run(*words, "--install", "--json").assert_ok().json["changed"] is False
    assert "bootstrap" not in (agents / "calls").read_text()
    told = workspace.run(*words, "--install", "--every", "daily", "--at", "4:05", "--json").assert_ok().json
    assert (told["changed"], told["installed"], told["at"], told["every"]) == (True, True, "04:05", "daily")
    (agents / "loaded").unlink()  # as after a log-in with the agent disabled
    assert "launchd has not loaded it" in workspace.run(*words).assert_ok().stdout
    (agents / "loaded").touch()
    workspace.run(*words, "--remove").assert_ok()
    assert not path.exists() and not (agents / "loaded").exists()
    assert workspace.run(*words, "--remove", "--json").assert_ok().json["changed"] is False


def test_a_change_that_is_killed_is_not_taken_for_done(
    workspace: Project, agents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list and launchd: the next call loads what the list says."""
    root, earlier, later = str(workspace.root), times.When(3, 0, 0), times.When(4, 0, 0)
    assert launchd.install(root, launchd.text(root, "/script", earlier))
    new = launchd.text(root, "/script", later)
    real = launchd._launchctl

    def killed(*words: str) -> tuple[int, str]:
        if Path(launchd.path_of(root)).read_bytes() == new:
            raise KeyboardInterrupt
        return real(*words)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(launchd, "_launchctl", killed)
        launchd.install(root, new)
    assert launchd.install(root, new) and not launchd.install(root, new)


def test_an_agent_that_cannot_be_loaded_leaves_no_list(workspace: Project, agents: Path) -> None:
    """In a session without a screen launchd refuses; on Linux there is none, and a list can still be printed."""
    (agents / "no-session").touch()
    words = ("archive", "schedule", "--launchd")
    workspace.run(*words, "--install").assert_fails(1, "Domain does not support it", "--cron")
    assert not Path(launchd.path_of(str(workspace.root))).exists()
    if not shutil.which("launchctl", path="/bin:/usr/bin"):
        bare = {"PATH": "/usr/bin:/bin"}
        workspace.run(*words, "--install", env=bare).assert_fails(127, "launchctl was not found")
        printed = workspace.run(*words, "--print", env=bare).assert_ok().stdout
        assert plistlib.loads(printed.encode())["StartCalendarInterval"]["Hour"] == 3
    for path in ("/a\x1bb", "/a\udcff"):
        with pytest.raises(ConfigError, match="property list"):
            launchd.text(path, f"{path}/ops/hooks/weekly-archive", times.When(3, 0, 0))
    for broken in (b"", b"{}", b"<plist></plist>", b"<plist", plistlib.dumps({"StartCalendarInterval": []})):
        assert launchd.when_of(broken) is None


# A real cron

# In a mount namespace of its own: this machine's tables, and what its daemon reads, are behind what is mounted here.
ISOLATED = """
set -eu
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /var/spool/cron
install -d -m 1730 /var/spool/cron/crontabs
mount -t tmpfs none /etc/cron.d
[ ! -e /etc/crontab ] || mount --bind /dev/null /etc/crontab
printf 'HOME=%s\\n' "$HOME" | crontab -
"$PYTHON" -m k1ctl archive schedule --install $WHEN
eval "$CHANGE"
crontab -l >"$HOME/table"
cron -f & cron=$!
n=0
until [ -e "$REPORT" ] || [ $n -ge "$TENTHS" ]; do sleep 0.1; n=$((n + 1)); done
kill $cron
wait $cron || :
"$PYTHON" -m k1ctl archive schedule --remove
crontab -l
"""


def under_cron(project: Project, *, when: str, change: str = ":", tenths: int = 300) -> str:
    """Install the schedule in a real table, let a real daemon run it, remove it; the table that is left."""
    if not (Path(sys.executable).parent / "k1ctl").exists():
        pytest.skip("needs k1ctl installed")
    if os.getuid() or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to a mount namespace")
    report = project.ops / "archive" / "weekly.json"
    env = {**os.environ, "PYTHON": sys.executable, "WHEN": when, "CHANGE": change, "REPORT": str(report)}
    argv = ["unshare", "-m", "sh", "-c", ISOLATED]
    done = subprocess.run(argv, cwd=project.root, env={**env, "TENTHS": str(tenths)}, capture_output=True, text=True)
    assert done.returncode == 0, done
    assert report.exists(), (done, Path(os.environ["HOME"], "table").read_text())
    return done.stdout.splitlines()[-1]


@pytest.fixture
def odd(tmp_path: Path, workspace: Project) -> Project:
    """A repository whose path has what cron and sh give a meaning to."""
    return Project(tmp_path / "50% o'clock $x")


@needs("cron", "crontab", "unshare")
def test_a_real_cron_runs_the_line(odd: Project) -> None:
    """crontab(1) takes it, and what it says of the script works from cron's own poor environment: its commands ended
    well, nothing was mailed. The time alone is changed, to cron's start, so that nobody waits for a minute."""
    left = under_cron(odd, when="--every daily", change="crontab -l | sed 's/^0 3 \\* \\* \\*/@reboot/' | crontab -")
    assert left == f"HOME={os.environ['HOME']}"
    log = (odd.ops / "archive" / "weekly.log").read_text()
    assert "k1ctl archive run: exit 0" in log and "k1ctl artifact prune: exit 0" in log, log
    (event,) = odd.events("hook.weekly")
    words = [step["command"][1] for step in event["steps"]]
    assert event["exit_code"] == 0 and words == ["archive", "artifact", "events"]


@pytest.mark.soak
@needs("cron", "crontab", "unshare")
def test_a_real_cron_runs_it_at_its_time(odd: Project) -> None:
    """The line as it is, at the next minute."""
    at = time.strftime("%H:%M", time.localtime(time.time() + 65))
    began = time.time()
    under_cron(odd, when=f"--every daily --at {at}", tenths=1300)
    assert time.strftime("%H:%M", time.localtime((odd.ops / "archive" / "weekly.json").stat().st_mtime)) == at
    assert time.time() - began < 140


# What it runs


def test_the_weekly_work_is_silent_when_all_is_well(workspace: Project) -> None:
    """Its log and its report say what was done; a step that fails is told with the exit code, and the next one runs."""
    done = workspace.run("hook", "weekly").assert_ok()
    assert (done.stdout, done.stderr) == ("", "")
    workspace.configure('[archive]\nolder_than = "soon"\n')
    log = workspace.ops / "archive" / "weekly.log"
    log.write_bytes(b"an old line\n" * 100_000)
    failed = workspace.run("hook", "weekly", env={"K1CTL_ARTIFACT_LIMIT": "much"})
    assert failed.exit_code == 78 and "k1ctl archive run: exit 78" in failed.stderr and "weekly.log" in failed.stderr
    assert "k1ctl artifact prune: exit 78" in failed.stderr
    assert log.stat().st_size < 800_000 and "is not a duration" in log.read_text()


def test_a_weekly_step_that_hangs_or_a_log_that_cannot_be_written_is_told(
    workspace: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ends with 124 and the next one is done; the second loses nothing of what the steps came to."""
    monkeypatch.setattr(routine, "_SECONDS", 0.001)
    (workspace.ops / "archive" / "weekly.log").mkdir(parents=True)
    steps = routine.run(workspace.facts())
    assert [step.exit_code for step in steps] == [124, 124, 124, 1] and routine.exit_code(steps) == 124
    assert "killed after" in steps[0].sentence and "weekly.log" in steps[3].sentence


def test_two_weekly_works_are_not_done_at_once(workspace: Project) -> None:
    """The second one says so and ends with 75; a dry run changes nothing but tells all."""
    with Locked(str(workspace.ops / "archive" / ".weekly.lock")), pytest.raises(BusyError, match="is under way"):
        routine.run(workspace.facts())
    planned = workspace.run("hook", "weekly", "--dry-run", "--json").assert_ok()
    assert [step["exit_code"] for step in planned.json["steps"]] == [0, 0, 0]
    assert not os.path.exists(planned.json["log"])
