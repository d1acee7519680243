"""SCons script of the host platform: compile and link with this host's tools, pack the result as firmware.bin."""

import shutil
import sys
from os.path import join

from SCons.Script import AlwaysBuild, Builder, Default, DefaultEnvironment

env = DefaultEnvironment()
sys.path.insert(0, join(env.PioPlatform().get_dir(), "builder"))

import image  # type: ignore[import-not-found]  # noqa: E402

APPLE = sys.platform == "darwin"


def tool(*names: str) -> str:
    """The first of the names that is in PATH, else the last."""
    return next((name for name in names if shutil.which(name, path=env["ENV"].get("PATH"))), names[-1])


def pack(target: list[object], source: list[object], env: dict[str, object]) -> None:
    """SCons action: the linked program as an image."""
    project = env.GetProjectOption  # type: ignore[attr-defined]
    image.convert(
        str(source[0]),
        str(target[0]),
        objcopy=shutil.which("objcopy") or "",
        version=project("custom_version", "0"),
        project=project("custom_project", env["PIOENV"]),
    )


env.Replace(
    AR=tool("ar"),
    AS=tool("gcc", "cc"),
    CC=tool("gcc", "cc"),
    CXX=tool("g++", "c++"),
    LINK=tool("g++", "c++"),
    RANLIB=tool("ranlib"),
    SIZETOOL=tool("size"),
    SIZEPRINTCMD="$SIZETOOL $SOURCES",
    PROGNAME=env["PROGNAME"] if env.get("PROGNAME", "program") != "program" else "firmware",  # as on the ESP32
    PROGSUFFIX=".elf",
)
if APPLE:
    env.Replace(
        SIZECHECKCMD="$SIZETOOL -m $SOURCES",
        SIZEPROGREGEXP=r"^\s*Section (?:__text|__const|__cstring|__data)\s*:\s+(\d+)",
        SIZEDATAREGEXP=r"^\s*Section (?:__data|__bss|__common)\s*:\s+(\d+)",
    )
else:
    env.Replace(
        SIZECHECKCMD="$SIZETOOL -A -d $SOURCES",
        SIZEPROGREGEXP=r"^(?:\.text|\.data|\.rodata)\s+(\d+).*",
        SIZEDATAREGEXP=r"^(?:\.data|\.bss)\s+(\d+).*",
    )
env.Append(
    # Paths are mapped so that equal sources give equal bytes in every worktree; Apple's debug entries carry times.
    CCFLAGS=[
        "-Os",
        *([] if APPLE else ["-g"]),
        "-Wall",
        "-ffunction-sections",
        *("$(", f"-ffile-prefix-map={env.subst('$PROJECT_DIR')}=.", "$)"),  # not in the signature, nor in the result
    ],
    LINKFLAGS=["-Wl,-dead_strip" if APPLE else "-Wl,--gc-sections"],
    BUILDERS={"Image": Builder(action=env.VerboseAction(pack, "Building $TARGET"), suffix=".bin")},
)

program = env.BuildProgram()
firmware = env.Image(join("$BUILD_DIR", "${PROGNAME}"), program)
AlwaysBuild(env.Alias("nobuild", firmware))
wanted = env.Alias("buildprog", firmware, firmware)
env.AddPlatformTarget("size", program, env.VerboseAction("$SIZEPRINTCMD", "Size"), "Program Size")
Default([wanted])
