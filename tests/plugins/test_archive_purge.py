"""`k1ctl archive purge`: a person at a terminal confirms a plan that was shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from k1ctl.archive.folder import Archive, list_archives
from k1ctl_plugins.archive.purge import purge
from tests.archive.saving import archived, archived_alike, backdate, begin
from tests.kit import Project


@pytest.fixture
def project(workspace: Project) -> Project:
    begin(workspace)
    return workspace


@pytest.fixture
def old(project: Project) -> Archive:
    archive = archived_alike(project)
    backdate(archive, 31)
    return archive


class Terminal:
    """`k1ctl archive purge` on a pseudo-terminal."""

    def __init__(self, project: Project, *args: str) -> None:
        argv = ["-m", "k1ctl", "archive", "purge", *args]
        env = {**os.environ, "COLUMNS": "200"}
        self.child = pexpect.spawn(
            sys.executable, argv, cwd=str(project.root), env=env, encoding="utf-8", timeout=30, dimensions=(24, 200)
        )

    def word(self) -> str:
        """The word that the shown plan asks for."""
        self.child.expect(r"Type ([0-9a-f]{6}) to delete (\d+) of them")
        assert self.child.match is not None
        return str(self.child.match[1])

    def end(self) -> tuple[int, str]:
        self.child.expect(pexpect.EOF)
        self.child.close()
        return int(self.child.exitstatus or 0), str(self.child.before)


@pytest.fixture
def terminal(project: Project) -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for each in made:
        each.child.close(force=True)


def ids(project: Project) -> list[str]:
    return [archive.id for archive in list_archives(project.facts())]


def test_the_word_of_the_plan_deletes(project: Project, old: Archive, terminal: list[Terminal]) -> None:
    """The plan names what goes, with size and copies; its word deletes just that."""
    young = archived(project, "tokyo")
    terminal.append(Terminal(project))
    word = terminal[0].word()
    shown = str(terminal[0].child.before)
    assert (
        f"{old.id}: oslo, saved, untouched for 31 d, " in shown
        and "there is no copy of it" in shown
        and young.id not in shown
    )
    terminal[0].child.sendline(word)
    code, said = terminal[0].end()
    assert (code, ids(project)) == (0, [young.id]) and f"{old.id}: purged" in said


def test_anything_else_keeps_them(project: Project, old: Archive, terminal: list[Terminal]) -> None:
    """yes, end of file, a wrong word, ^C, a terminal that is closed: nothing is deleted; several ask at once."""
    answers = {"yes\n": 2, "\x04": 2, "ffffff\nword\n": 2, "\x03": 130, "": None}
    terminal += [Terminal(project, "oslo") for _ in answers]
    for each, (answer, expected) in zip(terminal, answers.items(), strict=True):
        each.word()
        each.child.send(answer)
        if expected is None:
            each.child.close(force=True)
            continue
        code, said = each.end()
        assert (code, "nothing was deleted" in said) == (expected, expected == 2)
    assert ids(project) == [old.id]


def test_without_a_terminal(project: Project, old: Archive) -> None:
    """It is refused, also with the right word on standard input; the plan can be seen."""
    from k1ctl.archive.purge import plan
    from k1ctl.config import load

    word = plan(load(project.facts()), [old]).word
    project.run("archive", "purge", stdin=f"{word}\n" * 50).assert_fails(2, "needs a person at a terminal", "--dry-run")
    assert project.run("archive", "purge", "--json").assert_fails(2).json["error"]["code"] == "no-terminal"
    shown = project.run("archive", "purge", "--dry-run").assert_ok()
    assert f"{old.id}: oslo, saved, untouched for 31 d" in shown.stdout and word not in shown.stdout + shown.stderr
    assert not {option for p in purge.params for option in p.opts} & {"--yes", "-y", "--force"}
    assert ids(project) == [old.id]


def test_what_is_kept(project: Project) -> None:
    """A young one stays, with the reason where it was named; --older-than cannot be less than archive.keep."""
    archive = archived_alike(project)
    outcome = project.run("archive", "purge", "oslo").assert_ok()
    assert f"{archive.id}: stays: it is kept for 30 d" in outcome.stdout and "nothing may be purged" in outcome.stderr
    project.run("archive", "purge", "--older-than", "1d").assert_fails(2, "archive.keep")
    rows = project.run("archive", "purge", "--older-than", "60d", "--dry-run", "--json").assert_ok().json
    assert rows["archives"] == [] and rows["plan"][0]["would_purge"] is False
    assert rows["plan"][0]["why_not"].startswith("it is kept for 60 d")


def test_one_that_was_interrupted_is_finished(project: Project, old: Archive, terminal: list[Terminal]) -> None:
    """It is shown as purging, restored by nobody, and the next purge takes the rest of it away."""
    old.set_state("purging")
    Path(old.folder, "git.tar").unlink()
    assert project.run("archive", "list", "--json").assert_ok().json["archives"][0]["state"] == "purging"
    project.run("archive", "restore", "oslo", "--to", "elsewhere").assert_fails(65, "has no git.tar any more")
    terminal.append(Terminal(project))
    terminal[0].child.sendline(terminal[0].word())
    assert terminal[0].end()[0] == 0
    assert ids(project) == []
