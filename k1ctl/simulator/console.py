"""What the device says on its serial port: the ROM's and the app's first lines, answers to keys, a panic.

The ROM's lines and the panic have the form that esp-idf documents ("Fatal Errors"); the keys are those of the
firmware (main.cpp): space for the next pattern, ``m`` for a menu. ``!``, which the firmware has not, lets it panic.
"""

from __future__ import annotations

import hashlib

from k1ctl.device.buildid import SHA256, expected
from k1ctl.simulator.settings import PATTERNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.simulator.device import Device

POWER_ON, SOFTWARE, USB_RESET = "0x1 (POWERON)", "0xc (RTC_SW_CPU_RST)", "0x15 (USB_UART_CHIP_RESET)"
PROMPT, CRASH = "k1> ", "!"
PANIC_MARK = b"K1SIM-PANIC"  # an app with these bytes panics as soon as it starts
_MENU = "1 log level\r\n2 audio\r\n3 heartbeat\r\n4 tags\r\n0 exit\r\n"
_GREEN, _RESET = "\x1b[32m", "\x1b[0m"
_ROM = (
    "ESP-ROM:esp32s3-20210327\r\nBuild:Mar 27 2021\r\nrst:{reason},boot:0x8 (SPI_FAST_FLASH_BOOT)\r\n"
    "SPIWP:0xee\r\nmode:DIO, clock div:1\r\n"
)
_LOADING = (
    "load:0x3fce3808,len:0x4bc\r\nload:0x403c9700,len:0xbd8\r\nload:0x403cc700,len:0x2a0c\r\nentry 0x403c98d0\r\n"
)
_LOADER = (
    "ESP-ROM:esp32s3-20210327\r\nBuild:Mar 27 2021\r\nrst:{reason},boot:0x0 (DOWNLOAD(USB/UART0))\r\n"
    "waiting for download\r\n"
)
_NO_APP = "invalid header: 0xffffffff\r\n" * 3
_PANIC = (
    "Guru Meditation Error: Core  1 panic'ed (StoreProhibited). Exception was unhandled.\r\n\r\n"
    "Core  1 register dump:\r\n"
    "PC      : 0x4200a1b2  PS      : 0x00060030  A0      : 0x82012f50  A1      : 0x3fcebe20\r\n"
    "EXCVADDR: 0x00000000  LBEG    : 0x40056f5c  LEND    : 0x40056f72  LCOUNT  : 0x00000000\r\n\r\n"
    "Backtrace: 0x4200a1af:0x3fcebe20 0x42012f4d:0x3fcebe40 0x42012fd1:0x3fcebe60\r\n\r\n"
    "ELF file SHA256: {digest}\r\n\r\nRebooting...\r\n"
)


def build_id(image: bytes | None) -> str:
    """How the app names itself in its first lines: the first 16 hex digits of its image's SHA-256."""
    return hashlib.sha256(image).hexdigest()[:16] if image else "factory"


def boot_log(device: Device, reason: str) -> str:
    """What is printed from the reset to the prompt, ending in a panic where the app has one."""
    image = device.image()
    rom = _ROM.format(reason=reason) + _LOADING
    if panics(image):
        return rom + panic(image)
    lines = (
        f"[I] {device.identity} starting, build {build_id(image)}",
        f"[I] mac {device.mac}",
        "[I] wifi connected, ip 127.0.0.1",
        "[I] OTA ready",
    )
    return rom + "".join(f"{_GREEN}{line}{_RESET}\r\n" for line in lines) + PROMPT


def no_app(reason: str) -> str:
    """What the ROM and the bootloader print, over and over, when no app can be started."""
    return _ROM.format(reason=reason) + _NO_APP


def panic(image: bytes | None) -> str:
    """What the app prints when it crashes; the ELF's digest is the one that the image's description has, if any."""
    digest = expected(image or b"factory", {}, SHA256)[-1]
    return "\r\n" + _PANIC.format(digest=digest[:16])


def loader(reason: str) -> str:
    """What the ROM prints when it was reset into its loader."""
    return _LOADER.format(reason=reason)


def panics(image: bytes | None) -> bool:
    """Whether an app with this image crashes as it starts."""
    return image is not None and PANIC_MARK in image


class Keys:
    """The app's answers to keys; it remembers whether its menu is open, and whether it was made to crash. The pattern
    is the one that the REST API shows and sets."""

    def __init__(self, device: Device) -> None:
        self.device, self.menu, self.crashed = device, False, False

    def pressed(self, data: bytes) -> str:
        """What is printed for these keys."""
        return "".join(self._key(chr(byte)) for byte in data)

    def _key(self, key: str) -> str:
        if key == CRASH:
            self.crashed = True
        if self.crashed:
            return ""
        if self.menu:
            self.menu = key != "0"
            known = dict(zip("1234", ("log level: info", "audio: on", f"fps {150.2}", "tags: all"), strict=True))
            return (f"{known[key]}\r\n" if key in known else "") + (_MENU if self.menu else PROMPT)
        if key == " ":
            settings = self.device.settings
            settings.pattern = (settings.pattern + 1) % len(PATTERNS)
            return f"pattern {settings.pattern}: {PATTERNS[settings.pattern][0]}\r\n{PROMPT}"
        if key == "m":
            self.menu = True
            return _MENU
        if key in "\r\n":
            return f"\r\n{PROMPT}"
        return ""
