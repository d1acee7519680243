"""Every setting: its place in ``ops/k1ctl.toml``, its type (`k1ctl.settings_kinds`), its default and one line on what
it does.

A place is a tuple of keys; ``*`` stands for a name that the user chooses. From the set-up of a workspace on, the
settings are those of `k1ctl.settings_host`.
"""

from __future__ import annotations

from k1ctl.settings_host import HOST
from k1ctl.settings_kinds import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Place = tuple[str, ...]


SETTINGS: dict[Place, Setting] = {
    ("defaults", "target"): Setting("str", "fw", "target of `build` and `upload` when none is named"),
    ("defaults", "device"): Setting("str", "k1", "device of `upload` when neither the call nor the target names one"),
    ("queue", "dir"): Setting("str", "", "folder of the queue (default ops/queue); one folder shared by repositories"),
    ("queue", "park"): Setting("duration", 900.0, "how long a waiter that was killed keeps its place"),
    ("queue", "stall"): Setting("duration", 1.0, "how long the first in line may ignore a free slot"),
    ("queue", "ageing"): Setting("duration", 1800.0, "a waiter rises by one priority each time, to high (0: never)"),
    ("queue", "max_length"): Setting("int", 500, "tickets that may wait for one resource"),
    ("queue", "slots", "*"): Setting("slots", 1, "slots of a resource (unlisted: build:* has 4, any other 1)"),
    ("process", "grace"): Setting("duration", 10.0, "between TERM and KILL"),
    ("process", "sample"): Setting("duration", 2.0, "between two looks at a running command's memory"),
    ("process", "keep_runs"): Setting("int", 1000, "run folders kept under ops/runs; older ended ones are removed"),
    ("devices", "*", "host"): Setting("str", "", "address or name; DHCP moves addresses, so prefer NAME.local"),
    ("devices", "*", "mac"): Setting("mac", "", "MAC; a device with another one is refused before any byte is sent"),
    ("devices", "*", "identity"): Setting("str", "K1.reinvented", "the `device` field of /api/device/info"),
    ("devices", "*", "ota_port"): Setting("port", 3232, "UDP port of ArduinoOTA"),
    ("devices", "*", "ota_host_port"): Setting(
        "port", 0, "TCP port of this host it connects back to (0: any free one)"
    ),
    ("devices", "*", "interface"): Setting(
        "str", "", "interface or own IPv4 address it connects back to (default: the route decides)"
    ),
    ("devices", "*", "password_env"): Setting("str", "", "name of the environment variable with its OTA password"),
    ("devices", "*", "password_file"): Setting("str", "", "file (0600) with its OTA password in the first line"),
    ("devices", "*", "http_port"): Setting("port", 80, "TCP port of the REST API"),
    ("devices", "*", "usb_port"): Setting(
        "str", "", "serial port for `upload --via usb` (default: the one with its MAC)"
    ),
    ("devices", "*", "probe_timeout"): Setting("duration", 5.0, "one deadline over the whole probe"),
    ("devices", "*", "boot_timeout"): Setting("duration", 30.0, "a device that took an image is back within it"),
    ("devices", "*", "soak"): Setting(
        "duration", 0.0, "after an upload it is watched for so long: no restart, no fps below fps_min (0: not)"
    ),
    ("devices", "*", "build_id"): Setting(
        "str", "", 'where it tells which build it runs, as "/api/device/info:build.id" (default: it does not)'
    ),
    ("devices", "*", "fps_min"): Setting("int", 0, "fewer frames a second are degraded, as 120 (0: no check)"),
    ("devices", "*", "heap_min"): Setting("size", 0, "less free memory is degraded, as 40k (0: no check)"),
    ("devices", "*", "rssi_min"): Setting("dbm", 0, "a weaker signal is degraded, as -80 (0: no check)"),
    ("devices", "*", "groups"): Setting("list", [], "groups it is in; device:GROUP is the first free one of a group"),
    ("device", "window"): Setting("duration", 1.0, "one probe in this time, whose answer all askers share"),
    ("targets", "*", "kind"): Setting(
        "str", "platformio", "kind of build: platformio, npm, command, or one of a plugin"
    ),
    ("targets", "*", "path"): Setting("str", "firmware", "project folder in the worktree"),
    ("targets", "*", "env"): Setting("str", "", "PlatformIO environment (default: default_envs)"),
    ("targets", "*", "device"): Setting("str", "", "device that uploads of this target go to"),
    ("targets", "*", "chip"): Setting(
        "choice:esp32|esp32s2|esp32s3|esp32c3|esp32c6|none", "esp32s3", "chip the image must be for; none: no check"
    ),
    ("targets", "*", "partition_size"): Setting("size", 0, "largest image the app partition takes (0: no check)"),
    ("targets", "*", "build_id"): Setting(
        "choice:sha256|version|commit", "sha256", "what the device's build id is compared with"
    ),
    ("targets", "*", "filesystem_size"): Setting("size", 0, "size of the filesystem's partition (0: no check)"),
    ("targets", "*", "release_env"): Setting("str", "", "PlatformIO environment of `build --release`"),
    ("targets", "*", "release_flags"): Setting(
        "list", ["-O2", "-flto", "-ffat-lto-objects"], "flags of `build --release` where release_env names nothing"
    ),
    ("targets", "*", "script"): Setting("str", "build", "kind npm: the script that is run"),
    ("targets", "*", "script_release"): Setting(
        "str", "", "kind npm: the script of `build --release` (default: script)"
    ),
    ("targets", "*", "command"): Setting("list", [], "kind command: program and words; {jobs} is the number of jobs"),
    ("targets", "*", "command_release"): Setting("list", [], "kind command: program and words of `build --release`"),
    ("targets", "*", "outputs"): Setting(
        "list", [], "kinds npm and command: what a build leaves in the project, files or folders (globs; npm: dist)"
    ),
    ("build", "cache"): Setting(
        "choice:auto|ccache|objects|off", "auto", "objects shared by worktrees: through ccache where it is found"
    ),
    ("build", "cache_size"): Setting("size", 2 << 30, "largest size of the objects that are shared, under ops/builds"),
    ("build", "timeout"): Setting("duration", 900.0, "limit of one build"),
    ("build", "jobs"): Setting("int", 0, "compilers per build (0: cores / builds active)"),
    ("ota", "attempts"): Setting("int", 3, "attempts of an upload"),
    ("ota", "attempt_timeout"): Setting("duration", 300.0, "limit of one attempt"),
    ("ota", "retry_delay"): Setting("duration", 10.0, "before the second attempt; doubled for each further one"),
    ("ota", "idle_timeout"): Setting("duration", 20.0, "an attempt is given up when nothing moves for so long"),
    ("ota", "connect_timeout"): Setting("duration", 10.0, "a device that agreed to an update connects back within it"),
    ("ota", "login_timeout"): Setting("duration", 10.0, "how long an answer to a device's nonce is waited for"),
    ("ota", "invitations"): Setting("int", 10, "invitations sent before a device counts as offline"),
    ("ota", "invitation_interval"): Setting("duration", 1.0, "between two invitations"),
    ("test", "patterns"): Setting(
        "list", [], "patterns of `device test` when none is named (default: those with a baseline, else the one shown)"
    ),
    ("test", "duration"): Setting("duration", 10.0, "how long each pattern is sampled"),
    ("test", "settle"): Setting("duration", 2.0, "from a pattern's appearance to its first sample"),
    ("test", "regression"): Setting("int", 10, "percent by which a figure may be worse than its baseline"),
    ("test", "attempts"): Setting("int", 3, "a device that does not answer is tried so often before it is skipped"),
    ("test", "delay"): Setting("duration", 10.0, "between two of these attempts"),
    ("test", "lost"): Setting("duration", 30.0, "a device that is silent for so long in a test has vanished"),
    ("usb", "baud"): Setting("int", 921600, "rate that esptool writes with; without meaning on the S3's own USB"),
    ("usb", "stub"): Setting(
        "bool", True, "let esptool run its stub on the chip; false is slower, for chips that refuse it"
    ),
    ("usb", "connect_timeout"): Setting("duration", 30.0, "limit of a call of esptool that has not begun to write"),
    ("usb", "yield_timeout"): Setting("duration", 10.0, "how long a console of k1ctl may take to close the port"),
    ("escalation", "failures_agent"): Setting(
        "int", 1, "failed uploads and tests of a workspace that are its agent's to mend (0: never, and no prompts)"
    ),
    ("escalation", "failures_human"): Setting(
        "int", 2, "failed uploads of a workspace, none installed between, until a person is told (0: never)"
    ),
    ("escalation", "retrying"): Setting("duration", 900.0, "failing for so long, a person is told (0: never)"),
    ("escalation", "offline_human"): Setting(
        "duration", 180.0, "a person is told of a device without an answer (0: never)"
    ),
    ("escalation", "offline_incident"): Setting("duration", 600.0, "its queue is paused until it answers (0: never)"),
    ("escalation", "forget"): Setting("duration", 86400.0, "a failure that nothing followed is forgotten (0: never)"),
    ("notify", "command"): Setting("list", [], "program and words that get a notification as JSON on standard input"),
    ("notify", "timeout"): Setting("duration", 10.0, "limit of one channel"),
    ("notify", "apprise_file"): Setting("str", "", "file (0600) with one URL of apprise a line; they hold secrets"),
    ("notify", "apprise_env"): Setting("str", "", "name of the environment variable with URLs of apprise"),
    ("console", "baud"): Setting("int", 115200, "rate of the console; without meaning on the S3's own USB"),
    ("console", "keep"): Setting("int", 50, "logs kept of each device; older ones are removed"),
    ("console", "limit"): Setting("size", 8 << 20, "largest log; what comes after it goes into another one"),
    **HOST,
}


def _presets() -> dict[Place, Any]:
    """The run targets that are there without a file, by their names of both generations of the K1 scripts."""
    web = {"path": "webapp"}
    serve = {**web, "command": ["npm", "run", "dev"], "interactive": True, "port": ["--", "--port", "{port}"]}
    heavy = {**web, "resources": ["build:web"]}
    fw, device = {"path": "{targets.fw.path}"}, "device:{defaults.device}"
    console, tree = "console:{defaults.device}", "tree:{tree}"
    entries: dict[str, dict[str, Any]] = {
        "web": {**serve, "about": "the web app's development server, as web:dev"},
        "web:dev": {**serve, "about": "the web app's development server"},
        "web:build": {"command": ["k1ctl", "build", "web"], "about": "build the web app"},
        "web:test": {**heavy, "command": ["npm", "run", "test"], "about": "the web app's tests"},
        "web:e2e": {**heavy, "command": ["npm", "run", "test:e2e"], "about": "the web app's end-to-end tests"},
        "fw:build": {"command": ["k1ctl", "build", "fw"], "about": "build the firmware"},
        "fw:upload": {"command": ["k1ctl", "upload", "fw", "--build"], "about": "build the firmware and flash it"},
        "fw:monitor": {
            **fw,
            "command": ["k1ctl", "device", "console"],
            "resources": [console],
            "interactive": True,
            "about": "the device's serial console",
        },
        "fw:test": {
            **fw,
            "command": ["pio", "test"],
            "resources": ["build:fw", tree, device],
            "about": "pio test; it holds the device, which it flashes unless the tests are native",
        },
        "test:pattern": {
            "resources": [device],
            "command": ["k1ctl", "device", "test"],
            "about": "compare what patterns cost on the device with their baselines",
        },
        "test:integration": {"resources": [device], "about": "your integration test on the device"},
    }
    return {("run_targets", name, key): value for name, entry in entries.items() for key, value in entry.items()}


_OBJECTIVES: dict[str, dict[str, Any]] = {
    "build-success": {"kind": "build", "percent": 95.0, "escalate": 2},
    "upload-success": {"kind": "upload", "percent": 98.0, "escalate": 1},
    "upload-time": {"kind": "upload", "percent": 90.0, "within": 60.0, "investigate": 120.0},
    "turn-time": {"kind": "turn", "percent": 90.0, "within": 900.0},
}
# defaults of sections whose names the user may choose
PRESETS: dict[Place, Any] = {
    **_presets(),
    **{("slo", name, key): value for name, entry in _OBJECTIVES.items() for key, value in entry.items()},
}

_NO_KEY = "does not belong here: set env (the name of a variable) or file (a path, 0600)"
FORBIDDEN: dict[Place, str] = {  # what must not stand in a file that is shared, and what to do instead
    ("devices", "*", "password"): "does not belong here: set password_env (the name of a variable) or password_file",
    **{
        ("budget", "keys", "*", n): _NO_KEY
        for n in ("value", "key", "api_key", "apikey", "token", "secret", "password")
    },
    ("budget", "github", "token"): "does not belong here: set token_env (the name of a variable)",
}

NO_TARGETS = ("all", "list", "show", "log")  # words of `k1ctl build`
OPEN = ("plugins",)  # [plugins.NAME] belongs to third-party plugins and is not checked


def find(place: Place) -> Setting | None:
    """The setting at ``place``, a user-chosen name matching ``*``; None when there is none."""
    exact = SETTINGS.get(place)
    if exact is not None:
        return exact
    for pattern in _named(len(place)):
        if all(p in ("*", k) for p, k in zip(pattern, place, strict=True)):
            return SETTINGS[pattern]
    return None


_patterns: dict[int, list[Place]] = {}


def _named(length: int) -> list[Place]:
    """The places of so many words with a ``*`` among them."""
    if not _patterns:
        for pattern in SETTINGS:
            if "*" in pattern:
                _patterns.setdefault(len(pattern), []).append(pattern)
    return _patterns.get(length, [])
