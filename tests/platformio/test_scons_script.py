"""Which objects the script that PlatformIO runs takes for safe to share; with stand-ins for SCons."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from k1ctl.platformio.caching import SCRIPT
from tests.kit import wait_until


class Node:
    """A file as SCons has it."""

    def __init__(self, path: Path, sources: list[Node] | None = None, command: str = "gcc -o x.o -c x.c") -> None:
        self.path, self.sources, self.command = path, sources or [], command
        self.inputs = list(self.sources)

    def get_suffix(self) -> str:
        return self.path.suffix

    def get_internal_path(self) -> str:
        return self.path.name

    def get_abspath(self) -> str:
        return str(self.path)

    def srcnode(self) -> Node:
        return self

    def children(self) -> list[Node]:
        return self.inputs

    def get_executor(self) -> Node:
        return self

    def get_contents(self) -> bytearray:
        return bytearray(self.command.encode())


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the script defines."""
    cache, scripts = ModuleType("SCons.CacheDir"), ModuleType("SCons.Script")
    cache.CacheDir = type("CacheDir", (), {"__init__": lambda self, path: setattr(self, "path", path)})  # type: ignore[attr-defined]
    scripts.DefaultEnvironment = dict  # type: ignore[attr-defined]
    for name, module in {"SCons": ModuleType("SCons"), "SCons.CacheDir": cache, "SCons.Script": scripts}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return runpy.run_path(SCRIPT)


def node(folder: Path, text: str = "", header: str = "", command: str = "gcc -o x.o -c -Os x.c") -> Node:
    """An object of ``x.c`` (``text``), ``x.h`` (``header``) and a compiler."""
    for name, content in {"x.c": text, "x.h": header, "gcc": "\x7fELF\0 #include MACRO"}.items():
        (folder / name).write_text(content)
    found = Node(folder / "x.o", [Node(folder / "x.c")], command)
    found.inputs += [Node(folder / "x.h"), Node(folder / "gcc")]
    return found


HIDING = (
    "#include MACRO",
    "#  include\tMACRO(x)",
    "%:include MACRO",
    "??=include <x.h>",
    "#include_next <x.h>",
    '/* */ #include "x.h"',
    "#embed <x.bin>",
    '#if __has_include("x.h")',
    '__asm__(".incbin \\"x.bin\\"");',
    "#\\\n include MACRO",
    "const char *at = __DATE__;",
    "const char *at = __TIME__;",
)
FURTHER = (
    "-include f.h|-imacros f.h|-isystem d|-iquote d|-idirafter d|-iprefix d|-isysroot d|-save-temps|--coverage"
    "|-fprofile-use=x|-MMD|-MF x|-gsplit-dwarf|-fplugin=x|-B/x|@flags"
)


def test_files_that_hide_what_is_read_are_not_shared(script: dict[str, Any], tmp_path: Path) -> None:
    """In the source as well as in a header."""
    for text in HIDING:
        for source, header in ((f"int a;\n{text}\n", ""), ("int a;\n", f"{text}\n")):
            script["_inputs"].clear()
            assert script["_inputs_of"](node(tmp_path, source, header)) is None, text


def test_options_that_read_or_write_further_files_are_not_shared(script: dict[str, Any], tmp_path: Path) -> None:
    """What they name is not among the inputs that SCons knows."""
    for option in FURTHER.split("|"):
        for command in (f"gcc -o x.o -c -Os {option} x.c", f"gcc {option} -o x.o -c x.c"):
            assert script["_inputs_of"](node(tmp_path, command=command)) is None, command


def test_ordinary_sources_are_shared_by_contents_places_and_command(script: dict[str, Any], tmp_path: Path) -> None:
    """Equal inputs give one name; each changed input, place or option another."""

    def name(folder: str, text: str = '#include "x.h"\n#  include <stdio.h>\n', **options: str) -> str:
        place = tmp_path / folder
        place.mkdir()
        _, path = script["Objects"]("/cache").cachepath(node(place, text, **options))
        return str(path)

    first = name("a")
    assert first.startswith("/cache/") and name("b") == first
    others = {
        name("c", "int a;\n"),
        name("d", header="int b;\n"),
        name("e", command="gcc -O3 -o x.o -c x.c"),
    }
    moved = node(tmp_path / "a", '#include "x.h"\n#  include <stdio.h>\n')
    moved.inputs[1].path = moved.inputs[1].path.rename(tmp_path / "a" / "y.h")
    script["_inputs"].clear()
    others.add(str(script["Objects"]("/cache").cachepath(moved)[1]))
    assert len(others | {first}) == 5


def test_other_things_than_objects_of_c_are_not_shared(script: dict[str, Any], tmp_path: Path) -> None:
    """Programs, archives and assembly are made anew each time."""
    assert script["_inputs_of"](node(tmp_path)) is not None
    for target, source in (("x.elf", "x.c"), ("x.a", "x.c"), ("x.o", "x.S")):
        (tmp_path / source).touch()
        assert script["_inputs_of"](Node(tmp_path / target, [Node(tmp_path / source)])) is None


def test_an_input_that_changes_while_it_is_compiled_is_noticed(script: dict[str, Any], tmp_path: Path) -> None:
    """Also with its size and time kept, and when it was written just before it was read."""
    file = tmp_path / "x.c"
    file.write_text("one")
    assert not script["Input"](str(file)).unchanged(), "a second change in the same tick of the clock would not show"
    entry = script["Input"](str(file))
    entry._read += 10**9
    assert entry.unchanged()
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    before = file.stat().st_ctime_ns

    def written_later() -> bool:
        """The filesystem's clock ticked between the two contents."""
        file.write_text("two")
        os.utime(file, ns=times)
        return file.stat().st_ctime_ns != before

    wait_until(written_later)
    assert not entry.unchanged()
    file.unlink()
    assert not entry.unchanged()
