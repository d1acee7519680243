"""Builds of kind ``command``, and what holds for every kind: several targets, the expected time, list, show and log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from k1ctl.artifacts import find, newest_build
from k1ctl.errors import WrongDataError
from k1ctl.files import read_json
from k1ctl.testing import add_distribution
from tests.kit import Project, finish, wait_until

TOML = """\
[defaults]
target = "tool"
[targets.tool]
kind = "command"
path = "tool"
command = ["./make.sh", "two words; touch escaped", "{jobs}"]
command_release = ["./make.sh", "release", "1"]
outputs = ["out/app.bin", "out/site", "out/*.txt"]
"""
MAKE = """\
#!/bin/sh
set -e
[ -e broken ] && { echo "main.c:3:1: error: no luck"; exit 3; }
[ -e gate ] && { echo waiting; read line < gate; }
mkdir -p out/site
cat source > out/app.bin
printf '%s|%s|' "$1" "$2" > out/args.txt
pwd > out/site/where
echo "source:1: warning: odd"
echo made
"""


@pytest.fixture
def project(workspace: Project) -> Project:
    """A repository with a target of kind command."""
    workspace.write(".gitignore", "out/\nbroken\ngate\n")
    workspace.write("tool/make.sh", MAKE).chmod(0o755)
    workspace.write("tool/source", "one\n")
    workspace.commit("tool")
    workspace.configure(TOML)
    return workspace


def build(project: Project, *args: str, cwd: Path | None = None) -> Any:
    return project.run("build", *args, "--json", cwd=cwd).assert_ok().json


def test_outputs_are_kept_under_their_names(project: Project) -> None:
    """The first output is the image; a folder becomes one archive; further ones come by pattern."""
    done = build(project)
    artifact = done["artifact"]
    assert artifact["image"] == "app.bin" and Path(artifact["path"]).read_text() == "one\n"
    assert sorted(artifact["files"]) == ["app.bin", "args.txt", "site.tar"]
    assert (artifact["files"]["site.tar"]["file_count"], done["warning_count"]) == (1, 1)
    assert (done["environment"], done["cache"], done["cache_hits"], done["steps"]) == ("", None, None, None)
    with tarfile.open(os.path.join(artifact["folder"], "site.tar")) as tar:
        assert tar.getnames() == ["where"]


def test_every_output_counts(project: Project) -> None:
    """Another second output makes another artifact, although the image is the same; equal outputs are kept once."""
    project.write("tool/out/extra.txt", "1")
    one = build(project)["artifact"]
    assert build(project)["artifact"]["id"] == one["id"]
    project.write("tool/out/extra.txt", "2")
    two = build(project)["artifact"]
    assert two["id"] != one["id"] and two["sha256"] == one["sha256"]
    assert (Path(two["folder"]) / "extra.txt").read_text() == "2"


def test_no_shell_reads_the_words(project: Project) -> None:
    """What a shell would take for two commands is one argument; {jobs} is the number of jobs."""
    kept = Path(build(project)["artifact"]["folder"]) / "args.txt"
    words, jobs, _ = kept.read_text().split("|")
    assert words == "two words; touch escaped" and int(jobs) >= 1
    assert not (project.root / "tool" / "escaped").exists()


def test_a_failed_command_exits_1_with_its_error_lines(project: Project) -> None:
    """Whatever the program's own code, the build's is 1, and what it said is told."""
    project.write("tool/broken", "")
    error = project.run("build", "--json").assert_fails(1, "main.c:3:1: error: no luck").json["error"]
    assert (error["code"], error["lines"]) == ("build-failed", ["main.c:3:1: error: no luck"])


def test_a_target_that_cannot_be_built_is_refused_before_it_runs(project: Project) -> None:
    """Outputs lie in the project, there is a command and a folder; nothing is recorded of a call that is refused."""
    for setting, code in (
        ('outputs = ["/etc/passwd"]', "bad-configuration"),
        ('outputs = ["out/../../README"]', "bad-configuration"),
        ('outputs = ["."]', "bad-configuration"),
        ("outputs = []", "bad-configuration"),
        ("command = []", "no-command"),
        ('path = "elsewhere"', "no-project"),
    ):
        key = setting.partition(" ")[0]
        lines = [line for line in TOML.splitlines() if not line.startswith(f"{key} =")]
        project.configure("\n".join([*lines, setting, ""]))
        assert project.run("build", "--json").assert_fails(78).json["error"]["code"] == code, setting
    assert not (project.ops / "runs").exists()


def test_a_program_that_cannot_run_is_named(project: Project) -> None:
    """Missing and not executable are told apart, before anything waits."""
    for word, code in (("no-such-tool", 127), ("./none", 127), ("./source", 126)):
        project.configure(TOML.replace('"./make.sh", "two', f'"{word}", "two'))
        project.run("build", "--json").assert_fails(code, word.lstrip("./"))


def test_outputs_that_lead_out_of_the_project_are_refused(project: Project, tmp_path: Path) -> None:
    """A link to a file elsewhere is not taken for what was built; within a folder neither."""
    (tmp_path / "secret").write_text("x")
    out = project.root / "tool" / "out"
    (out / "site").mkdir(parents=True)
    (out / "stolen.txt").symlink_to(tmp_path / "secret")
    error = project.run("build", "--json").assert_fails(65).json["error"]
    assert error["code"] == "output-leaves-project"
    (out / "stolen.txt").rename(out / "site" / "stolen")
    assert project.run("build", "--json").assert_fails(65).json["error"]["code"] == "output-leaves-project"
    (out / "site" / "stolen").unlink()
    (out / "app.bin").unlink(missing_ok=True)
    (out / "app.bin").symlink_to(tmp_path / "secret")
    assert project.run("build", "--json").assert_fails(65).json["error"]["code"] == "output-leaves-project"
    assert (tmp_path / "secret").read_text() == "x", "a build wrote through the link"
    assert not (project.ops / "artifacts" / "tool" / "latest").exists()


def test_outputs_that_lay_there_are_told(project: Project) -> None:
    """Exit code 0 without a write: all was up to date, or the tool writes elsewhere by now; a note says so."""
    assert build(project)["notes"] == []
    project.write("tool/make.sh", "#!/bin/sh\nmkdir -p elsewhere\ncat source > elsewhere/app.bin\n").chmod(0o755)
    (note,) = build(project)["notes"]
    assert "wrote none of its outputs" in note
    assert f"note: {note}" in project.run("build").assert_ok().stderr


def test_a_command_that_leaves_nothing_fails(project: Project) -> None:
    """Exit code 0 without the first output is no artifact."""
    project.configure(TOML.replace("out/app.bin", "out/other.bin"))
    error = project.run("build", "--json").assert_fails(65, "other.bin").json["error"]
    assert error["code"] == "no-output"


def test_clean_removes_earlier_outputs_and_never_what_git_keeps(project: Project) -> None:
    """--clean takes outputs away first; one that is in git's index stops it."""
    build(project)
    project.write("tool/out/old.txt", "left over")
    assert "old.txt" in build(project)["artifact"]["files"]
    build(project, "--clean")
    assert not (project.root / "tool/out/old.txt").exists()
    project.configure(TOML.replace('"out/*.txt"', '"source"'))
    error = project.run("build", "--clean", "--json").assert_fails(78, "git keeps").json["error"]
    assert error["code"] == "tracked-output" and (project.root / "tool/source").exists()


def test_release_runs_the_release_command(project: Project) -> None:
    """The manifest says so; a target without one refuses --release as a usage error."""
    done = build(project, "--release")
    manifest = read_json(str(Path(done["artifact"]["folder"]) / "manifest.json"))
    assert done["release"] is True and manifest["release"] is True
    assert (Path(done["artifact"]["folder"]) / "args.txt").read_text() == "release|1|"
    project.configure("\n".join(line for line in TOML.splitlines() if "command_release" not in line))
    project.run("build", "--release").assert_fails(2, "has no --release", "command_release")
    project.run("build", "--env", "x").assert_fails(2, "--env")


PLUGIN = """\
import os
from k1ctl.builds import BuildCommand, BuildKind, BuildReader, BuildResult
from k1ctl.hookspecs import hookimpl

class Reader(BuildReader):
    def feed(self, line):
        return None
    def result(self):
        return BuildResult()

class Copy(BuildKind):
    name = "copy"
    def prepare(self, request):
        return BuildCommand(["/bin/cp", "source", "copied"], request.project, dict(os.environ))
    def reader(self, request):
        return Reader()
    def outputs(self, request, command):
        return {"copied": os.path.join(request.project, "copied")}

@hookimpl
def k1ctl_build_kinds():
    return [Copy()]
"""


def test_a_kind_of_a_plugin_needs_to_know_nothing_of_releases_and_caches(project: Project, tmp_path: Path) -> None:
    """It is built, listed and forecast like any other; --release is a usage error."""
    site = add_distribution(tmp_path / "site", "k1ctl-copy", {"copy": "k1ctl_copy"}, {"k1ctl_copy": PLUGIN})
    env = {"PYTHONPATH": str(site)}
    project.configure('[targets.copy]\nkind = "copy"\npath = "tool"\n')
    done = project.run("build", "copy", "--json", env=env).assert_ok().json
    assert Path(done["artifact"]["path"]).read_text() == "one\n" and done["cache"] is None
    assert project.run("build", "copy", "--dry-run", "--json", env=env).assert_ok().json["expected_seconds"] is not None
    project.run("build", "copy", "--release", env=env).assert_fails(2, "of kind copy, which has no --release")


def several(project: Project, *names: str) -> None:
    """Further targets of the same project; each named one has a folder of its own."""
    body = TOML.partition("[targets.tool]\n")[2]
    text = TOML
    for name in names:
        text += f"[targets.{name}]\n" + body.replace('path = "tool"', f'path = "{name}"')
        for file in ("make.sh", "source"):
            path = project.write(f"{name}/{file}", (project.root / "tool" / file).read_bytes())
            path.chmod(0o755)
    project.configure(text + '[targets.gone]\nkind = "command"\npath = "gone"\n')


def test_all_targets_are_built_in_order_and_missing_ones_passed_over(project: Project) -> None:
    """`build all` gives a list, one entry for each configured target."""
    several(project, "b")
    done = build(project, "all")
    assert [(entry["target"], entry["status"], entry["ok"]) for entry in done] == [
        ("gone", "passed-over", True),
        ("tool", "built", True),
        ("b", "built", True),
    ]
    assert "gone" in done[0]["reason"]
    named = build(project, "b", "tool", "b")
    assert [entry["target"] for entry in named] == ["b", "tool"]
    assert [entry["dry_run"] for entry in build(project, "all", "--dry-run")[1:]] == [True, True]


def test_a_failure_ends_all_unless_told_to_keep_going(project: Project) -> None:
    """Exit code 1 in both cases; what was not tried is told."""
    several(project, "b")
    project.write("tool/broken", "")
    stopped = project.run("build", "tool", "b", "--json").assert_fails(1)
    assert [entry["status"] for entry in stopped.json] == ["failed", "not-tried"]
    assert stopped.json[0]["error"]["code"] == "build-failed"
    went_on = project.run("build", "tool", "b", "--keep-going", "--json").assert_fails(1)
    assert [entry["status"] for entry in went_on.json] == ["failed", "built"]
    project.run("build", "tool", "b").assert_fails(1, "not tried: b")


def test_an_interrupted_call_tries_no_further_target(project: Project) -> None:
    """^C ends the build under way and, also with --keep-going, those to come; the exit code says so."""
    several(project, "b")
    os.mkfifo(project.root / "tool" / "gate")
    building = project.popen("build", "tool", "b", "--keep-going", "--json")
    wait_until(lambda: "waiting" in project.run("build", "log").stdout)
    building.send_signal(signal.SIGINT)
    out, _ = building.communicate(timeout=60)
    assert building.returncode == 130
    assert [(entry["target"], entry["status"]) for entry in json.loads(out)] == [("tool", "failed"), ("b", "not-tried")]


def test_what_is_wrong_with_a_later_target_is_told_before_the_first_is_built(project: Project) -> None:
    """Without --keep-going nothing runs; --env belongs to one target; `all` stands alone."""
    several(project, "b")
    project.run("build", "tool", "nope").assert_fails(78, "nope")
    assert not (project.ops / "runs").exists()
    project.run("build", "tool", "b", "--env", "x").assert_fails(2, "--env")
    project.run("build", "all", "b").assert_fails(2, "`all` stands alone")


def test_words_of_the_command_are_no_targets(project: Project) -> None:
    """A target with such a name is refused with file and line."""
    for name in ("all", "list", "show", "log"):
        project.configure(f"[targets.{name}]\n")
        project.run("build").assert_fails(78, f"targets.{name}", f"k1ctl build {name}", "k1ctl.toml:1")


def test_help_shows_options_subcommands_and_an_example(project: Project) -> None:
    """The command is both: options of a build, and list, show and log below it."""
    told = project.run("build", "--help").assert_ok().stdout
    assert all(text in told for text in ("[TARGET]...", "--release", "Example:", "Commands:", "list", "show", "log"))
    assert project.run("build", "list", "--help").assert_ok().stdout.startswith("Usage: k1ctl build list [OPTIONS]")


def test_the_expected_time_is_that_of_earlier_builds_like_it(project: Project) -> None:
    """Null at first; then the median of what was measured, in the result, in --dry-run and on the live line."""
    assert build(project, "--dry-run")["expected_seconds"] is None
    first = build(project)
    assert first["expected_seconds"] is None
    assert build(project, "--dry-run")["expected_seconds"] == round(first["seconds"], 3)
    assert build(project, "--dry-run", "--release")["expected_seconds"] is None
    assert build(project, "--dry-run", "--clean")["expected_seconds"] is None
    (project.ops / "builds/tool/-.seconds").write_text("0 9\nnonsense\n0 7.5\n1 99\n0 8\n")
    assert build(project, "--dry-run")["expected_seconds"] == 8.0
    assert "expected:   8.0 s" in project.run("build", "--dry-run").stdout
    again = project.run("build").assert_ok()
    assert re.search(r"^building tool, about \d+ s left$", again.stderr, re.MULTILINE), again


def test_builds_are_listed_newest_first(project: Project) -> None:
    """Runs of other kinds are not; workspace, target and limit choose; without builds the list is empty."""
    assert build(project, "list")["builds"] == []
    tree = project.add_worktree("a")
    first = build(project)
    project.run("queue", "run", "port:1", "--", "true").assert_ok()
    project.write("tool/broken", "", within=tree)
    failed = project.run("build", "--json", cwd=tree).assert_fails(1).json["error"]["run"]
    told = build(project, "list")["builds"]
    assert [(b["run"], b["workspace"], b["outcome"]) for b in told] == [
        (failed, "a", "build-failed"),
        (first["run"], "repo", "done"),
    ]
    assert told[1]["artifact"] == first["artifact"]["id"] and told[1]["seconds"] == first["seconds"]
    assert [b["run"] for b in build(project, "list", "--workspace", "repo")["builds"]] == [first["run"]]
    assert [b["run"] for b in build(project, "list", "--limit", "1")["builds"]] == [failed]
    assert build(project, "list", "--target", "other")["builds"] == []
    lines = project.run("build", "list").assert_ok().stdout.splitlines()
    assert lines[0].startswith("RUN") and failed in lines[1] and first["artifact"]["id"] in lines[2]


def test_a_build_is_shown_with_manifest_and_error_lines(project: Project) -> None:
    """By the beginning of its id, or the newest one of this worktree; an unclear or unknown id is refused."""
    done = build(project)
    shown = build(project, "show")
    assert (shown["run"], shown["outcome"]) == (done["run"], "done")
    assert shown["manifest"]["id"] == done["artifact"]["id"]
    project.write("tool/broken", "")
    failed = project.run("build", "--json").assert_fails(1).json["error"]["run"]
    shown = build(project, "show", "latest")
    assert (shown["run"], shown["manifest"]) == (failed, None)
    assert shown["error_lines"] == ["main.c:3:1: error: no luck"]
    assert "main.c:3:1: error: no luck" in project.run("build", "show", failed).assert_ok().stdout
    assert build(project, "show", done["run"][:-1])["run"] == done["run"]
    project.run("build", "show", "2").assert_fails(2, "give more of it")
    project.run("build", "show", "nope").assert_fails(1, "no build 'nope' is recorded")
    tree = project.add_worktree("a")
    project.run("build", "show", cwd=tree).assert_fails(1, "k1ctl build list")


def test_the_log_is_printed_and_followed_to_its_end(project: Project) -> None:
    """While a build runs, `log` gives what there is and `log -f` ends with the build."""
    gate = project.root / "tool" / "gate"
    os.mkfifo(gate)
    building = project.popen("build")
    wait_until(lambda: "waiting" in project.run("build", "log").stdout)
    assert build(project, "show")["outcome"] == "running"
    following = project.popen("build", "log", "-f", text=False)
    assert following.stdout is not None and following.stdout.readline() == b"waiting\n"
    gate.write_text("go\n")
    assert following.stdout.read().splitlines()[-1] == b"made"
    assert (finish(following), finish(building)) == (0, 0)
    told = build(project, "log")
    assert told["outcome"] == "done" and told["text"].endswith("made\n")


def test_a_build_that_was_killed_is_told_as_lost(project: Project) -> None:
    """Its supervisor and command are gone and the record says running: nobody takes it for one under way."""
    run = build(project)["run"]
    file = project.ops / "runs" / run / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "state": "running"}))
    assert build(project, "list")["builds"][0]["outcome"] == "lost"


def test_what_was_built_before_a_killed_build_is_not_its_result(project: Project) -> None:
    """Nobody is left to say that it failed: while a build runs, and once all of it was killed, the newest is none."""
    first = build(project)["artifact"]["id"]
    os.mkfifo(project.root / "tool" / "gate")
    process = project.popen("build")
    with (project.root / "tool" / "gate").open("w"):
        run = build(project, "list")["builds"][0]["run"]
        kept = read_json(str(project.ops / "runs" / run / "run.json"))
        os.kill(kept["supervisor"], signal.SIGKILL)
        finish(process)
    with pytest.raises(WrongDataError) as caught:
        find(project.facts(), "tool")
    assert (caught.value.code, caught.value.details["failed"]["run"]) == ("build-failed-since", run)
    assert caught.value.details["artifact"] == first
    os.unlink(project.root / "tool" / "gate")
    again = build(project, "--wait", "20s")["artifact"]["id"]
    assert find(project.facts(), "tool").id == again


def test_a_source_that_is_edited_while_it_is_built_is_no_clean_commit(project: Project) -> None:
    """The manifest says so, and what was built is not taken for that of any later state, the old one again included."""
    os.mkfifo(project.root / "tool" / "gate")
    process = project.popen("build", "--json")
    with (project.root / "tool" / "gate").open("w") as gate:
        project.write("tool/source", "two\n")
        gate.write("go\n")
    out, _ = process.communicate(timeout=30)
    done = json.loads(out)
    assert (done["commit"], done["dirty"]) == (project.git("rev-parse", "HEAD"), True)
    manifest = read_json(os.path.join(done["artifact"]["folder"], "manifest.json"))
    assert "changed while" in manifest["source_note"] and manifest["dirty"] is True
    os.unlink(project.root / "tool" / "gate")
    again = build(project)
    assert again["artifact"]["id"] == done["artifact"]["id"] and "source_note" not in again
    newest = newest_build(project.facts(), "tool")
    project.write("tool/source", "one\n")
    assert newest["sources"] and newest["sources"] != manifest["sources"]


def test_listing_imports_nothing_heavy(project: Project) -> None:
    """`build list` and `build show` are as quick as `queue list`."""
    build(project)
    code = (
        "import sys\nsys.argv = ['k1ctl', 'build', 'list', '--json']\nfrom k1ctl.__main__ import main\nmain()\n"
        "print([m for m in ('subprocess', 'json', 'hashlib', 'tomllib', 'tempfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
