"""Builds of kind ``npm``: the script, the dependencies it may rely on, and the folder it leaves."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from k1ctl.files import read_json
from k1ctl_plugins.build.npm_kind import differences
from tests.kit import Project, needs

TOML = '[defaults]\ntarget = "web"\n[targets.web]\nkind = "npm"\npath = "webapp"\n'
SCRIPT = """\
const fs = require("fs");
if (fs.existsSync("broken")) { console.error("error during build:\\nx.ts (1:2): no luck\\n\\nbye"); process.exit(1); }
fs.mkdirSync("dist/assets", {recursive: true});
fs.writeFileSync("dist/index.html", "mode=" + (process.env.NODE_ENV || "") + " script=" + process.argv[2]);
fs.writeFileSync("dist/assets/app.js", fs.readFileSync("src.js"));
console.log("2 modules transformed.");
"""
LOCKED = {"version": "1.0.0", "integrity": "sha512-AAAA"}


def lock(**packages: dict[str, Any]) -> str:
    places = {f"node_modules/{name}": facts for name, facts in packages.items()}
    return json.dumps({"lockfileVersion": 3, "packages": {"": {"name": "web"}, **places}})


@pytest.fixture
def project(workspace: Project) -> Project:
    """A repository with a web application that needs nothing but node."""
    scripts = {"build": "node make.js plain", "build:small": "node make.js small"}
    workspace.write(".gitignore", "dist\nnode_modules\nbroken\n")
    workspace.write("webapp/package.json", json.dumps({"name": "web", "scripts": scripts}))
    workspace.write("webapp/package-lock.json", lock())
    workspace.write("webapp/make.js", SCRIPT)
    workspace.write("webapp/src.js", "1\n")
    workspace.commit("webapp")
    workspace.configure(TOML)
    return workspace


def index(done: dict[str, Any]) -> str:
    with tarfile.open(done["artifact"]["path"]) as tar:
        file = tar.extractfile("index.html")
        assert file is not None
        return file.read().decode()


@needs("npm", "node")
def test_the_folder_is_kept_as_one_archive_named_by_its_contents(project: Project) -> None:
    """Equal sources give the same artifact in every worktree, another source another one; sizes are told."""
    first = project.run("build", "--json").assert_ok().json
    image = first["artifact"]["files"]["dist.tar"]
    assert (first["artifact"]["image"], image["file_count"]) == ("dist.tar", 2)
    assert index(first) == "mode= script=plain" and first["tools"]["npm"][0].isdigit()
    tree = project.add_worktree("a")
    assert project.run("build", "--json", cwd=tree).assert_ok().json["artifact"]["id"] == first["artifact"]["id"]
    project.write("webapp/src.js", "2\n", within=tree)
    told = project.run("build", cwd=tree).assert_ok().stdout
    assert told.startswith("web built in ") and "2 files, " in told and first["artifact"]["id"] not in told


@needs("npm", "node")
def test_a_release_has_its_script_and_production_mode(project: Project) -> None:
    """--release sets NODE_ENV and takes script_release, else script; the manifest says so."""
    done = project.run("build", "--release", "--json").assert_ok().json
    assert index(done) == "mode=production script=plain"
    assert read_json(os.path.join(done["artifact"]["folder"], "manifest.json"))["release"] is True
    project.configure(TOML + 'script_release = "build:small"\n')
    assert project.run("build", "--release", "--dry-run", "--json").assert_ok().json["argv"][1:] == [
        "run",
        "build:small",
    ]


@needs("npm", "node")
def test_a_broken_build_shows_what_the_tool_said(project: Project) -> None:
    """The error and the lines behind it, from a PATH that knows no npm."""
    project.write("webapp/broken", "")
    done = project.run("build", "--json", env={"PATH": None}).assert_fails(1)
    error = done.json["error"]
    assert error["code"] == "build-failed"
    assert error["lines"][:2] == ["error during build:", "x.ts (1:2): no luck"] and "bye" not in error["lines"]


def test_missing_or_other_modules_are_refused(project: Project) -> None:
    """Nothing is installed behind the user's back; the next step is named, and nothing waits in line."""
    project.write("webapp/package-lock.json", lock(left=LOCKED, right=LOCKED))
    error = project.run("build", "--json").assert_fails(78, "k1ctl worktree setup").json["error"]
    assert error["code"] == "node-modules-stale" and "left is missing and 1 more" in error["message"]
    hidden = project.root / "webapp/node_modules/.package-lock.json"
    hidden.parent.mkdir()
    hidden.write_text(lock(left={**LOCKED, "version": "2.0.0"}, right=LOCKED))
    error = project.run("build", "--json").assert_fails(78).json["error"]
    assert error["differences"] == ["left is 2.0.0, not 1.0.0"]
    assert not (project.ops / "runs").exists()


@needs("npm", "node")
def test_modules_as_the_lock_says_are_built_with(project: Project) -> None:
    """Also when the lock file is that of a folder above, as npm workspaces have it."""
    text = lock(left=LOCKED)
    (project.root / "webapp/package-lock.json").unlink()
    project.write("package-lock.json", text)
    project.write("node_modules/.package-lock.json", text)
    project.run("build").assert_ok()


def test_modules_of_another_tree_are_refused(project: Project) -> None:
    """The advice to share node_modules is not followed by accident."""
    tree = project.add_worktree("a")
    (project.root / "webapp/node_modules").mkdir()
    (tree / "webapp/node_modules").symlink_to(project.root / "webapp/node_modules")
    error = project.run("build", "--json", cwd=tree).assert_fails(78, "worktree setup").json["error"]
    assert error["code"] == "linked-node-modules"


@pytest.mark.parametrize(
    ("config", "code", "text"),
    [
        ('script = "nope"\n', "no-script", "there are: build, build:small"),
        ('outputs = ["../dist"]\n', "bad-configuration", "not a path below"),
    ],
)
def test_what_cannot_be_built_is_refused(project: Project, config: str, code: str, text: str) -> None:
    """Each wrong setting has its own code and names what there is."""
    project.configure(TOML + config)
    assert project.run("build", "--json").assert_fails(78, text).json["error"]["code"] == code


def test_a_folder_without_package_is_refused(project: Project) -> None:
    """The file is named, missing or not readable as JSON."""
    file = Path(project.root / "webapp/package.json")
    file.write_text("{")
    project.run("build").assert_fails(78, "package.json is not a JSON document")
    file.unlink()
    project.run("build").assert_fails(78, "package.json is not there")


def test_what_differs_between_lock_and_modules() -> None:
    """Versions, integrity, missing and surplus packages; optional ones may be missing, but not be others."""
    wanted = {"": {}, "lib": {"version": "1"}, "node_modules/lib": {"link": True}, "node_modules/a": LOCKED}
    assert differences(wanted, {"node_modules/a": LOCKED, "node_modules/lib": {"link": True}}) == []
    other = differences(wanted, {"node_modules/a": {**LOCKED, "integrity": "sha512-BBBB"}})
    assert other == ["a 1.0.0 is not the one that was locked (integrity)"]
    optional = {"node_modules/a/node_modules/o": {**LOCKED, "optional": True}}
    assert differences(optional, {}) == []
    assert differences(optional, {"node_modules/a/node_modules/o": {"version": "3"}}) == ["o is 3, not 1.0.0"]
    assert differences({}, {"node_modules/a": LOCKED}) == ["a is too much"]
