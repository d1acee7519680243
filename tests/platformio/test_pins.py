"""Packages of a platformio.ini without a fixed version."""

from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.platformio.pins import pinned, unpinned
from k1ctl.platformio.project import read_ini

FIXED = [
    "espressif32@6.12.0",
    "platformio/framework-arduinoespressif32 @ 3.20017.241212",
    "https://github.com/x/y/releases/download/51/platform.zip",
    "https://github.com/me-no-dev/ESPAsyncWebServer.git#23ae702",
    "git@github.com:x/y.git#v1",
    "framework-arduinoespressif32@https://github.com/x/a.git#2.0",
    "tool-x=https://example.org/b.tar.gz",
    "ESP Async WebServer@1.2.3",
    "y/x@==1.2.3-rc.1",
    "https://github.com/x/stable-things/archive/refs/tags/v1.zip",
    "symlink:///opt/platform",
    "file://../lib",
    "ArduinoOTA",
]
LOOSE = [
    "espressif32",
    "espressif32 @ ^6.5.0",
    "platformio/tool-esptoolpy@~1.40",
    "bblanchon/ArduinoJson@>=6",
    "fastled/FastLED",
    "FastLED",
    "https://github.com/x/y.git",
    "git@github.com:x/y.git",
    "espressif32@6",
    "bblanchon/ArduinoJson@6.21",
    "https://github.com/x/y.git#main",
    "https://github.com/x/y/archive/refs/heads/next.zip",
    "https://github.com/x/y/archive/master.tar.gz",
    "https://github.com/x/y/releases/download/stable/platform.zip",
]


@pytest.mark.parametrize(("package", "fixed"), [*((p, True) for p in FIXED), *((p, False) for p in LOOSE)])
def test_a_version_is_fixed_or_not(package: str, fixed: bool) -> None:
    """Every way that PlatformIO has to name a package."""
    assert pinned(package) is fixed


def test_a_project_file_is_read_as_pio_reads_it(tmp_path: Path) -> None:
    """Lists over lines and with commas, references to other sections and what is extended, comments; sections that no
    environment uses do not count, and what two environments name is told once."""
    (tmp_path / "platformio.ini").write_text(
        "[common]\nlib_deps =\n  bblanchon/ArduinoJson @ ^6.21.4 ; a range\n  # fastled/FastLED\n  ArduinoOTA\n"
        "[unused]\nlib_deps = a/b\n"
        "[env]\nplatform = espressif32@6.12.0\n"
        "[env:one]\nlib_deps = ${common.lib_deps}\n  fastled/FastLED@^3.10.3\n"
        "platform_packages = tool-a@1.0.0, tool-b\n"
        "[base]\nplatform = espressif8266\n[board]\nextends = base\nlib_deps = c/d\n"
        "[env:three]\nextends = common, board\n"
        "[env:two]\nplatform = ${this.custom}\ncustom = native\nlib_deps = ${env:one.lib_deps}\n  ${sysenv.MORE}\n"
    )
    assert unpinned(read_ini(str(tmp_path))) == [
        "platform_packages: tool-b",
        "lib_deps: bblanchon/ArduinoJson @ ^6.21.4",
        "lib_deps: fastled/FastLED@^3.10.3",
        "platform: espressif8266",
        "lib_deps: c/d",
        "platform: native",
    ]
