"""What clients of the REST API can set, with the firmware's defaults, ranges and places in memory.

Sources: parameters.h and .cpp, webserver.cpp, transition_adapter.hpp, pattern_registry.cpp.
"""

from __future__ import annotations

import time
from typing import Any

LEDS = 160  # led_driver.h
PALETTES = 33  # palettes.h
# The head of pattern_registry.cpp: (name, id, description, audio reactive).
PATTERNS = (
    ("Departure", "departure", "Transformation: earth \u2192 light \u2192 growth", False),
    ("Lava", "lava", "Intensity: black \u2192 red \u2192 orange \u2192 white", False),
    ("Twilight", "twilight", "Peace: amber \u2192 purple \u2192 blue", False),
    ("Spectrum", "spectrum", "Frequency visualization", True),
    ("Octave", "octave", "Octave band response", True),
    ("Bloom", "bloom", "VU-meter with persistence", True),
)
# name: (default, least, most); a value outside is moved to the border.
PARAMETERS: dict[str, tuple[float, float, float]] = {
    "brightness": (1.0, 0, 1),
    "softness": (0.25, 0, 1),
    "color": (0.33, 0, 1),
    "color_range": (0.0, 0, 1),
    "saturation": (0.75, 0, 1),
    "warmth": (0.0, 0, 1),
    "background": (0.0, 0, 1),
    "dithering": (1.0, 0, 1),
    "mirror_mode": (1.0, 0, 1),
    "led_offset": (0.0, -LEDS, LEDS),
    "speed": (0.5, 0, 1),
    "palette_id": (0, 0, PALETTES - 1),
    "beat_threshold": (0.2, 0, 1),
    "beat_squash_power": (0.5, 0.2, 1),
    "audio_responsiveness": (0.5, 0, 1),
    "audio_sensitivity": (1.0, 0.1, 4),
    "bass_treble_balance": (0.0, -1, 1),
    "color_reactivity": (0.5, 0, 1),
    "brightness_floor": (0.05, 0, 0.3),
    "frame_min_period_ms": (6.0, 4, 20),
    "custom_param_1": (0.5, 0, 1),
    "custom_param_2": (0.5, 0, 1),
    "custom_param_3": (0.5, 0, 1),
}
HIDDEN = ("custom_param_1", "custom_param_2", "custom_param_3")  # taken, but not told by /api/params
SAVED = (  # what a backup holds
    "brightness",
    "softness",
    "color",
    "color_range",
    "saturation",
    "warmth",
    "background",
    "speed",
    "palette_id",
    *HIDDEN,
)
TRANSITIONS = (
    "fade",
    "wipe_out",
    "wipe_in",
    "dissolve",
    "phase_shift",
    "pulsewave",
    "implosion",
    "iris",
    "nuclear",
    "stargate",
    "kaleidoscope",
    "mandala",
)
_CURVES = ("quad", "cubic", "elastic", "bounce", "back")
EASINGS = tuple(  # "linear" and ease_in_out_bounce are not taken
    f"ease_{way}_{curve}"
    for curve in _CURVES
    for way in ("in", "out", "in_out")
    if (way, curve) != ("in_out", "bounce")
)


def as_float(value: Any) -> float:
    """A JSON value as ArduinoJson's as<float>() gives it: 0 for what is no number, without end for a too large one."""
    try:
        return float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class Settings:
    """The settings of one device. Those in RAM are lost with a restart (`rebooted`), those in NVS are kept."""

    def __init__(self) -> None:
        self.link = {"force_bg_only": False, "force_ht20": False}
        self.credentials = {"ssid": "simulated", "password_len": 9}
        self.diag = {"enabled": False, "interval_ms": 5000}
        self.realtime = {"enabled": True, "interval_ms": 250}
        self.rebooted()

    def rebooted(self) -> None:
        """Forget what was in RAM."""
        self.parameters = {name: default for name, (default, _, _) in PARAMETERS.items()}
        self.pattern = 0
        self.audio: dict[str, Any] = {"microphone_gain": 1.0, "vu_floor_pct": 0.7, "active": True}
        self.transitions: dict[str, Any] = {
            "enabled": True,
            "default_type": "fade",
            "default_duration_ms": 1000,
            "default_easing": "ease_in_out_quad",
        }
        self.under_way: tuple[int, int, float] | None = None  # from, to, begun (monotonic seconds)
        self.scan: list[dict[str, Any]] | None = None

    def set_parameters(self, given: dict[str, Any]) -> bool:
        """Take over the parameters in ``given``; whether all of them were in their range."""
        right = True
        for name, value in given.items():
            if name not in PARAMETERS:
                continue
            default, least, most = PARAMETERS[name]
            number = as_float(value)
            if name == "palette_id":
                kept: float = int(number) if least <= number <= most else 0
            else:
                kept = min(max(number, least), most) if number == number else default
            right = right and kept == number
            self.parameters[name] = kept
        return right

    def select(self, index: int, *, transition: bool) -> bool:
        """Show another pattern, at once or with a transition; False where the firmware begins none.

        transition_adapter.cpp: while one is under way, or to the pattern that is shown, another one is not begun; one
        under way goes on whatever is selected at once meanwhile, and its pattern is the last word.
        """
        self.settle()
        if transition and (self.under_way or index == self.pattern):
            return False
        if transition and self.transitions["enabled"]:
            self.under_way = (self.pattern, index, time.monotonic())
        else:
            self.pattern = index
        return True

    def settle(self) -> None:
        """End a transition whose time is over."""
        if self.under_way and self.progress() >= 1:
            self.pattern, self.under_way = self.under_way[1], None

    def progress(self) -> float:
        """How far the transition under way is, 0 to 1."""
        assert self.under_way
        limit = float(self.transitions["default_duration_ms"])
        return min((time.monotonic() - self.under_way[2]) * 1000 / limit, 1.0)
