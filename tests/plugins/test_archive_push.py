"""`k1ctl archive push`, `pull` and `list --store`, through both stores, and on to a restore in another clone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from k1ctl.archive.folder import Archive
from tests.archive.saving import WORK, archived, begin
from tests.kit import Project
from tests.s3 import S3Server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as s3:
        yield s3


@pytest.fixture
def project(workspace: Project) -> Project:
    begin(workspace)
    return workspace


@pytest.fixture
def nas(project: Project, tmp_path: Path) -> Path:
    (tmp_path / "nas").mkdir()
    project.configure(f'[stores.nas]\npath = "{tmp_path}/nas"\n[archive]\nstore = "nas"\n')
    return tmp_path / "nas"


def clone(project: Project, name: str) -> Path:
    """Another clone of the repository with the same configuration."""
    path = project.root.parent / name
    subprocess.run(["git", "clone", "-q", str(project.root), str(path)], check=True)
    (path / "ops").mkdir()
    (path / "ops" / "k1ctl.toml").write_bytes(project.config_file.read_bytes())
    return path


def comes_back(project: Project, archive: Archive, name: str) -> None:
    """The archive can be pulled into another clone and restored there: all but its secret, which is told."""
    there = clone(project, name)
    pulled = project.run("archive", "pull", archive.id[:17], cwd=there).assert_ok()
    assert "1 of its secrets stayed" in pulled.stderr
    target = project.root.parent / f"{name}-oslo"
    restored = project.run("archive", "restore", archive.id, "--to", target, cwd=there).assert_ok()
    assert "1 files with secrets stayed on the host" in restored.stdout + restored.stderr
    found = {str(p.relative_to(target)): p.read_text() for p in target.rglob("*") if p.is_file() and p.name != ".git"}
    assert found == {
        **{k: v for k, v in WORK.items() if k != ".env"},
        "README": found["README"],
        ".gitignore": found[".gitignore"],
    }
    status = project.git("status", "--porcelain", cwd=target).splitlines()
    assert sorted(line.strip() for line in status) == ["?? new", "M tracked"]


def test_through_a_folder(project: Project, nas: Path) -> None:
    """The first use needs a person's word; then push, list, a second push that sends nothing, pull and restore."""
    archive = archived(project)
    project.run("archive", "push", "oslo").assert_fails(1, "mount point without its disk", "--init-store")
    assert list(nas.iterdir()) == []
    assert "is ready" in project.run("archive", "push", "--init-store").assert_ok().stderr
    sent = project.run("archive", "push", "--all", "--json").assert_ok().json
    assert [row["outcome"] for row in sent["archives"]] == ["pushed"] and sent["repository"] == "repo"
    again = project.run("archive", "push", "oslo").assert_ok()
    assert f"{archive.id}: already in nas; left on this host: 1 secret" in again.stdout
    assert subprocess.run(["grep", "-r", "hunter2", nas], capture_output=True).stdout == b""
    [row] = project.run("archive", "list", "--store", "nas", "--json").assert_ok().json["archives"]
    assert (row["archive"], row["whole"], row["here"]) == (archive.id, True, True)
    assert project.run("archive", "list").assert_ok().stdout.splitlines()[1].endswith("  nas")
    comes_back(project, archive, "another")


def test_through_a_bucket(project: Project, server: S3Server) -> None:
    """The same through a real S3 server; the keys stand in no event, no output and no file."""
    env: dict[str, str | None] = {"TEST_KEY": "AKIAOURS", "TEST_SECRET": "wJalr-our-secret"}
    bucket = server.make_bucket("archives")
    project.configure(server.toml("cloud", bucket) + '[archive]\nstore = "cloud"\n')
    archive = archived(project)
    missing = project.run("archive", "push", "oslo")
    missing.assert_fails(78, "$TEST_KEY and $TEST_SECRET is not set", 'key_env = ""')
    pushed = project.run("archive", "push", "oslo", env=env).assert_ok()
    assert f"{archive.id}: already" in project.run("archive", "push", "--all", env=env).assert_ok().stdout
    said = pushed.stdout + pushed.stderr + "".join(p.read_text() for p in (project.ops / "events").iterdir())
    assert "archive.pushed" in said and "AKIAOURS" not in said and "wJalr" not in said
    nowhere = project.config_file.read_text().replace(server.endpoint, "http://127.0.0.1:9")
    there = clone(project, "elsewhere")
    pulled = project.run("archive", "pull", archive.id, "--json", cwd=there, env=env).assert_ok().json
    assert (pulled["outcome"], pulled["secrets_count"]) == ("pulled", 1)
    project.run("archive", "verify", "--all", cwd=there).assert_ok()
    project.configure(nowhere)
    failed = project.run("archive", "list", "--store", "cloud", env=env)
    failed.assert_fails(1, "http://127.0.0.1:9: the service could not be reached")
    assert "AKIAOURS" not in failed.stderr


def test_one_that_fails_hinders_no_other(project: Project, nas: Path) -> None:
    """--all goes on behind a damaged archive, and ends with its exit code; unknown stores and names are said."""
    damaged, whole = archived(project, "oslo"), archived(project, "tokyo")
    Path(damaged.folder, "git.tar").unlink()
    outcome = project.run("archive", "push", "--all", "--init-store", "--json").assert_fails(65)
    rows = {row["archive"]: row for row in outcome.json["archives"]}
    assert rows[whole.id]["outcome"] == "pushed" and rows[damaged.id]["outcome"] == "failed"
    assert rows[damaged.id]["error"]["code"] == "archive-damaged" and outcome.json["ok"] is False
    project.run("archive", "push").assert_fails(2, "--all")
    project.configure("")
    project.run("archive", "list", "--store", "nas").assert_fails(78, "there is no store nas")
    project.run("archive", "push", "--all").assert_fails(78, "no store is configured")
