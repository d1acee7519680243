"""Templates that `k1ctl worktree setup` fills in for a worktree."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from k1ctl import ports
from k1ctl.config import load
from k1ctl.errors import ConfigError, K1ctlError
from k1ctl.setup import StepReport
from k1ctl_plugins.worktree import templates
from tests.kit import Project

SECRET = "hunter2"


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    """A repository with a worktree `oslo`, which ignores .env, local/ and webapp/.env.local."""
    made = make_workspace(
        files={".gitignore": ".env\n.env.local\nlocal/\nelsewhere\n", "webapp/index.html": "x"}, worktrees=["oslo"]
    )
    made.configure("[ports]\nfirst = 47000\nlast = 47999\n")
    return made


def template(project: Project, content: str | bytes, name: str = ".env") -> Path:
    return project.write(f"ops/templates/{name}", content)


def fill(project: Project, environ: Mapping[str, str] | None = None, **options: bool) -> StepReport:
    facts = project.facts(project.worktree("oslo"))
    return templates.apply(facts, load(facts, {}), environ or {}, **options)


def result(project: Project, name: str = ".env") -> Path:
    return project.worktree("oslo") / name


def test_every_word_is_filled_in(project: Project) -> None:
    """Ports, names, paths, branch and variables of the caller, spaces or not; the rest stays byte for byte."""
    words = b"A={{ port }} B={{port+3}} C={{ workspace }}\nD={{ path }} E={{root}}\r\nF={{ branch }} G={{ env:TOKEN }}"
    template(project, words + b" \xff\x00 { x } ${Y} {{\n")
    project.git("switch", "-q", "-c", "feature/x", cwd=project.worktree("oslo"))
    report = fill(project, {"TOKEN": f"{SECRET}\udcff"})
    first = ports.of(project.facts(project.worktree("oslo")))
    assert first is not None
    expected = (
        f"A={first.first} B={first.first + 3} C=oslo\nD={project.worktree('oslo')} E={project.root}\r\n"
        f"F=feature/x G={SECRET}"
    )
    assert result(project).read_bytes() == expected.encode() + b"\xff \xff\x00 { x } ${Y} {{\n"
    assert result(project).stat().st_mode & 0o777 == 0o600
    assert report.changed and report.details["written"] == [".env"]
    assert SECRET not in str(report)


def test_a_mirror_of_the_tree_is_filled_in(project: Project) -> None:
    """Each template goes to its own place, into folders that are not there yet; a second time nothing changes."""
    template(project, "x={{ workspace }}", "local/deep/settings.json")
    template(project, "y={{ workspace }}", "webapp/.env.local")
    assert fill(project).details["written"] == ["local/deep/settings.json", "webapp/.env.local"]
    assert result(project, "local/deep/settings.json").read_text() == "x=oslo"
    again = fill(project)
    assert not again.changed and again.details["current"] == ["local/deep/settings.json", "webapp/.env.local"]
    assert project.git("status", "--porcelain", cwd=project.worktree("oslo")) == ""


def test_what_nobody_edited_follows_template_and_facts(project: Project) -> None:
    """A changed template, a changed variable and a removed result are filled in anew."""
    template(project, "a={{ env:A }}")
    fill(project, {"A": "1"})
    assert fill(project, {"A": "2"}).changed
    assert result(project).read_text() == "a=2"
    template(project, "b={{ env:A }}")
    assert fill(project, {"A": "2"}).changed
    result(project).unlink()
    assert fill(project, {"A": "2"}).changed
    assert result(project).read_text() == "b=2"


@pytest.mark.parametrize("before", [True, False])
def test_what_somebody_edited_stays(project: Project, before: bool) -> None:
    """A file that was there first, or was changed since, is told as edited and never written."""
    template(project, "a={{ env:A }}")
    if not before:
        fill(project, {"A": "1"})
    result(project).write_text("mine")
    report = fill(project, {"A": "2"})
    assert (report.changed, report.details["edited"]) == (False, [".env"])
    assert "edited" in report.summary
    assert result(project).read_text() == "mine"
    result(project).write_text("a=2")  # as it would be filled in: from now on it is ours
    fill(project, {"A": "2"})
    assert fill(project, {"A": "3"}).changed


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_kill_between_any_two_writes_is_made_good(project: Project, call: int) -> None:
    """SIGKILL at each replacing of a file, over an old result: the next set-up fills it in; it is nobody's edit."""
    template(project, "a={{ env:A }}")
    fill(project, {"A": "1"})
    pid = os.fork()
    if pid == 0:
        replace, seen = os.replace, list[str]()

        def die(source: str, target: str) -> None:
            seen.append(target)
            if len(seen) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = die  # type: ignore[assignment]
        try:
            fill(project, {"A": "2"})
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert result(project).read_text() == ("a=1" if call < 3 else "a=2")
    assert project.git("status", "--porcelain", "--untracked-files=all", cwd=project.worktree("oslo")) == ""
    report = fill(project, {"A": "3"})
    assert report.details["written"] == [".env"] and result(project).read_text() == "a=3"


WRONG = {
    "x={{ env:NO_SUCH }}": "the variable NO_SUCH is not set",
    "x={{ prot }}": "{{ prot }} is not known",
    "x={{ port * 2 }}": "not known",
    "x={{ port + 10 }}": "10 ports",
    "x={{ __import__('os').getcwd() }}": "not known",
    "x={{ env: }}": "not set",
}


def test_what_cannot_be_filled_in_names_file_and_line(project: Project) -> None:
    """One line with template and number; nothing is evaluated, the file is not written, the other templates are."""
    for number, (line, text) in enumerate(WRONG.items()):
        source = template(project, f"ok={{{{ port }}}}\n\n{line}\n")
        template(project, f"fine {number}", ".env.local")
        with pytest.raises(K1ctlError) as caught:
            fill(project)
        assert f"{source}:3: " in caught.value.message and text in caught.value.message
        assert not result(project).exists()
        assert result(project, ".env.local").read_text() == f"fine {number}"
        assert caught.value.details["written"] == [".env.local"]


def test_braces_can_be_written(project: Project) -> None:
    """What is no word of ours is written with the braces as a word; braces over several lines are nothing to us."""
    text = "a: ${{ '{{' }} secrets.TOKEN }} {{ port\n}} {'a': {'b': {}}} {{{root}}}"
    template(project, text.encode() + b"{{" * 50_000)  # and a file full of them takes no time
    fill(project)
    expected = f"a: ${{{{ secrets.TOKEN }}}} {{{{ port\n}}}} {{'a': {{'b': {{}}}}}} {{{project.root}}}"
    assert result(project).read_bytes() == expected.encode() + b"{{" * 50_000


def test_an_error_repeats_little_of_a_template(project: Project) -> None:
    """Somebody's secret may stand in braces by mistake, in a line that never ends."""
    template(project, "{{ " + "x" * 50 + SECRET + " }}")
    with pytest.raises(K1ctlError, match=r"x{40}\.\.\. }} is not known") as caught:
        fill(project)
    assert SECRET not in str(caught.value.document())


def test_what_is_no_template_is_told(project: Project) -> None:
    """A link to a folder or to nothing, a pipe, a huge file: each with its reason; a link to a file is a template."""
    folder = template(project, "x", "local/real").parent
    (folder / "file").symlink_to("real")
    (folder / "folder").symlink_to(project.root)
    (folder / "nowhere").symlink_to("no-such-file")
    os.mkfifo(folder / "pipe")
    with open(folder / "huge", "wb") as f:
        f.truncate(16 * 1024**2 + 1)
    report = fill(project)
    assert report.details["written"] == ["local/file", "local/real"]
    assert {os.path.basename(row["file"]): row["reason"] for row in report.details["skipped"]} == {
        "folder": "its template is a link to a folder",
        "nowhere": "its template is no file",
        "pipe": "its template is no file",
        "huge": "its template is larger than 16.0 MiB",
    }


def test_without_ports_the_other_templates_are_filled_in(project: Project) -> None:
    """One that asks for a port when none is left says so, and keeps no other from being written."""
    project.configure("[ports]\nfirst = 47000\nlast = 47005\n")
    template(project, "{{ port }}")
    template(project, "fine", ".env.local")
    with pytest.raises(K1ctlError, match="no room for a block"):
        fill(project)
    assert result(project, ".env.local").read_text() == "fine"


def test_a_worktree_that_is_mounted_apart(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container a file may not be renamed from the git folder into the worktree although both are on one disk."""
    replace, tree = os.replace, str(project.worktree("oslo"))

    def mounted(source: str, target: str) -> None:
        if target.startswith(tree) and not source.startswith(tree):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", mounted)
    template(project, "x={{ workspace }}")
    assert fill(project).changed
    assert result(project).read_text() == "x=oslo" and result(project).stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tree)) == [".env", ".git", ".gitignore", "README", "webapp"]


def test_a_place_that_git_does_not_ignore_gets_nothing(project: Project) -> None:
    """A result that could be committed, or that is tracked although ignored, is not written."""
    template(project, "x", "notes.txt")
    template(project, "x", "webapp/index.html")
    template(project, "x", ".git/hooks/post-commit")
    skipped = {row["file"]: row["reason"] for row in fill(project).details["skipped"]}
    assert set(skipped) == {"notes.txt", "webapp/index.html", ".git/hooks/post-commit"}
    assert skipped[".git/hooks/post-commit"] == "it belongs to git"
    assert not result(project, "notes.txt").exists()
    assert project.git("status", "--porcelain", cwd=project.worktree("oslo")) == ""


def test_nothing_is_written_through_a_link(project: Project) -> None:
    """A folder that leads out of the worktree, a link in the result's place, a folder there: told, and untouched."""
    tree, outside = project.worktree("oslo"), project.write("outside/kept", "x").parent
    shutil.rmtree(tree / "webapp")
    (tree / "webapp").symlink_to(outside)
    (tree / "elsewhere").symlink_to(outside / "kept")
    (tree / "local").mkdir()
    (tree / ".env").mkdir()
    for name in ("webapp/.env.local", "elsewhere", ".env"):
        template(project, "SECRET", name)
    reasons = {row["file"]: row["reason"] for row in fill(project).details["skipped"]}
    assert reasons == {
        "webapp/.env.local": "its folder leads out of this worktree",
        "elsewhere": "it is a link there",
        ".env": "it is no file there",
    }
    assert {p.name: p.read_text() for p in outside.iterdir()} == {"kept": "x"}


def test_a_dry_run_fills_in_nothing(project: Project) -> None:
    """It tells what would be written; no file, no lease of ports."""
    template(project, "a={{ port }}")
    report = fill(project, dry_run=True)
    assert report.changed and "would be filled in: .env" in report.summary
    assert not result(project).exists()
    assert ports.holders() == []


def test_another_folder_of_templates(project: Project) -> None:
    """worktree.templates is a folder of the root, a link to one, or any absolute one; none there is no error."""
    assert fill(project).summary == "no template"
    project.write("tools/templates/.env", "here")
    project.configure('[worktree]\ntemplates = "tools/templates"\n')
    assert fill(project).changed
    project.configure(f'[worktree]\ntemplates = "{project.root}/tools/templates"\n')
    assert fill(project).details["current"] == [".env"]
    (project.root / "link").symlink_to("tools/templates")
    project.configure('[worktree]\ntemplates = "link"\n')
    assert fill(project).details["current"] == [".env"]
    project.configure('[worktree]\ntemplates = "nowhere"\n')
    assert fill(project).summary == f"no template: {project.root}/nowhere is not there"
    project.configure('[worktree]\ntemplates = ""\n')
    assert fill(project).summary == "no template"


def test_a_folder_that_holds_more_than_templates(project: Project) -> None:
    """The root, what it lies in, and ops/ with its records are refused: exit 78."""
    for folder in (".", "ops", "..", "/"):
        project.configure(f'[worktree]\ntemplates = "{folder}"\n')
        with pytest.raises(ConfigError, match=r"worktree\.templates: .* holds ops/"):
            fill(project)


def test_set_up_prefers_a_template_to_the_roots_file(project: Project) -> None:
    """A file that a template makes is not copied from the root, and no value is printed or recorded."""
    project.write(".env", "root")
    project.write(".env.local", "copied")
    template(project, "TOKEN={{ env:TOKEN }} PORT={{ port }}")
    tree = project.worktree("oslo")
    failed = project.run("worktree", "setup", "--json", cwd=tree).assert_fails(1, "templates", ".env:1", "TOKEN")
    steps = {step["name"]: step for step in failed.json["error"]["steps"]}
    assert steps["env"]["details"] == {"copied": [".env.local"], "kept": [], "skipped": []}
    assert not (tree / ".env").exists()
    done = project.run("worktree", "setup", "--json", cwd=tree, env={"TOKEN": SECRET}).assert_ok()
    steps = {step["name"]: step for step in done.json["steps"]}
    first: Any = steps["ports"]["details"]["first"]
    assert (tree / ".env").read_text() == f"TOKEN={SECRET} PORT={first}"
    assert SECRET not in done.stdout + done.stderr + str(project.events())
