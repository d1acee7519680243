from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k1ctl.platformio.output import PioReader

CLEAN = """\
Processing esp32-s3-devkitc-1 (platform: espressif32@6.12.0; board: esp32-s3-devkitc-1; framework: arduino)
--------------------------------------------------------------------------------
PLATFORM: Espressif 32 (6.12.0) > Espressif ESP32-S3-DevKitC-1-N8 (8 MB QD, No PSRAM)
HARDWARE: ESP32S3 240MHz, 320KB RAM, 4MB Flash
PACKAGES:
 - framework-arduinoespressif32 @ 3.20017.241212+sha.dcc1105b
 - tool-esptoolpy @ 2.40900.250804 (4.9.0)
Scanning dependencies...
Building in release mode
Compiling .pio/k1ctl/build/esp32-s3-devkitc-1/src/main.cpp.o
src/main.cpp:4:12: warning: 'y' defined but not used [-Wunused-variable]
    4 | static int y;
      |            ^
Archiving .pio/k1ctl/build/esp32-s3-devkitc-1/libFrameworkArduino.a
Retrieved `.pio/k1ctl/build/esp32-s3-devkitc-1/src/dsp.cpp.o' from cache
Linking .pio/k1ctl/build/esp32-s3-devkitc-1/firmware.elf
Checking size .pio/k1ctl/build/esp32-s3-devkitc-1/firmware.elf
RAM:   [=====     ]  48.4% (used 158456 bytes from 327680 bytes)
Flash: [======    ]  61.2% (used 1203637 bytes from 1966080 bytes)
========================= [SUCCESS] Took 19.45 seconds =========================
"""
BROKEN = """\
Compiling .pio/build/k1sim/src/main.o
src/marker.c:2:8: error: expected declaration specifiers or '...' before '{' token
    2 | int x( {
      |        ^
*** [.pio/build/k1sim/src/marker.o] Error 1
src/main.cpp:4:12: warning: 'y' defined but not used [-Wunused-variable]
========================== [FAILED] Took 0.26 seconds ==========================
"""
UNLINKED = """\
/usr/bin/ld: .pio/build/k1sim/src/main.o: in function `main':
/tmp/p/src/main.cpp:3: undefined reference to `fw_marker'
collect2: error: ld returned 1 exit status
*** [.pio/build/k1sim/firmware.elf] Error 1
"""
TOO_BIG = """\
Flash: [==========]  119.7% (used 4000321 bytes from 3342336 bytes)
Error: The program size (4000321 bytes) is greater than maximum allowed (3342336 bytes)
*** [checkprogsize] Explicit exit, status 1
"""


def read(text: str) -> tuple[PioReader, list[str]]:
    reader = PioReader()
    return reader, [p for p in map(reader.feed, text.splitlines()) if p]


def test_sizes_counts_and_versions_of_a_good_build_are_read() -> None:
    """A finished build's figures are those PlatformIO printed."""
    result = read(CLEAN)[0].result()
    assert (result.ram_used, result.ram_total) == (158456, 327680)
    assert (result.flash_used, result.flash_total) == (1203637, 1966080)
    assert (result.steps, result.cache_hits, result.warning_count, result.error_count) == (4, 1, 1, 0)
    assert (result.status, result.tool_seconds) == ("success", 19.45)
    assert result.tools["Espressif 32"] == "6.12.0"
    assert result.tools["framework-arduinoespressif32"] == "3.20017.241212+sha.dcc1105b"


def test_progress_names_what_is_done_now() -> None:
    """Progress tells the stage, the file without the build folder, and the count."""
    progress = read(CLEAN)[1]
    assert progress[0] == "preparing esp32-s3-devkitc-1"
    assert "compiling src/main.cpp.o (1)" in progress
    assert progress[-1] == "linking firmware.elf (4)"


def test_a_broken_build_gives_the_compilers_own_lines() -> None:
    """Errors are the compiler's lines with the source they point to; warnings stay apart."""
    result = read(BROKEN)[0].result()
    assert result.errors == BROKEN.splitlines()[1:5]
    assert (result.error_count, result.warning_count, result.status) == (1, 1, "failed")


def test_linker_errors_are_errors() -> None:
    """What the linker misses is named."""
    assert any("undefined reference to `fw_marker'" in line for line in read(UNLINKED)[0].result().errors)


def test_a_program_that_is_too_big_is_an_error() -> None:
    """PlatformIO's own check counts as an error, and the size is known."""
    result = read(TOO_BIG)[0].result()
    assert result.errors[0].startswith("Error: The program size")
    assert result.flash_used == 4000321


def test_colours_do_not_hide_an_error() -> None:
    """A compiler that was told to use colour is understood."""
    result = read("\x1b[1msrc/a.c:1:2:\x1b[0m \x1b[31merror: \x1b[0mno")[0].result()
    assert result.errors == ["src/a.c:1:2: error: no"]


def test_a_flood_of_warnings_is_counted_and_cut() -> None:
    """All warnings are counted, few are kept, and the document stays small."""
    reader = PioReader()
    for i in range(5000):
        reader.feed(f"src/a.c:{i}:1: warning: " + "é" * 3000)
    assert reader.result().warning_count == 5000
    from k1ctl.jsontext import dumps

    assert len(dumps(reader.result().document())) < 10000


PIECES = st.sampled_from(
    ["RAM:   [", "] 1.0% (used ", " bytes from ", "99999999999999999999999 bytes)", "Compiling ", "error: ", "=== [X] "]
)


@given(st.lists(st.one_of(st.binary(max_size=200), st.text(max_size=200), st.lists(PIECES).map("".join)), max_size=30))
def test_no_text_ever_breaks_the_reader(lines: list[bytes | str]) -> None:
    """Whatever a tool prints, reading it raises nothing and the result is JSON-able."""
    from k1ctl.jsontext import dumps

    reader = PioReader()
    for line in lines:
        reader.feed(line)
    dumps(reader.result().document())
