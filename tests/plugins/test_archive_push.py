"""`k1ctl archive push`, `pull` and `list --store`, and on to a restore in another clone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from k1ctl.testing.distributions import add_distribution
from tests.archive.saving import WORK, archived, archived_alike, begin
from tests.kit import Project


@pytest.fixture
def project(workspace: Project) -> Project:
    begin(workspace)
    return workspace


@pytest.fixture
def nas(project: Project, tmp_path: Path) -> Path:
    (tmp_path / "nas").mkdir()
    project.configure(f'[stores.nas]\npath = "{tmp_path}/nas"\n[archive]\nstore = "nas"\n')
    return tmp_path / "nas"


def clone(project: Project) -> Path:
    """Another clone of the repository with the same configuration."""
    path = project.root.parent / "clone"
    subprocess.run(["git", "clone", "-q", str(project.root), str(path)], check=True)
    (path / "ops").mkdir()
    (path / "ops" / "k1ctl.toml").write_bytes(project.config_file.read_bytes())
    return path


def test_through_a_folder(project: Project, nas: Path) -> None:
    """The first use needs a person's word; then push and list, pull into another clone, and restore: all but the
    secret, which is told."""
    archive = archived_alike(project)
    project.run("archive", "push", "oslo").assert_fails(1, "mount point without its disk", "--init-store")
    assert list(nas.iterdir()) == []
    assert "is ready" in project.run("archive", "push", "--init-store").assert_ok().stderr
    sent = project.run("archive", "push", "--all", "--json").assert_ok().json
    assert [row["outcome"] for row in sent["archives"]] == ["pushed"] and sent["repository"] == "repo"
    assert subprocess.run(["grep", "-r", "hunter2", nas], capture_output=True).stdout == b""
    [row] = project.run("archive", "list", "--store", "nas", "--json").assert_ok().json["archives"]
    assert (row["archive"], row["whole"], row["here"]) == (archive.id, True, True)
    assert project.run("archive", "list").assert_ok().stdout.splitlines()[1].endswith("  nas")

    there, target = clone(project), project.root.parent / "oslo again"
    pulled = project.run("archive", "pull", archive.id[:17], cwd=there).assert_ok()
    assert "1 of its secrets stayed" in pulled.stderr
    restored = project.run("archive", "restore", archive.id, "--to", target, cwd=there).assert_ok()
    assert "1 files with secrets stayed on the host" in restored.stdout + restored.stderr
    found = {str(p.relative_to(target)): p.read_text() for p in target.rglob("*") if p.is_file() and p.name != ".git"}
    assert {name for name in found if name not in WORK} == {"README", ".gitignore"}
    assert {name: found.get(name) for name in WORK} == {**WORK, ".env": None}
    status = project.git("status", "--porcelain", cwd=target).splitlines()
    assert sorted(line.strip() for line in status) == ["?? new", "M tracked"]


def test_one_that_fails_hinders_no_other(project: Project, nas: Path) -> None:
    """--all goes on behind a damaged archive, and ends with its exit code, but not behind a store that fails; unknown
    stores and names are said."""
    damaged, whole = archived_alike(project), archived(project, "tokyo")
    unready = project.run("archive", "push", "--all", "--json").assert_fails(1).json["archives"]
    assert [row["outcome"] for row in unready] == ["failed", "not-tried"]
    Path(damaged.folder, "git.tar").unlink()
    outcome = project.run("archive", "push", "--all", "--init-store", "--json").assert_fails(65)
    rows = {row["archive"]: row for row in outcome.json["archives"]}
    assert rows[whole.id]["outcome"] == "pushed" and rows[damaged.id]["outcome"] == "failed"
    assert rows[damaged.id]["error"]["code"] == "archive-damaged" and outcome.json["ok"] is False
    project.run("archive", "push").assert_fails(2, "--all")
    project.configure("")
    project.run("archive", "list", "--store", "nas").assert_fails(78, "there is no store nas")
    project.run("archive", "push", "--all").assert_fails(78, "no store is configured")


TAPE = """
from k1ctl.hookspecs import hookimpl
from k1ctl.stores import Store

class Tape(Store):
    name = "tape"
    def list(self, prefix):
        return [(prefix + "20261121-180354-oslo-aabbcc/git.tar", 7)]

@hookimpl
def k1ctl_archive_store(workspace, config):
    return [Tape()] if "tape" in config.plugins else []
"""


def test_a_store_of_a_plugin(project: Project, tmp_path: Path) -> None:
    """One that a distribution brings is used as ours are, also beside a plugin that is broken."""
    add_distribution(tmp_path / "site", "k1ctl-tape", {"tape": "k1ctl_tape"}, {"k1ctl_tape": TAPE})
    broken = "from k1ctl.hookspecs import hookimpl\n@hookimpl\ndef k1ctl_archive_store():\n    raise RuntimeError\n"
    add_distribution(tmp_path / "site", "k1ctl-bad", {"bad": "k1ctl_bad"}, {"k1ctl_bad": broken})
    project.configure("[plugins.tape]\n")
    env: dict[str, str | None] = {"PYTHONPATH": str(tmp_path / "site")}
    [row] = project.run("archive", "list", "--store", "tape", "--json", env=env).assert_ok().json["archives"]
    assert (row["archive"], row["whole"], row["bytes"]) == ("20261121-180354-oslo-aabbcc", False, 7)
