"""`k1ctl worktree setup --cache`: where node_modules come from."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl import groups
from k1ctl.config import load
from k1ctl.errors import K1ctlError
from k1ctl.setup import StepReport
from k1ctl.workspace import cache_dir
from k1ctl_plugins.worktree import cache, cache_apart, cache_key, cache_pnpm
from k1ctl_plugins.worktree import npm as npm_run
from tests import mounts, npm
from tests.kit import Outcome, Project, finish, needs, wait_until

TOKEN = "npm_hunter2"


def step(outcome: Outcome, name: str = "npm:web") -> dict[str, Any]:
    document = outcome.json
    return next(s for s in document.get("error", document)["steps"] if s["name"] == name)


def tree(folder: Path) -> dict[str, tuple[int, object]]:
    """Modes and contents of a tree, but for the mark."""
    return {
        str(p.relative_to(folder)): (
            p.lstat().st_mode,
            os.readlink(p) if p.is_symlink() else p.is_file() and p.read_bytes(),
        )
        for p in folder.rglob("*")
        if p.name != ".k1ctl-lock"
    }


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> npm.Tools:
    """npm and node that cost nothing, and a cache of k1ctl's own."""
    monkeypatch.setenv("K1CTL_CACHE_DIR", str(tmp_path / "cache"))
    return npm.Tools(tmp_path / "tools", monkeypatch, "npm", "node")


@pytest.fixture
def web(make_workspace: Callable[..., Project]) -> Project:
    """A repository with a web project, and worktrees a and b."""
    files = {f"web/{name}": content for name, content in npm.project().items()}
    return make_workspace(files={".gitignore": "node_modules\n.npmrc\n", **files}, worktrees=["a", "b"])


def seeds(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "npm").glob("*/node_modules"))


def setup(project: Project, name: str, *args: str, **env: str) -> dict[str, Any]:
    done = project.run("worktree", "setup", "--json", *args, cwd=project.worktree(name), env=env).assert_ok()
    assert project.git("status", "--porcelain", "--untracked-files=all", cwd=project.worktree(name)) == ""
    return step(done)


def bring(project: Project, name: str, wanted: str = "copy") -> StepReport:
    """The step alone, in this process."""
    top = str(project.worktree(name))
    homes = (os.path.join(cache_dir(), "npm"),)
    return cache.install(cache.NpmProject(f"{top}/web", top, homes, wanted, (), lambda need: None))


def test_one_installs_and_all_others_copy(web: Project, tools: npm.Tools, tmp_path: Path) -> None:
    """The first set-up builds a seed away from every worktree, each further one takes it: same files, modes, links,
    its own to write; the report says how and what it took."""
    first, second = setup(web, "a", "--cache", "copy"), setup(web, "b", "--cache", "copy")
    (seed,) = seeds(tmp_path)
    assert tools.words == ["ci"]
    assert Path(tools.calls[0][0]).parent == seed.parent.parent
    a, b = web.worktree("a") / "web" / "node_modules", web.worktree("b") / "web" / "node_modules"
    assert tree(a) == tree(b)
    assert os.readlink(b / ".bin" / "cli") == "../pkg/cli"
    modes = {name: (b / "pkg" / name).stat().st_mode & 0o777 for name in ("cli", "lib/index.js", "lib/closed")}
    assert modes == {"cli": 0o755, "lib/index.js": 0o644, "lib/closed": 0o444}
    assert (seed / "pkg" / "lib" / "index.js").stat().st_mode & 0o777 == 0o444
    assert (first["details"]["seed_built"], second["details"]["seed_built"]) == (True, False)
    assert second["details"]["strategy"] == "copy"
    assert second["details"]["files"] == 4
    assert second["own_bytes"] >= 4096 and second["shared_bytes"] == 0
    assert setup(web, "b")["status"] == "unchanged"


def test_auto_clones_or_says_why_not(web: Project, tools: npm.Tools) -> None:
    """Without a word it is a clone where the filesystem can, else a copy with the reason."""
    details = setup(web, "a")["details"]
    assert (details["strategy"], details["why"]) in (
        ("clone", ""),
        ("copy", "not cloned: the filesystem cannot"),
    )


def test_a_repository_on_another_disk_is_cloned_from_itself(
    tools: npm.Tools, tmp_path: Path, make_workspace: Callable[..., Project]
) -> None:
    """The cache is on a disk from which nothing can be cloned into the worktree: the seed lies in the repository's git
    folder, and the worktree's bytes are shared with it."""
    with mounts.cloning("btrfs", tmp_path) as disk:
        made = make_workspace("mounted/repo", files={".gitignore": "node_modules\n", **npm.project()}, worktrees=["a"])
        done = made.run("worktree", "setup", "--json", cwd=made.worktree("a")).assert_ok()
        details = step(done, "npm:.")["details"]
        assert details["strategy"] == "clone"
        assert details["own_bytes"] < details["shared_bytes"]
        assert (disk / "repo/.git/k1ctl/npm" / details["seed"] / "node_modules").is_dir()
        assert not seeds(tmp_path)


def test_store_links_to_the_read_only_seed(web: Project, tools: npm.Tools, tmp_path: Path) -> None:
    """--cache store: hard links to read-only files, shared but for folders; npm ci replaces them and the seed stays."""
    done = setup(web, "a", "--cache", "store")
    (seed,) = seeds(tmp_path)
    file, before = web.worktree("a") / "web" / "node_modules" / "pkg" / "cli", tree(seed)
    assert file.samefile(seed / "pkg" / "cli")
    assert file.stat().st_mode & 0o777 == 0o555
    assert done["details"]["strategy"] == "store"
    assert done["shared_bytes"] >= 4096
    assert setup(web, "a", "--cache", "install")["details"]["strategy"] == "install"
    assert not file.samefile(seed / "pkg" / "cli")
    assert tree(seed) == before


def test_links_to_a_seed_that_was_replaced_are_made_anew(web: Project, tools: npm.Tools, tmp_path: Path) -> None:
    """Somebody wrote through a link, and a third worktree had the seed built anew: the others, which share the change
    still, get files of the new one at their next set-up; a program that npm made writable is no change."""
    for name in ("a", "b"):
        bring(web, name, "store")
    file = web.worktree("b") / "web/node_modules/pkg/lib/index.js"
    (file.parent.parent / "cli").chmod(0o755)
    assert bring(web, "a").details["seed_built"] is False
    assert (file.parent.parent / "cli").stat().st_mode & 0o777 == 0o555
    file.chmod(0o644)
    file.write_text("module.exports = 2\n")
    web.add_worktree("c")
    assert bring(web, "c", "store").details["seed_built"]
    assert bring(web, "b", "auto").changed
    assert file.read_text() == "module.exports = 1\n"
    assert not bring(web, "b", "store").changed


def test_a_project_with_scripts_is_not_linked(
    web: Project, tools: npm.Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripts of npm ci run when the packages are there, in the worktree, each once and in npm's order; what they
    write into a package changes neither the seed nor another worktree."""
    files = npm.project(scripts={"prepare": "x", "postinstall": "x", "preinstall": "x", "build": "x"})
    for name in ("a", "b"):
        for file, content in files.items():
            web.write(f"web/{file}", content, within=web.worktree(name))
        web.commit(cwd=web.worktree(name))
    done = bring(web, "a", "store").details
    assert tools.words == ["ci", "run preinstall", "run postinstall", "run prepare"]
    assert all(words.startswith("run --ignore-scripts ") for _, words in tools.calls if words.startswith("run"))
    assert {folder for folder, words in tools.calls if words.startswith("run")} == {str(web.worktree("a") / "web")}
    assert done["strategy"] in ("clone", "copy")
    assert "preinstall" in done["why"]
    (seed,) = seeds(tmp_path)
    assert (seed / "pkg/lib/index.js").read_text() == "module.exports = 1\n"
    patched = (web.worktree("a") / "web/node_modules/pkg/lib/index.js").read_text()
    assert patched == "module.exports = 1\npreinstall\npostinstall\nprepare\n"
    monkeypatch.setenv("npm_config_ignore_scripts", "true")
    assert bring(web, "b", "store").details["strategy"] == "store"
    assert tools.words[4:] == ["ci"]


def test_a_failed_installation_leaves_everything(web: Project, tools: npm.Tools, tmp_path: Path) -> None:
    """npm's refusal is told in its words; the old node_modules stay, and no seed, lock or scratch folder is left."""
    bring(web, "a")
    folder = web.worktree("a") / "web"
    (folder / "package-lock.json").write_text(npm.project()["package-lock.json"] + "\n")
    before = tree(folder / "node_modules")
    done = web.run("worktree", "setup", "--json", cwd=web.worktree("a"), env={"FAKE_FAILS": "1"})
    done.assert_fails(1, "npm:web")
    assert "EUSAGE" in step(done)["summary"]
    assert tree(folder / "node_modules") == before
    assert len(os.listdir(tmp_path / "cache" / "npm")) == 2
    assert sorted(os.listdir(folder)) == ["node_modules", "package-lock.json", "package.json"]


def test_a_damaged_seed_is_built_anew(web: Project, tools: npm.Tools, tmp_path: Path) -> None:
    """Somebody wrote into the seed: the next worktree gets what npm installs, not that."""
    bring(web, "a")
    (seed,) = seeds(tmp_path)
    (seed / "pkg" / "lib" / "index.js").chmod(0o644)
    (seed / "pkg" / "lib" / "index.js").write_text("module.exports = 2\n")
    assert bring(web, "b").details["seed_built"]
    assert tools.words == ["ci", "ci"]
    assert (web.worktree("b") / "web/node_modules/pkg/lib/index.js").read_text() == "module.exports = 1\n"


def test_an_interrupted_set_up_ends_its_npm(web: Project, tools: npm.Tools, tmp_path: Path) -> None:
    """A signal to k1ctl alone, and npm deaf to it: npm is ended before k1ctl is, nothing half-built is left."""
    pid = tmp_path / "pid"
    started = web.popen("worktree", "setup", cwd=web.worktree("a"), env={"FAKE_HANGS": str(pid)})
    wait_until(lambda: pid.exists() and pid.read_text().strip())
    started.send_signal(signal.SIGINT)
    assert finish(started) == 130
    assert not groups.living(int(pid.read_text()))
    assert os.listdir(tmp_path / "cache" / "npm") == []
    assert sorted(os.listdir(web.worktree("a") / "web")) == ["package-lock.json", "package.json"]


def test_many_at_once_install_once(web: Project, tools: npm.Tools) -> None:
    """Set-ups of three worktrees at the same time: one installs, the others wait for it."""
    names = ["a", "b", "c"]
    web.add_worktree("c")
    started = [web.popen("worktree", "setup", cwd=web.worktree(name)) for name in names]
    assert [finish(process) for process in started] == [0, 0, 0]
    assert tools.words == ["ci"]
    assert len({json.dumps(sorted(map(str, tree(web.worktree(n) / "web/node_modules").items()))) for n in names}) == 1


def test_without_a_cache_it_is_installed_in_the_tree(web: Project, tools: npm.Tools, tmp_path: Path) -> None:
    """A cache that cannot be made fails no set-up: npm ci runs in the worktree, and the step says why."""
    (tmp_path / "cache").write_text("no folder")
    details = setup(web, "a")["details"]
    assert (details["strategy"], tools.words) == ("install", ["ci"])
    assert details["why"].startswith("k1ctl's cache cannot be written")
    (tmp_path / "cache").unlink()
    key = json.loads((web.worktree("a") / "web/node_modules/.k1ctl-lock").read_text())["key"]
    (tmp_path / "cache" / "npm" / f"{key}.lock").mkdir(parents=True)
    details = bring(web, "b").details
    assert details["strategy"] == "install" and details["why"].startswith("k1ctl's cache cannot be used")


def test_a_full_cache_is_told_from_a_full_worktree(tmp_path: Path) -> None:
    """No space left: where the cache has a disk of its own npm ci in the tree may do; else it would only empty it."""
    there = cache.NpmProject(str(tmp_path), str(tmp_path), ("/dev",), "copy", (), lambda need: None)
    errors = [
        OSError(errno.ENOSPC, "full"),
        K1ctlError("npm ci failed: ENOSPC: no space left", code="npm-failed"),
    ]
    assert [cache.no_seed(there, exc) for exc in errors] == ["the disk of k1ctl's cache is full"] * 2
    here = there._replace(homes=(str(tmp_path / "npm"), str(tmp_path)))
    errors += [K1ctlError("npm ci failed", code="npm-failed", lines=["E404"]), OSError(errno.EACCES, "no", "/x")]
    assert [cache.no_seed(here, exc) for exc in errors] == ["", "", "", ""]


def test_mounted_packages_are_installed_in_place(
    web: Project, tools: npm.Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node_modules that is a mount point cannot be renamed away, whether Python knows it as one or not."""
    modules = f"{web.worktree('a')}/web/node_modules"
    os.mkdir(modules)
    rename = os.rename

    def busy(source: str, target: str) -> None:
        if source == modules:
            raise OSError(errno.EBUSY, "busy", source, None, target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", busy)
    assert bring(web, "a").details["why"] == "node_modules is a mount point"
    os.unlink(f"{modules}/.k1ctl-lock")
    monkeypatch.setattr(os.path, "ismount", lambda path: path == modules)
    assert bring(web, "a").details["why"] == "node_modules is a mount point"
    assert len(seeds(tmp_path)) == 1 and tools.words == ["ci", "ci", "ci"]


def test_why_npm_failed_is_told_in_its_words() -> None:
    """The reason stands behind the code, and npm's usage behind the reason."""
    said = ["npm error code EUSAGE", "npm error", "npm error `npm ci` needs a lock file", "npm error Missing: a@1"]
    usage = ["npm error Clean install a project", "npm error", "npm error Usage:"]
    assert npm_run.reason(["npm warn old", *said, *usage]) == ["EUSAGE: `npm ci` needs a lock file", "Missing: a@1"]
    assert npm_run.reason([" ERR_PNPM_OUTDATED_LOCKFILE  Cannot"]) == ["ERR_PNPM_OUTDATED_LOCKFILE  Cannot"]
    said = [
        "npm error code ECONNREFUSED",
        "npm error syscall connect",
        "npm error FetchError: no",
        "npm error     at X",
    ]
    assert npm_run.reason(said) == ["ECONNREFUSED: FetchError: no"]
    said = ["> web@1 prepare", "> tsc", "src/a.ts(1,1): error", "npm warn old", "sh: tsc: failed"]
    assert npm_run.reason(said) == ["sh: tsc: failed", "src/a.ts(1,1): error"]
    assert npm_run.reason(["npm error code 1"]) == ["code 1"]
    assert npm_run.reason([]) == ["it said nothing"]


def test_a_shrinkwrap_is_a_lock_file(make_workspace: Callable[..., Project], tools: npm.Tools, tmp_path: Path) -> None:
    """npm-shrinkwrap.json instead of package-lock.json: there is a step, and it can be installed apart."""
    files = npm.project()
    files["npm-shrinkwrap.json"] = files["package-lock.json"]
    made = make_workspace(files={".gitignore": "node_modules\n", **files})
    (made.root / "package-lock.json").unlink()
    made.commit()
    project = cache.NpmProject(str(made.root), str(made.root), (str(tmp_path / "npm"),), "copy", (), lambda need: None)
    assert [step.name for step in cache.steps(made.facts(), load(made.facts()), -1)] == ["npm:."]
    assert cache_apart.obstacle(project.folder, project.top) == ""


def test_a_plan_changes_nothing(web: Project, tools: npm.Tools, tmp_path: Path) -> None:
    """--dry-run tells where node_modules would come from."""
    web.run("config", "get", "worktree.cache").assert_ok()
    done = web.run("worktree", "setup", "--dry-run", "--json", cwd=web.worktree("a")).assert_ok()
    assert step(done)["status"] == "planned"
    assert "seed" in step(done)["summary"]
    assert tools.calls == [] and not (tmp_path / "cache" / "npm").exists()


@needs("npm")
def test_the_real_npm_is_content_with_a_seed(
    make_workspace: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package from a registry: downloaded once; in the second worktree npm finds nothing to mend, and its program
    runs; the registry's token is in no file of the cache."""
    monkeypatch.setenv("K1CTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    with npm.registry() as (files, asked):
        named = {f"web/{name}": content for name, content in files.items()}
        made = make_workspace(files={".gitignore": "node_modules\n.npmrc\n", **named}, worktrees=["a", "b"])
        for name in ("a", "b"):
            made.write("web/.npmrc", f"//127.0.0.1/:_authToken={TOKEN}{name}\n", within=made.worktree(name))
        assert setup(made, "a")["details"]["seed_built"]
        assert len(asked) == 1
    assert not setup(made, "b")["details"]["seed_built"]
    web = made.worktree("b") / "web"
    shown = json.loads(subprocess.check_output(["npm", "ls", "--json"], cwd=web))
    assert shown["dependencies"]["pkg"]["version"] == "1.0.0" and "problems" not in shown
    assert subprocess.check_output([web / "node_modules/.bin/cli"], text=True) == "hello\n"
    kept = [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()]
    assert kept == []


def folder_with(tmp_path: Path, packages: dict[str, Any], **package: Any) -> str:
    files = npm.project(**package)
    lock = json.loads(files["package-lock.json"])
    lock["packages"] |= packages
    for name, content in {**files, "package-lock.json": json.dumps(lock)}.items():
        (tmp_path / name).write_text(content)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("packages", "package", "why"),
    [
        ({}, {}, ""),
        ({}, {"scripts": {"prepare": "husky"}}, ""),
        ({"node_modules/lib": {"resolved": "lib", "link": True}}, {}, "lib lies in the project"),
        ({"node_modules/lib": {"resolved": "file:lib-1.0.0.tgz"}}, {}, "lib lies in the project"),
        ({}, {"workspaces": ["packages/*"]}, "workspaces"),
        ({"node_modules/@prisma/client": {"version": "5", "hasInstallScript": True}}, {}, "@prisma/client"),
        ({"node_modules/esbuild": {"version": "1", "hasInstallScript": True}}, {}, ""),
    ],
)
def test_what_must_be_installed_in_the_tree(
    packages: dict[str, Any], package: dict[str, Any], why: str, tmp_path: Path
) -> None:
    """What is no copy of published packages is not brought from elsewhere, and the reason names what it is."""
    said = cache_apart.obstacle(folder_with(tmp_path, packages, **package), str(tmp_path))
    assert (why in said) if why else said == ""


def test_further_reasons_to_install_in_the_tree(tmp_path: Path) -> None:
    """A member of npm workspaces, a project with a binding.gyp, lock files of version 1 and broken ones."""
    folder = tmp_path / "web"
    folder.mkdir()
    here = folder_with(folder, {})
    assert cache_apart.obstacle(here, str(tmp_path)) == ""
    (tmp_path / "package.json").write_text('{"workspaces": ["web"]}')
    assert "above" in cache_apart.obstacle(here, str(tmp_path))
    (tmp_path / "package.json").unlink()
    (folder / ".npmrc").write_text("; a word\naudit=false\ncafile=ca.pem\n")
    assert cache_apart.obstacle(here, str(tmp_path)) == ""
    (folder / "ca.pem").touch()
    assert "ca.pem" in cache_apart.obstacle(here, str(tmp_path))
    (folder / "binding.gyp").touch()
    assert "node-gyp" in cache_apart.obstacle(here, str(tmp_path))
    (folder / "package-lock.json").write_text('{"lockfileVersion": 1, "dependencies": {}}')
    assert "version 1" in cache_apart.obstacle(here, str(tmp_path))
    (folder / "package-lock.json").write_text("{")
    assert "JSON" in cache_apart.obstacle(here, str(tmp_path))


def test_the_key_is_of_what_decides(tmp_path: Path) -> None:
    """Lock file, what package.json asks for, node, npm, settings and NODE_ENV each give another key; tokens, scripts
    and the place do not."""
    first, other = tmp_path / "first", tmp_path / "other"
    for folder in (first, other):
        folder.mkdir()
        folder_with(folder, {})
    tools = cache_key.Toolchain("v20", "11")
    none = {"npm_config_userconfig": "/dev/null"}
    seen = [cache_key.key(str(first), tools, none)]
    assert cache_key.key(str(other), tools, none) == seen[0]
    (first / ".npmrc").write_text(f"//registry.example.org/:_authToken={TOKEN}\n; a word\ncache=/elsewhere\n")
    assert (
        cache_key.key(str(first), tools, {**none, "npm_config__auth": TOKEN, "npm_config_user_agent": "x"}) == seen[0]
    )
    (tmp_path / "user").write_text("omit=dev\n")
    seen.append(cache_key.key(str(first), tools, {"NPM_CONFIG_USERCONFIG": str(tmp_path / "user")}))
    seen.append(cache_key.key(str(first), cache_key.Toolchain("v22", "11"), none))
    seen.append(cache_key.key(str(first), cache_key.Toolchain("v20", "12"), none))
    seen.append(cache_key.key(str(first), tools, {**none, "NODE_ENV": "production"}))
    seen.append(cache_key.key(str(first), tools, {**none, "npm_config_omit": "dev"}))
    (first / ".npmrc").write_text("legacy-peer-deps=true\n")
    seen.append(cache_key.key(str(first), tools, none))
    folder_with(first, {}, scripts={"build": "vite"}, description="another")
    assert cache_key.key(str(first), tools, none) == seen[-1]
    folder_with(first, {}, overrides={"pkg": "1.0.0"})
    seen.append(cache_key.key(str(first), tools, none))
    assert len(set(seen)) == 8


def test_files_that_name_their_folder_are_told(tmp_path: Path) -> None:
    """What an install script built with an absolute path in it is in the seed's facts; other packages are not read."""
    for name in ("built", "plain"):
        (tmp_path / "node_modules" / name).mkdir(parents=True)
        (tmp_path / "node_modules" / name / "config").write_text(f"prefix={tmp_path}/x\n")
    told = {"packages": {"node_modules/built": {"hasInstallScript": True}, "node_modules/plain": {}}}
    (tmp_path / "node_modules" / ".package-lock.json").write_text(json.dumps(told))
    assert cache_apart.absolute(str(tmp_path)) == ["node_modules/built/config"]


def test_pnpm_installs_from_its_own_store(
    make_workspace: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pnpm-lock.yaml: pnpm install --frozen-lockfile, once; without pnpm the step says so and fails nothing."""
    files = {".gitignore": "node_modules\n", "pnpm-lock.yaml": "lockfileVersion: '9.0'\n", "package.json": "{}"}
    made = make_workspace(files=files, worktrees=["a"])
    with open(os.devnull) as lock:
        missing = cache_pnpm.step(str(made.worktree("a")), "", lock.fileno()).run()
    if "pnpm was not found" not in missing.summary:
        pytest.skip("pnpm is installed here")
    assert not missing.changed
    tools = npm.Tools(tmp_path / "tools", monkeypatch, "pnpm")
    done = step(made.run("worktree", "setup", "--json", cwd=made.worktree("a")).assert_ok(), "pnpm:.")
    assert (done["status"], done["details"]["strategy"]) == ("done", "store")
    assert tools.calls[0][1].startswith("install --frozen-lockfile --prefer-offline")
    assert not cache_pnpm.install(str(made.worktree("a")), ()).changed and len(tools.calls) == 1
