"""Worktrees share compiled objects, in each way, and never get what is not theirs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests import firmware
from tests.kit import Project, needs

WAYS = ["objects", pytest.param("ccache", marks=needs("ccache"))]
HIDDEN = {  # what a compiler reads and SCons does not see; NAME is the tree's
    "src/macro.c": '#define PLACE "value.h"\n#include PLACE\n',
    "include/value.h": 'const char value[] = "MACRO-NAME;";\n',
    "src/has.c": '#define IN(x) __has_include(x)\n#if IN("of-a.h")\n'
    'const char has[] = "HAS-a;";\n#else\nconst char has[] = "HAS-b;";\n#endif\n',
    "include/of-NAME.h": "",
    "src/binary.c": '__asm__(".data\\n.global binary\\nbinary: .incbin \\"src/binary.bin\\"\\n.text");\n',
    "src/binary.bin": "BINARY-NAME;",
}


def prepare(project: Project, way: str, more: str = "", **options: str) -> tuple[Path, Path]:
    """A firmware of several files in two worktrees."""
    firmware.need_pio()
    for name, content in firmware.files(**options).items():
        project.write(name, content)
    project.write("firmware/include/common.h", "#define COMMON 7\n")
    for number in range(3):
        text = f'#include <stdio.h>\n#include "common.h"\nint f{number}(void) {{ return COMMON + {number}; }}\n'
        project.write(f"firmware/src/f{number}.c", text)
    project.commit("firmware")
    project.configure(f'[build]\ncache = "{way}"\n[targets.fw]\n{more}')
    return project.add_worktree("a"), project.add_worktree("b")


def build(project: Project, tree: Path, *args: str) -> dict[str, Any]:
    document: dict[str, Any] = project.run("build", *args, "--json", cwd=tree).assert_ok().json
    return document


@pytest.mark.parametrize("way", WAYS)
def test_the_second_worktree_takes_what_the_first_compiled(workspace: Project, way: str) -> None:
    """Every byte is the same, also of the debug information, and so are the warnings."""
    a, b = prepare(workspace, way)
    for tree in (a, b):
        workspace.write("firmware/src/main.c", firmware.source("base") + "static int unused;\n", within=tree)
    first, second = build(workspace, a), build(workspace, b)
    hits = 3 if way == "objects" else 4  # an object with a warning is not shared; ccache repeats the warning
    assert (first["cache"], first["steps"], first["cache_hits"]) == (way, 5, 0)
    assert (second["cache"], second["steps"], second["cache_hits"]) == (way, 5, hits)
    elves = [tree / "firmware/.pio/k1ctl/build" / firmware.ENV / "firmware.elf" for tree in (a, b)]
    assert elves[0].read_bytes() == elves[1].read_bytes() and first["artifact"] == second["artifact"]
    assert first["warnings"] == second["warnings"] and first["warning_count"] == second["warning_count"] == 1
    assert f"{hits} of 5 ({way})" in workspace.run("build", "show", second["run"]).assert_ok().stdout


@pytest.mark.parametrize("way", WAYS)
def test_what_a_compiler_reads_behind_the_caches_back_is_each_trees_own(workspace: Project, way: str) -> None:
    """Computed includes, __has_include, .incbin: after the other tree's build, a tree's image has its own bytes."""
    a, b = prepare(workspace, way)
    for tree in (a, b):
        for name, text in HIDDEN.items():
            path, content = (part.replace("NAME", tree.name) for part in (name, text))
            workspace.write(f"firmware/{path}", content, within=tree)
        ini = tree / "firmware/platformio.ini"
        ini.write_text(ini.read_text() + "build_flags = -Wl,--no-gc-sections\n")
        done = build(workspace, tree)
        elf = (Path(done["artifact"]["folder"]) / "firmware.elf").read_bytes()
        for what in (b"MACRO", b"HAS", b"BINARY"):
            assert [what + name in elf for name in (b"-a;", b"-b;")] == [tree == a, tree == b], what
        assert done["cache_hits"] == (0 if tree == a else 4), "the other files are shared"


def test_damaged_objects_are_made_good_by_clean(workspace: Project) -> None:
    """A power cut may leave half a file: the build fails, and --clean replaces what is kept for all trees."""
    a, b = prepare(workspace, "objects")
    build(workspace, a)
    kept = [path for path in (workspace.ops / "builds/objects").rglob("*") if path.is_file() and path.name[0] != "."]
    assert len(kept) == 4
    for path in kept:
        path.write_bytes(b"\x7fELF")
    workspace.run("build", cwd=b).assert_fails(1)
    done = build(workspace, b, "--clean")
    assert (done["steps"], done["cache_hits"]) == (5, 0)
    assert all(len(path.read_bytes()) > 4 for path in kept)


def test_where_nothing_can_be_kept_a_build_works_without(workspace: Project) -> None:
    """The folder of shared objects is of use and never needed: one that cannot be made is told in the log."""
    a, _ = prepare(workspace, "objects")
    (workspace.ops / "builds").mkdir(exist_ok=True)
    (workspace.ops / "builds/objects").touch()
    done = build(workspace, a)
    assert (done["steps"], done["cache_hits"]) == (5, 0) and done["artifact"]
    assert "objects are not shared" in workspace.run("build", "log", cwd=a).assert_ok().stdout


def test_scripts_in_one_line_are_left_as_they_are(workspace: Project) -> None:
    """PlatformIO cannot add a script to such a list: the project's own run, objects are not shared, a note says so."""
    a, _ = prepare(workspace, "objects")
    for name in ("one", "two"):
        workspace.write(f"firmware/{name}.py", f'open("{name}.ran", "w").close()\n', within=a)
    ini = a / "firmware/platformio.ini"
    ini.write_text(ini.read_text() + "extra_scripts = pre:one.py, post:two.py\n")
    done = build(workspace, a)
    assert done["cache"] is None and "extra_scripts" in done["notes"][0]
    assert (a / "firmware/one.ran").exists() and (a / "firmware/two.ran").exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="needs gcc: clang has no fat LTO objects")
def test_a_release_is_optimised_at_link_time_in_a_folder_of_its_own(workspace: Project) -> None:
    """Its objects carry LTO sections; the ordinary build beside it stays up to date; the manifest tells them apart."""
    a, _ = prepare(workspace, "objects")
    plain = build(workspace, a)
    release = build(workspace, a, "--release")
    own = a / "firmware/.pio/k1ctl"
    assert b".gnu.lto_" in (own / "release" / firmware.ENV / "src/f0.o").read_bytes()
    assert b".gnu.lto_" not in (own / "build" / firmware.ENV / "src/f0.o").read_bytes()
    assert firmware.marker_of(release["artifact"]["path"]) == "base"
    assert release["artifact"]["id"] != plain["artifact"]["id"]
    assert (plain["release"], release["release"], release["steps"]) == (False, True, 5)
    assert build(workspace, a)["steps"] == 0


def test_a_release_may_be_an_environment_of_the_project(workspace: Project) -> None:
    """release_env is built as it stands in platformio.ini, and --env beside it makes no sense; cache = "off" shares
    nothing."""
    a, _ = prepare(workspace, "off", 'release_env = "shipped"\n')
    ini = a / "firmware/platformio.ini"
    ini.write_text(ini.read_text() + f"\n[env:shipped]\nextends = env:{firmware.ENV}\nbuild_flags = -O3\n")
    done = build(workspace, a, "--release", "--dry-run")
    assert (done["environment"], done["release"], done["cache"]) == ("shipped", True, None)
    assert "PLATFORMIO_EXTRA_SCRIPTS" not in done["environment_set"]
    workspace.run("build", "--release", "--env", firmware.ENV, cwd=a).assert_fails(2, "exclude each other")
    workspace.configure("[targets.fw]\nrelease_flags = []\n")
    workspace.run("build", "--release", cwd=a).assert_fails(2, "nothing to make a release with")
