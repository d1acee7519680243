"""What to try, in order, for each text code that an upload, a build or a device test can end with.

``{device}``, ``{target}`` and ``{run}`` stand for those of the run; ``{again}`` for the call that does the same once
more, with the same image, ``{upload}`` for one that sends the newest build, ``{by_usb}`` for the same over the cable.
What the codes mean: docs/outcomes.md and docs/usb.md.
"""

from __future__ import annotations

HEALTH = "`k1ctl device health {device} --wait 60s`: is it there, and is it the one that is configured?"
AGAIN = "`{again}`: the same once more."
UPLOAD = "`{upload}`: what was built now."
REBUILD = "`k1ctl build {target}` and look at what it warns of; then `{upload}`."
BY_USB = "With a USB cable to this host: `{by_usb}`."
PERSON = "This needs a person: say so where you report, with the run id {run}."
ROLLBACK = "`k1ctl device rollback {device}` puts the last image that passed its soak back on, so that others go on."
_SAME_IMAGE = "The same image once more settles it, no other: `{again}`."
_CONFIG = (
    "`k1ctl config show` tells what is set and where; ops/k1ctl.toml belongs to everybody, so ask before you edit it."
)
_BOARD = "Compare the board of the target (`env` and `chip` of [targets.{target}]) with the device."

REMEDIES: dict[str, tuple[str, ...]] = {
    # the device did not answer
    "device-offline": (HEALTH, "Wait: a device that restarts needs half a minute.", AGAIN, BY_USB, PERSON),
    "device-unreachable-permission": (
        "macOS keeps this program from the local network: System Settings, Privacy & Security, Local Network.",
        PERSON,
    ),
    "device-unconfirmed": ("Something polls the device past k1ctl (429): end what you started of it.", HEALTH, AGAIN),
    "device-not-back": (
        HEALTH,
        "The image was installed and the device did not come back: it may crash before its network is up. With a USB "
        "cable to this host its console tells: `k1ctl device console {device} --for 15s`, or what was kept of it: "
        "`k1ctl device logs {device}`. The same image once more is no help.",
        ROLLBACK,
        PERSON,
    ),
    "needs-usb": (
        "The image crashes again and again; read the boot log above for the panic and its backtrace.",
        "With its cable on this host: `k1ctl device rollback {device} --via usb` puts the last image that passed its "
        "soak back on, so that others go on.",
        "Mend the cause in the source; `k1ctl build {target}`, then `{upload} --via usb --soak 20s`.",
        PERSON,
    ),
    # the way to it
    "ota-no-connect": (
        "The device agreed and never connected back: a firewall of this host, the wrong interface, or an image larger "
        "than its partition. Compare the image's size with `partition_size` of [targets.{target}].",
        "`{again} --interface NAME` with the one in the device's network.",
        BY_USB,
        PERSON,
    ),
    "ota-interrupted": (
        HEALTH,
        AGAIN,
        "Twice in a row: look at `rssi_dbm` in `k1ctl device health {device} --json`.",
        BY_USB,
    ),
    "ota-login-unanswered": (HEALTH, AGAIN, PERSON),
    "ota-protocol": ("Something else answers at that address. Compare `host` of [devices.{device}].", HEALTH, PERSON),
    "device-garbage": ("Something else answers at that address. Compare `host` of [devices.{device}].", HEALTH, PERSON),
    "wrong-device": (
        "Another device has this address. Nothing was sent. `k1ctl device discover` shows where each one is.",
        _CONFIG,
        PERSON,
    ),
    "ota-port-in-use": (
        "Another program has `ota_host_port` of [devices.{device}]; wait for it to end.",
        AGAIN,
        _CONFIG,
    ),
    "ota-port-forbidden": ("`ota_host_port` of [devices.{device}] is one that only root may open.", _CONFIG, PERSON),
    "unknown-interface": ("`interface` of [devices.{device}] names none of this host.", _CONFIG, PERSON),
    "device-guarded": ("Another repository of this host works on the device: wait, and upload again.", AGAIN),
    "device-out-of-service": ("A person took it out of service; the message says who and why. Ask, or wait.", PERSON),
    # the device said no
    "image-refused": (
        "The device runs what it ran before; its own words above say why. `MD5 Check Failed`, `Stream Read Timeout`: "
        "not all arrived as it was sent; `{again}`, once.",
        "`Not Enough Space`, `Bad Size Given`: larger than the app partition; compare the image's size with "
        "`partition_size` of [targets.{target}].",
        "`Wrong Magic Byte`, `Could Not Activate The Firmware`: no image for this board. " + _BOARD,
        REBUILD,
    ),
    "ota-login-refused": (
        "The password is not the device's. Do not guess it.",
        PERSON,
    ),
    "ota-password-needed": ("The device asks for a password and none is configured.", PERSON),
    "ota-password-missing": ("`password_env` or `password_file` of [devices.{device}] leads nowhere.", PERSON),
    "ota-password-file": ("The file with the password is open to others, or not yours: `chmod 600` it.", PERSON),
    # what became of it is open
    "outcome-unknown": (
        HEALTH,
        _SAME_IMAGE,
        "Unknown again: the link is bad (`rssi_dbm` in `k1ctl device health {device} --json`).",
        BY_USB,
        PERSON,
    ),
    "supervisor-lost": ("`k1ctl upload --wait {run}` tells what became of it.", HEALTH, _SAME_IMAGE),
    "flash-failed": ("The worker was killed before it sent: is this host out of memory or disk?", AGAIN),
    "caller-left": ("The upload goes on: `k1ctl upload --wait {run}`.",),
    "never-began": ("The run left the line before its turn; nothing was sent.", AGAIN),
    "queue-timeout": ("`k1ctl queue list` shows who holds the device and whether it is paused, and why.", AGAIN),
    "queue-cancelled": ("Somebody took it out of the line; `k1ctl events list --event 'queue.*'` says who.", AGAIN),
    "cancelled": ("Somebody stopped it; `k1ctl events list --event 'queue.*'` says who.", AGAIN),
    # what runs is not what was sent
    "wrong-build": (
        "The device tells another build id than the image has: was something else flashed past the queue? "
        "`k1ctl device info {device}` and `k1ctl events list --event 'upload.*'`.",
        AGAIN,
        PERSON,
    ),
    "soak-failed": (
        "The image runs, and not well: restarts, or too few frames. The message has the figures; mend the cause.",
        ROLLBACK,
    ),
    "not-verified": (
        "The image is on the device; the soak was ended before it was over. " + HEALTH,
        "`{again} --soak 20s` has it watched.",
    ),
    "bad-build-id": ("`build_id` of [devices.{device}] is no route with keys.", _CONFIG),
    "no-build-id": ("The image has nothing that `build_id` of [targets.{target}] could be compared with.", _CONFIG),
    # the image
    "image-empty": (REBUILD,),
    "image-foreign": ("This is no application image. Send what `k1ctl build {target}` makes.", REBUILD),
    "image-wrong-chip": (_BOARD, REBUILD),
    "image-truncated": ("A build wrote it while it was read, or the disk was full.", REBUILD),
    "image-damaged": ("Its checksum is wrong; build it anew: `k1ctl build {target} --clean`.", UPLOAD),
    "image-too-large": ("Make it smaller: `k1ctl build {target} --release`, fewer assets or log texts.", REBUILD),
    "image-changed": ("A kept artifact was changed. Build it anew: `k1ctl build {target} --clean`.", UPLOAD),
    "no-artifact": ("Nothing was built here yet: `{upload} --build`.",),
    "build-failed-since": ("The newest build failed: mend it first.", REBUILD),
    "no-output": ("The build left none of its outputs: compare `outputs` of [targets.{target}].", REBUILD),
    # USB
    "usb-absent": ("No board is on USB.", "Plug it in; this needs hands.", PERSON),
    "usb-ambiguous": ("More than one board could be it; set `mac` in [devices.{device}].", PERSON),
    "usb-no-answer": ("The board does not answer esptool: hold BOOT, press RESET. This needs hands.", PERSON),
    "usb-lost": ("The port went away before the write: another cable or socket.", AGAIN, PERSON),
    "port-busy": ("Another program has the port open; the message names it. Close it if it is yours.", AGAIN),
    "no-mac": ("Without `mac` in [devices.{device}] nothing is flashed over USB.", PERSON),
    "wrong-chip": (_BOARD, PERSON),
    "no-partition-table": ("The chip is blank: `{by_usb} --full`.",),
    "incomplete-set": ("The artifact lacks bootloader or partition table.", REBUILD),
    "tool-missing": ("`k1ctl tools status` says what is missing, `k1ctl tools install` brings it.", PERSON),
    # builds
    "build-failed": (
        "The first error above is the cause; those behind it often follow from it. Mend it.",
        "`k1ctl build log {run}` shows the whole log.",
        "`k1ctl build {target} --clean` where the error makes no sense: what an earlier build left may be in the way.",
    ),
    "timed-out": (
        "It ran past its limit: what did it do last? See the end of the log.",
        "`k1ctl queue show {run}`.",
        PERSON,
    ),
    "interrupted": ("It was stopped from outside. Call it again.",),
    "disk-full": ("Free some space on this host; nothing that was acknowledged is lost.", PERSON),
    # tests on the device
    "pattern-failed": (
        "The log names the patterns and figures; ops/baselines has what they are compared with. What changed since?",
        "`{again}` once more: a second failure is a finding, the first may be a busy moment.",
        "Record a new baseline (`--record`) only when the change is wanted, and say so.",
    ),
    "test-broken-off": ("The test was killed or its record was lost: `{again}` once more.", HEALTH),
}
OTHERWISE = (HEALTH, AGAIN, PERSON)
NEVER = (
    "Never flash past the queue: no `pio run -t upload`, no espota.py, no esptool. Others share this device, and k1ctl "
    "knows only what went through it.",
    "Never resume a paused queue, close an escalation or edit ops/k1ctl.toml to get through: each has a reason.",
    "Never kill a flash, its supervisor or somebody else's process; never delete anything under ops/.",
    "Never repeat the same call more than twice without having changed or learned something.",
)


def steps(code: str, **names: str) -> list[str]:
    """What to try for ``code``, in order, with the names put in; a call that is "" is none, and so is its step."""
    without = ["{" + name + "}" for name in ("again", "upload", "by_usb") if not names.get(name)]
    texts = REMEDIES.get(code, OTHERWISE)
    fitting = [text for text in texts if not any(name in text for name in without)]
    return [_fill(text, names) for text in fitting or [PERSON]]


def _fill(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace("{" + name + "}", value or name.upper())
    return text
