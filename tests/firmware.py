"""A small PlatformIO project for tests, and PlatformIO itself, installed once for all of them."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from k1ctl.platformio import HOST_BOARD, HOST_PLATFORM
from k1ctl.platformio.install import tools_folder

ENV = "k1sim"


def ini(**options: str) -> str:
    """``platformio.ini`` for the host platform; ``options`` go into the [platformio] section."""
    extra = "".join(f"{name} = {value}\n" for name, value in options.items())
    return (
        f"[platformio]\ndefault_envs = {ENV}\n{extra}\n"
        f"[env:{ENV}]\nplatform = symlink://{HOST_PLATFORM}\nboard = {HOST_BOARD}\ncustom_version = 1.2.3\n"
    )


def source(marker: str) -> str:
    """A C program that carries ``marker`` in its image."""
    return (
        "#include <stdio.h>\nextern const char marker[];\n"
        f'const char marker[] = "MARKER-{marker}";\nint main(void) {{ return puts(marker); }}\n'
    )


def files(marker: str = "base", **options: str) -> dict[str, str | bytes]:
    """The files of a repository with such a firmware."""
    return {
        ".gitignore": ".pio\n",
        "firmware/platformio.ini": ini(**options),
        "firmware/src/main.c": source(marker),
    }


def marker_of(image: str | Path) -> str:
    """The marker in a built image."""
    found = Path(image).read_bytes().split(b"MARKER-")
    assert len(found) == 2, "the image holds not exactly one marker"
    return found[1].split(b"\0")[0].decode()


@functools.cache
def _pio(folder: str) -> str:
    from k1ctl.errors import K1ctlError
    from k1ctl.platformio.install import install
    from k1ctl.platformio.locate import find_pio

    try:
        return find_pio().path
    except K1ctlError:
        pass
    try:
        return str(install(lambda *_: None)[0]["pio"])
    except K1ctlError as exc:
        return exc.message


def need_pio() -> str:
    """The path of a pio, installed into the shared tool cache when there is none; skips the test without one."""
    pio = _pio(tools_folder())
    if not Path(pio).is_absolute():
        pytest.skip(f"needs PlatformIO: {pio}")
    return pio
