"""`k1ctl config set`, `unset` and `edit`."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.config import load
from k1ctl.config_change import set_setting, set_settings, toml_value
from k1ctl.errors import ConfigError, K1ctlError
from k1ctl.settings import SETTINGS
from k1ctl.settings_kinds import convert, from_text
from k1ctl_plugins.config.listing import row_of
from tests.kit import Project, finish

FILE = """\
# what this repository shares

[queue]
# how long
#park = "15m"
stall = "2s"  # seen on the desk

[devices.k1]
host = "k1.local"
"""


@pytest.fixture
def project(workspace: Project) -> Project:
    """A repository with a configuration that has comments."""
    workspace.configure(FILE)
    return workspace


def test_set_changes_one_line(project: Project) -> None:
    """The value holds at once, its line is named, every other line is what it was, and the change is an event."""
    outcome = project.run("config", "set", "queue.park", "10m", "--json").assert_ok()
    document = outcome.json
    assert document["key"] == "queue.park" and document["changed"] and document["written"]
    text = project.config_file.read_text()
    assert text == FILE.replace('#park = "15m"\n', '#park = "15m"\npark = "10m"\n')
    assert text.splitlines()[document["line"] - 1] == 'park = "10m"'
    assert project.run("config", "get", "queue.park").stdout == "600\n"
    assert [e["key"] for e in project.events("config.changed")] == ["queue.park"]
    again = project.run("config", "set", "queue.park", "10m").assert_ok()
    assert again.stderr == "queue.park has this value already\n" and "ops/k1ctl.toml" not in again.changed


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["queue.stall", "1.5"], "stall = 1.5  # seen on the desk"),
        (["queue.slots.device:k1", "2"], '"device:k1" = 2'),
        (['devices."desk two.b".host', "10.0.0.7"], 'host = "10.0.0.7"'),
        (["worktree.npm", "off"], "npm = false"),
        (["worktree.copy", ".env, *.key"], 'copy = [".env", "*.key"]'),
        (["worktree.copy", "a,b", "c"], 'copy = ["a,b", "c"]'),
        (["worktree.copy", ""], "copy = []"),
        (["worktree.copy", '["a,b"]'], 'copy = ["a,b"]'),
        (["build.timeout", "007.50"], "timeout = 7.5"),
        (["targets.fw.partition_size", "3M"], 'partition_size = "3M"'),
        (["targets.fw.env", 'o"d\\d\n'], 'env = "o\\"d\\\\d\\n"'),
        (["plugins.make.flags", "[1, 'x']"], "flags = [1, 'x']"),
        (["plugins.make.image", "out/fw.bin"], 'image = "out/fw.bin"'),
        (["plugins.make.note", "3 # three"], 'note = "3 # three"'),
        (["ota.attempts", "007"], "attempts = 7"),
        (["targets.fw.partition_size", "4096"], "partition_size = 4096"),
    ],
)
def test_values_are_written_as_their_kind(words: list[str], line: str, project: Project) -> None:
    """Units stay as typed, numbers and switches are TOML's, names that need quotes get them."""
    key, *values = words
    planned = set_setting(project.facts(), key, values, dry_run=True)
    assert f"+{line}\n" in planned.diff() and not planned.written and project.config_file.read_text() == FILE
    done = set_setting(project.facts(), key, values)
    assert project.config_file.read_text().splitlines()[done.line - 1] == line
    assert row_of(load(project.facts(), {}), key)["origin"] == "file"


def test_several_settings_change_in_one_step_or_not_at_all(project: Project) -> None:
    """One write, an event for each; where one value is wrong the file is as it was."""
    with pytest.raises(ConfigError):
        set_settings(project.facts(), {"queue.park": "5m", "ota.attempts": "-1"})
    assert project.config_file.read_text() == FILE
    done = set_settings(project.facts(), {"queue.park": "5m", "capacity.agents": "6"})
    config = load(project.facts(), {})
    assert done.written and (config.get("queue", "park"), config.get("capacity", "agents")) == (300.0, 6)
    assert [e["key"] for e in project.events("config.changed")] == ["queue.park", "capacity.agents"]
    project.config_file.write_text(inline := "capacity = {agents = 2}\n")
    with pytest.raises(ConfigError) as caught:
        set_settings(project.facts(), {"queue.park": "5m", "capacity.agents": "6"})
    assert "config set capacity.agents 6 --rewrite" in caught.value.hint
    assert project.config_file.read_text() == inline


def test_words_that_begin_with_a_dash_stand_behind_two(project: Project) -> None:
    """As with any command; a dry run prints the difference and changes nothing."""
    call = ["config", "set", "worktree.copy", "--dry-run", "--", "--", "-x"]
    outcome = project.run(*call).assert_ok()
    assert '+copy = ["--", "-x"]\n' in outcome.stdout and outcome.changed == ()
    project.run("config", "set", "ota.attempts", "-1").assert_fails(2, "No such option")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["queue.parkk", "1"], 78, "did you mean queue.park"),
        (["queue.park", "soon"], 78, "duration"),
        (["ota.attempts", "-1"], 78, "whole number"),
        (["devices.k1.mac", "zz"], 78, "MAC address"),
        (["targets.fw.chip", "z80"], 78, "must be one of"),
        (["queue.slots.two words", "1"], 78, "not a resource name"),
        (["queue.slots.device:k1", "0"], 78, "1 or more"),
        (["queue.park", "1", "2"], 2, "takes one value"),
        (["plugins.make", "1"], 78, "there is no setting plugins.make"),
        (["devices.k1", "x"], 78, "there is no setting devices.k1"),
        (["devices", "x"], 78, "there is no setting"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    words: list[str], code: int, text: str, project: Project
) -> None:
    """Unknown keys and wrong values: as when the file is read, in one line, and the file is as it was."""
    with pytest.raises(K1ctlError) as caught:
        set_setting(project.facts(), words[0], words[1:])
    assert caught.value.exit_code == code and text in f"{caught.value.message} {caught.value.hint}"
    assert "k1ctl.toml" not in caught.value.message  # the file is as it should be; what was typed is not
    assert project.config_file.read_text() == FILE


def test_a_refusal_is_one_line_and_a_hint(project: Project) -> None:
    """On the command line as everywhere."""
    outcome = project.run("config", "set", "queue.parkk", "1").assert_fails(78, "did you mean queue.park")
    assert len(outcome.stderr.splitlines()) == 2 and outcome.changed == ()


NUMBERS = st.from_regex(r"[0-9]{0,12}\.?[0-9]{0,9}", fullmatch=True)
WORDS = (
    NUMBERS
    | st.sampled_from(["10m", " 1h30m ", "512k", "4M", "on", "no", "esp32", "", "24:0a:c4:00:00:01"])
    | st.text()
)


@given(st.sampled_from(sorted(SETTINGS)), WORDS)
def test_what_is_written_means_what_was_typed(pattern: tuple[str, ...], word: str) -> None:
    """For any setting and word: refused by both, or the file's value is the one that a variable would give."""
    setting = SETTINGS[pattern]
    try:
        wanted = from_text(setting, word)
    except ValueError:
        with pytest.raises(ConfigError):
            toml_value("key", setting, [word])
        return
    assert convert(setting, tomllib.loads(f"v = {toml_value('key', setting, [word])}")["v"]) == wanted


def test_bytes_that_are_no_text_are_refused(project: Project) -> None:
    """A file of settings is UTF-8."""
    argv = [sys.executable, "-m", "k1ctl", "config", "set", "devices.k1.host", os.fsdecode(b"\xff")]
    done = subprocess.run(argv, cwd=project.root, capture_output=True, text=True)
    assert done.returncode == 78 and "UTF-8" in done.stderr
    assert project.config_file.read_text() == FILE


def test_unset_takes_one_thing_out(project: Project) -> None:
    """A setting, with its comment kept; a whole device; what is not there is no failure."""
    assert "-stall" in project.run("config", "unset", "queue.stall", "--dry-run").assert_ok().stdout
    project.run("config", "unset", "queue.stall").assert_ok()
    project.run("config", "unset", "devices.k1").assert_ok()
    text = project.config_file.read_text()
    assert "# seen on the desk" in text.splitlines() and '#park = "15m"' in text
    assert tomllib.loads(text) == {"queue": {}}
    nothing = project.run("config", "unset", "queue.park", "--json").assert_ok().json
    assert (nothing["changed"], nothing["written"], nothing["diff"]) == (False, False, "")
    project.run("config", "unset", "queue").assert_fails(78, "queue is a section")
    project.run("config", "unset", "quue.park").assert_fails(78, "there is no setting quue.park")


def test_a_file_with_faults_is_mended_by_hand_of_unset(project: Project) -> None:
    """What is no setting but stands in the file can be taken out, also one by one; set refuses such a file."""
    project.configure("[queue]\nparkk = 1\nstalll = 2\n")
    project.run("config", "set", "queue.park", "5m").assert_fails(78, "parkk")
    first = project.run("config", "unset", "queue.parkk").assert_ok()
    assert "still wrong" in first.stderr and "stalll" in first.stderr
    assert project.run("config", "unset", "queue.stalll").assert_ok().stderr == "queue.stalll is taken out\n"
    project.configure("[queue\n")
    project.run("config", "set", "queue.park", "5m").assert_fails(78, "k1ctl.toml:1")


def test_what_takes_more_than_a_line_needs_a_word(project: Project) -> None:
    """In an inline table the change is refused with what it would cost; --rewrite does it and says so."""
    project.configure("# lost\n[devices]\nk1 = {host = 'a'} # too\n[plugins.x]\nday = 1979-05-27\n")
    before = project.config_file.read_text()
    error = project.run("config", "set", "devices.k1.host", "b", "--json").assert_fails(78).json["error"]
    assert (error["code"], project.config_file.read_text()) == ("no-line-edit", before)
    assert "--rewrite" in error["hint"] and "comments" in error["hint"]
    outcome = project.run("config", "set", "devices.k1.host", "b", "--rewrite").assert_ok()
    assert "its comments are lost" in outcome.stderr
    expected = tomllib.loads(before)
    expected["devices"]["k1"]["host"] = "b"
    assert tomllib.loads(project.config_file.read_text()) == expected
    project.configure("[devices]\nk1 = {host = 'a', mac = ''}\n")
    project.run("config", "unset", "devices.k1.mac").assert_fails(78, "--rewrite")
    project.run("config", "unset", "devices.k1.mac", "--rewrite").assert_ok()
    assert tomllib.loads(project.config_file.read_text()) == {"devices": {"k1": {"host": "a"}}}


def test_rewrite_is_not_offered_where_it_would_not_do(project: Project) -> None:
    """What stands where a table belongs is for an editor; --rewrite cannot know what to do with it either."""
    project.configure("hooks = 3\n")
    told = project.run("config", "set", "hooks.wait", "5m").assert_fails(78, "hooks is not a table", "config edit")
    assert "--rewrite" not in told.stderr


def test_rewrite_costs_nothing_where_a_line_will_do(project: Project) -> None:
    """The word is a permission, not a wish."""
    project.run("config", "set", "queue.stall", "3s", "--rewrite").assert_ok()
    assert project.config_file.read_text() == FILE.replace("2s", "3s")


def test_a_link_stays_and_so_do_permissions(project: Project, tmp_path: Path) -> None:
    """The file behind a link is changed, with its mode, also a wider one than the umask gives."""
    real = tmp_path / "shared.toml"
    real.write_text(FILE)
    real.chmod(0o664)
    project.config_file.unlink()
    project.config_file.symlink_to(real)
    project.run("config", "set", "queue.park", "1m").assert_ok()
    assert project.config_file.is_symlink() and 'park = "1m"' in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o664


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_is_write_protected_stays(project: Project) -> None:
    """Replacing it would be possible and is not done."""
    project.config_file.chmod(0o444)
    project.run("config", "set", "queue.park", "1m").assert_fails(78, "not writable")
    project.run("config", "set", "queue.park", "1m", "--dry-run").assert_ok()


def test_changes_at_once_lose_nothing(project: Project) -> None:
    """Eight calls in one instant: each value is in the file, and every comment."""
    argv = [sys.executable, "-m", "k1ctl", "config", "set"]
    calls = [[*argv, f"queue.slots.build:t{n}", str(n)] for n in range(1, 9)]
    started = [subprocess.Popen(call, cwd=project.root, stderr=subprocess.DEVNULL) for call in calls]
    assert [finish(process) for process in started] == [0] * 8
    text = project.config_file.read_text()
    assert tomllib.loads(text)["queue"]["slots"] == {f"build:t{n}": n for n in range(1, 9)}
    assert set(FILE.splitlines()) <= set(text.splitlines())


def test_a_variable_that_hides_the_value_is_told(project: Project) -> None:
    """Who sets what the environment overrides learns why nothing changes here."""
    told = project.run("config", "set", "queue.park", "5m", env={"K1CTL_QUEUE_PARK": "1h"}).assert_ok().stderr
    assert "K1CTL_QUEUE_PARK is set in this environment and hides" in told


@pytest.mark.parametrize("words", [["set", "queue.park", "5m"], ["unset", "queue.park"], ["edit"]])
def test_without_a_file_the_hint_is_init(words: list[str], workspace: Project) -> None:
    """There is nothing to change before init."""
    workspace.run("config", *words, env={"EDITOR": "true"}).assert_fails(78, "there is no", "k1ctl init")


def editor(project: Project, source: str) -> dict[str, str | None]:
    """An environment whose editor is a Python program; ``file`` is what it was given."""
    path = project.root.parent / "my editor.py"
    path.write_text(f"import sys\nfrom pathlib import Path\nfile = Path(sys.argv[-1])\n{source}\n")
    return {"VISUAL": f"'{sys.executable}' '{path}'", "TMPDIR": str(project.root.parent), "EDITOR": "false"}


def copies(project: Project) -> list[Path]:
    return list(project.root.parent.glob("k1ctl-config-*/k1ctl.toml"))


def test_edit_takes_over_what_is_right(project: Project) -> None:
    """VISUAL is split as a shell does, edits a private copy named k1ctl.toml, and no copy stays."""
    source = "assert file.name == 'k1ctl.toml' and file.stat().st_mode & 0o77 == 0\nprint('drawn')\n"
    env = editor(project, source + "file.write_text(file.read_text().replace('2s', '4s'))")
    told = project.run("config", "edit", "--dry-run", env=env).assert_ok()
    assert '+stall = "4s"' in told.stdout and "drawn" not in told.stdout and "drawn" in told.stderr
    assert project.config_file.read_text() == FILE
    document = project.run("config", "edit", "--json", env=env).assert_ok().json
    assert document["changed"] and document["written"]
    assert project.config_file.read_text() == FILE.replace("2s", "4s")
    assert project.run("config", "edit", env=env).assert_ok().stderr.endswith("nothing was changed\n")
    assert copies(project) == []


def test_edit_keeps_out_what_is_wrong(project: Project) -> None:
    """Nobody to ask: exit 78 with file and line of the copy, which stays; the configuration is as it was."""
    env = editor(project, "file.write_text('[queue]\\nparkk = 1\\n')")
    outcome = project.run("config", "edit", env=env)
    (copy,) = copies(project)
    outcome.assert_fails(78, f"{copy}:2", "parkk", f"your version is {copy}")
    assert copy.read_text() == "[queue]\nparkk = 1\n" and project.config_file.read_text() == FILE


def test_edit_asks_on_a_terminal(project: Project) -> None:
    """There, what is wrong is told and one may go on editing, or give up with the copy named."""
    env = editor(project, "text = file.read_text()\nfile.write_text('x = 1' if text[:1] == '#' else '[ota]\\n')")
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "k1ctl", "config", "edit"],
        cwd=str(project.root),
        env=project.environment(env),
        timeout=30,
    )
    terminal.expect_exact("x is not a setting")
    terminal.expect_exact("Edit again? [Y/n]")
    terminal.sendline("")
    terminal.expect_exact("is changed")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0 and project.config_file.read_text() == "[ota]\n" and copies(project) == []


def test_edit_names_the_copy_whatever_ends_it(project: Project) -> None:
    """^C at the question, a file that cannot be replaced: what was typed is there, and its path is told."""
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "k1ctl", "config", "edit"],
        cwd=str(project.root),
        env=project.environment(editor(project, "file.write_text('x = 1')")),
        timeout=30,
    )
    terminal.expect_exact("Edit again? [Y/n]")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    (copy,) = copies(project)
    assert terminal.exitstatus == 130 and str(copy) in terminal.before.decode() and copy.read_text() == "x = 1"
    copy.unlink()
    source = f"file.write_text('[ota]')\nPath({str(project.config_file)!r}).unlink()"
    outcome = project.run("config", "edit", env=editor(project, source))
    (copy,) = copies(project)
    outcome.assert_fails(78, f"your version is {copy}")


def test_edit_loses_no_change_that_came_meanwhile(project: Project) -> None:
    """The file changed while the editor was open: exit 75, both versions are there."""
    source = f"Path({str(project.config_file)!r}).write_text('[ota]\\n')\nfile.write_text('[build]\\n')"
    outcome = project.run("config", "edit", env=editor(project, source))
    (copy,) = copies(project)
    outcome.assert_fails(75, "was changed by somebody else meanwhile", str(copy))
    assert project.config_file.read_text() == "[ota]\n" and copy.read_text() == "[build]\n"


@pytest.mark.parametrize(
    ("env", "code", "text"),
    [
        ({"VISUAL": "", "EDITOR": None}, 78, "no editor is set"),
        ({"VISUAL": "'open"}, 78, "cannot be split"),
        ({"VISUAL": "no-such-editor -w"}, 127, "no-such-editor of VISUAL"),
        ({"VISUAL": "false"}, 1, "ended with 1"),
        ({"VISUAL": "rm"}, 1, "left no"),
    ],
)
def test_an_editor_that_fails_changes_nothing(
    env: dict[str, str | None], code: int, text: str, project: Project
) -> None:
    """No editor, no such program, a failing one, one that takes the copy away: one line each, nothing is left."""
    project.run("config", "edit", env={"TMPDIR": str(project.root.parent), **env}).assert_fails(code, text)
    assert project.config_file.read_text() == FILE
    assert copies(project) == []
