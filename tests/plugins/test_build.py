from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl.testing import add_distribution
from tests import firmware
from tests.kit import Project, finish, needs, wait_until

CONFIG = "[targets.fw]\n"


@pytest.fixture
def project(workspace: Project) -> Project:
    """A repository with a firmware and PlatformIO to build it."""
    firmware.need_pio()
    return prepare(workspace)


def prepare(project: Project, **options: str) -> Project:
    for name, content in firmware.files(**options).items():
        project.write(name, content)
    project.commit("firmware")
    project.configure(CONFIG)
    return project


def build(project: Project, *args: str, cwd: Path | None = None, **env: str) -> dict[str, Any]:
    """A build that must succeed; its JSON."""
    document: dict[str, Any] = project.run("build", *args, "--json", cwd=cwd, env=env).assert_ok().json
    return document


def write_source(tree: Path, marker: str) -> None:
    (tree / "firmware" / "src" / "main.c").write_text(firmware.source(marker))


def test_a_build_gives_sizes_and_an_artifact_with_its_manifest(project: Project) -> None:
    """Image, figures, commit and tools are those of this worktree's sources; the image passes for an ESP32-S3's."""
    done = build(project)
    artifact = done["artifact"]
    assert firmware.marker_of(artifact["path"]) == "base"
    assert artifact["path"] == str(project.ops / "artifacts" / "fw" / artifact["id"] / "firmware.bin")
    assert done["flash_used_bytes"] > 0 and done["flash_total_bytes"] == 1966080
    assert (done["commit"], done["dirty"]) == (project.git("rev-parse", "HEAD"), False)
    assert done["tools"]["platformio"][0].isdigit() and (done["ok"], done["workspace"]) == (True, "repo")
    assert sorted(artifact) == ["files", "folder", "id", "image", "path", "sha256", "target"]
    assert done["environment"] == firmware.ENV and "firmware.elf" in artifact["files"]
    image = Path(artifact["path"]).read_bytes()
    assert image[0] == 0xE9 and int.from_bytes(image[12:14], "little") == 9, "magic byte and chip id of an ESP32-S3"
    event = project.events("build.finished")[0]
    assert (event["artifact"], event["run"], event["exit_code"]) == (artifact["id"], done["run"], 0)


def test_equal_sources_give_equal_bytes_wherever(make_workspace: Callable[..., Project], project: Project) -> None:
    """The artifact is kept once, whichever worktree builds it; folders with spaces change nothing in it."""
    trees = [(project, project.root), (project, project.add_worktree("a"))]
    spaced = prepare(make_workspace("a repo, spaced"))
    assert len({build(one, cwd=tree)["artifact"]["id"] for one, tree in [*trees, (spaced, spaced.root)]}) == 1
    assert len(list((project.ops / "artifacts" / "fw").glob("*/firmware.bin"))) == 1


def test_an_image_that_lay_there_is_never_kept(project: Project) -> None:
    """A script that gives the program another name leaves firmware.bin of the last build where it was."""
    ini = project.root / "firmware" / "platformio.ini"
    ini.write_text(ini.read_text() + "extra_scripts = pre:name.py\n")
    script = project.write("firmware/name.py", 'Import("env")\n')
    assert firmware.marker_of(build(project)["artifact"]["path"]) == "base"
    script.write_text(script.read_text() + 'env.Replace(PROGNAME="k1-2.0")\n')
    write_source(project.root, "renamed")
    assert project.run("build", "--json").assert_fails(65).json["error"]["code"] == "no-output"


def test_a_broken_build_exits_1_with_the_compilers_lines(project: Project) -> None:
    """The compiler's own line is on stderr and in the JSON; no artifact is made."""
    project.write("firmware/src/main.c", "int main(void) { return nothing; }\n")
    done = project.run("build", "--json").assert_fails(1, "src/main.c:1:25: error: ", "fw does not build")
    error = done.json["error"]
    assert error["code"] == "build-failed"
    assert "nothing" in error["lines"][0] and error["artifact"] is None
    assert error["error_message_count"] == 1 and error["run"]
    assert not (project.ops / "artifacts").exists()
    assert project.events("build.finished")[0]["code"] == "build-failed"


def test_warnings_are_counted_and_shown(project: Project) -> None:
    """A warning does not fail the build; it is told."""
    project.write("firmware/src/extra.c", "static int unused;\n")
    done = build(project, "--clean")
    assert done["warning_count"] == 1 and "unused" in done["warnings"][0]


def test_clean_builds_everything_anew_and_never_follows_a_link(project: Project, tmp_path: Path) -> None:
    """--clean removes this environment's files; of a link in their place, which else is refused, the link alone."""
    build(project)
    assert build(project, "--clean")["steps"] == 2
    built = project.root / "firmware" / ".pio" / "k1ctl" / "build" / firmware.ENV
    precious = tmp_path / "precious"
    built.rename(precious)
    built.symlink_to(precious)
    assert project.run("build", "--json").assert_fails(78).json["error"]["code"] == "linked-pio"
    assert build(project, "--clean")["steps"] == 2
    assert not built.is_symlink() and (precious / "firmware.bin").exists()


@pytest.mark.parametrize(
    ("args", "config", "exit_code", "code"),
    [
        (("nope",), CONFIG, 78, "unknown-target"),
        (("--env", "nope"), CONFIG, 78, "unknown-env"),
        ((), '[targets.fw]\npath = "elsewhere"\n', 78, "no-project"),
        ((), '[targets.fw]\nkind = "elsewhere"\n', 78, "unknown-kind"),
        ((), '[tools]\npio = "/nowhere/pio"\n[targets.fw]\n', 127, "tool-missing"),
        (("--timeout", "soon"), CONFIG, 2, "usage"),
    ],
)
def test_what_cannot_be_built_is_refused_before_it_waits(
    project: Project, args: tuple[str, ...], config: str, exit_code: int, code: str
) -> None:
    """Each wrong call has its own code and leaves no run behind."""
    project.configure(config)
    done = project.run("build", *args, "--json").assert_fails(exit_code)
    assert done.json["error"]["code"] == code
    assert not (project.ops / "runs").exists()


def test_a_pio_folder_that_is_a_link_to_another_tree_is_refused(project: Project) -> None:
    """The advice to share .pio is not followed by accident."""
    tree = project.add_worktree("a")
    (project.root / "firmware" / ".pio").mkdir()
    (tree / "firmware" / ".pio").symlink_to(project.root / "firmware" / ".pio")
    done = project.run("build", "--json", cwd=tree).assert_fails(78)
    assert done.json["error"]["code"] == "linked-pio"


def test_broken_plugins_break_no_build(project: Project, tmp_path: Path) -> None:
    """Each is named on one line and left out; the target is built, also without the PATH that Conductor, cron and
    launchd do not hand over."""
    bodies = ("raise RuntimeError('odd\\nline')", "return [7]", "import no_such_module")
    head = "from k1ctl.hookspecs import hookimpl\n@hookimpl\ndef k1ctl_build_kinds():\n    "
    for number, body in enumerate(bodies):
        name = f"broken{number}"
        add_distribution(tmp_path / "site", f"k1ctl-{name}", {name: f"k1ctl_{name}"}, {f"k1ctl_{name}": head + body})
    done = project.run("build", env={"PYTHONPATH": str(tmp_path / "site"), "PATH": None}).assert_ok()
    assert done.stdout.startswith("fw (k1sim) built in ")
    for number in range(len(bodies)):
        told = [line for line in done.stderr.splitlines() if f"broken{number}" in line]
        assert len(told) == 1 and told[0].startswith(f"plugin broken{number} is left out: "), done


def test_a_dry_run_changes_nothing(project: Project) -> None:
    """Command, folder and leases are named; nothing is written."""
    plan = build(project, "--dry-run")
    assert (plan["ok"], plan["dry_run"], plan["workspace"], plan["target"]) == (True, True, "repo", "fw")
    assert plan["argv"][1:] == ["run", "-e", firmware.ENV] and "build:fw" in plan["resources"]
    assert not (project.ops / "runs").exists() and not (project.root / "firmware" / ".pio").exists()


CACHES = ["objects", pytest.param("ccache", marks=needs("ccache"))]


@pytest.mark.parametrize(
    ("how", "cache"),
    [("configured", "off"), ("inherited", "objects"), pytest.param("", "ccache", marks=needs("ccache"))],
)
def test_a_shared_object_cache_never_gives_stale_firmware(
    workspace: Project, tmp_path: Path, how: str, cache: str
) -> None:
    """B builds Z, A builds Y, B's source becomes Y: what B builds then is Y."""
    firmware.need_pio()
    folder = str(tmp_path / "cache")
    options = {"build_cache_dir": folder} if how == "configured" else {}
    env = {"PLATFORMIO_BUILD_CACHE_DIR": folder} if how == "inherited" else {}
    project = prepare(workspace, **options)
    project.configure(f'{CONFIG}[build]\ncache = "{cache}"\n')
    a, b = project.add_worktree("a"), project.add_worktree("b")
    for tree, marker in ((b, "Z"), (a, "Y"), (b, "Y")):
        write_source(tree, marker)
        done = build(project, cwd=tree, **env)
        assert firmware.marker_of(done["artifact"]["path"]) == marker


def test_a_bare_pio_in_the_same_tree_disturbs_nothing(project: Project) -> None:
    """While somebody runs pio by hand in the worktree, k1ctl's builds succeed and hold what the source says."""
    from k1ctl.platformio.environment import pio_environment
    from k1ctl.platformio.locate import find_pio
    from k1ctl.platformio.project import read_project

    folder = project.root / "firmware"
    pio = find_pio()
    env, _ = pio_environment(pio, read_project(str(folder)))
    del env["PLATFORMIO_BUILD_DIR"]
    for i in range(2):
        write_source(project.root, f"m{i}")
        by_hand = subprocess.Popen([pio.path, "run", "-s"], cwd=folder, env=env)
        assert firmware.marker_of(build(project)["artifact"]["path"]) == f"m{i}"
        assert finish(by_hand) == 0


def test_what_another_pio_built_is_built_anew(project: Project) -> None:
    """Each Python keeps signatures of its own, so objects made by another pio are not trusted."""
    build(project)
    stamp = project.root / "firmware" / ".pio" / "k1ctl" / "pio"
    stamp.write_text("/another/pio")
    assert build(project)["steps"] == 2
    assert build(project)["steps"] == 0


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_two_worktrees_at_once_always_get_their_own_firmware(project: Project, cache: str, rounds: int) -> None:
    """Rounds of two simultaneous builds that share some objects and not others give own markers only, here 4 of 4 in
    each way, in the soak 40 of 40. (One `build_cache_dir` for all gave one wrong in five.)
    """
    project.configure(f'{CONFIG}[build]\ncache = "{cache}"\n')
    trees = [project.add_worktree("a"), project.add_worktree("b")]
    found = []
    for i in range(rounds):
        for tree in trees:
            write_source(tree, f"{tree.name}{i}")
            text = f'const char round[] = "ROUND-{i};";\nconst char *common(void) {{ return round; }}\n'
            (tree / "firmware/src/common.c").write_text(text)
        running = [project.popen("build", "--json", cwd=tree, stderr=subprocess.STDOUT) for tree in trees]
        outputs = [process.communicate(timeout=60)[0] for process in running]
        assert [p.returncode for p in running] == [0, 0], outputs
        for tree in trees:
            from k1ctl.artifacts import find

            common = tree / "firmware/.pio/k1ctl/build" / firmware.ENV / "src/common.o"
            assert f"ROUND-{i};".encode() in common.read_bytes()
            found.append(firmware.marker_of(find(project.facts(tree), "fw").image) == f"{tree.name}{i}")
    assert found == [True] * 2 * rounds


def test_builds_of_one_worktree_take_turns(project: Project) -> None:
    """Three calls at once in one tree all succeed, never two at a time."""
    running = [project.popen("build", "--json", "--clean") for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [p.returncode for p in running] == [0, 0, 0], outputs
    from k1ctl.files import read_json

    records = [read_json(str(path)) for path in (project.ops / "runs").glob("*/run.json")]
    times = sorted((r["monotonic"]["granted"], r["monotonic"]["ended"]) for r in records)
    assert all(times[i][1] <= times[i + 1][0] for i in range(2)), times


def test_a_build_ends_with_its_caller(project: Project) -> None:
    """After SIGKILL of the front end the compilers go, the leases are free and the next build works."""
    project.write("firmware/slow.py", 'Import("env")\nimport time\nopen("started", "w").close()\ntime.sleep(60)\n')
    ini = project.root / "firmware" / "platformio.ini"
    text = ini.read_text()
    ini.write_text(text + "extra_scripts = pre:slow.py\n")
    process = project.popen("build")
    wait_until((project.root / "firmware" / "started").exists, timeout=30)
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    ini.write_text(text)
    assert firmware.marker_of(build(project, "--wait", "20s")["artifact"]["path"]) == "base"


def test_an_interrupted_build_is_no_broken_one(project: Project) -> None:
    """^C: exit 130, named so, and what the tool says on its way out is not shown as the compiler's words."""
    project.write("firmware/slow.py", 'Import("env")\nimport time\nopen("started", "w").close()\ntime.sleep(60)\n')
    ini = project.root / "firmware" / "platformio.ini"
    ini.write_text(ini.read_text() + "extra_scripts = pre:slow.py\n")
    process = project.popen("build", "--json")
    wait_until((project.root / "firmware" / "started").exists, timeout=30)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    error = json.loads(out)["error"]
    assert (process.returncode, error["exit_code"], error["code"], error["lines"]) == (130, 130, "interrupted", [])
    assert error["run"] and "Traceback" not in out + err and "does not build" not in err
    assert project.events("build.finished")[0]["code"] == "interrupted"


@pytest.mark.parametrize("module", ["k1ctl_plugins.build", "k1ctl_plugins.tools"])
def test_loading_the_plugin_imports_nothing_heavy(workspace: Project, module: str) -> None:
    """The command's cost is paid when it works, not when it is listed."""
    import sys

    heavy = "subprocess psutil tomllib json hashlib shutil glob configparser k1ctl.process.launch k1ctl.artifacts"
    code = f"import sys, {module}; print([m for m in '{heavy}'.split() if m in sys.modules])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == "[]"
