"""What to try, in order, for each text code that an upload, a build or a device test can end with.

``{device}``, ``{target}``, ``{artifact}`` and ``{run}`` stand for those of the run. What the codes mean: docs/upload.md
and docs/usb.md.
"""

from __future__ import annotations

HEALTH = "`k1ctl device health {device} --wait 60s`: is it there, and is it the one that is configured?"
UPLOAD = "`k1ctl upload {target} --device {device}` once more."
REBUILD = "`k1ctl build {target}` and look at what it warns of; then `k1ctl upload {target} --device {device}`."
BY_USB = "With a USB cable to this host: `k1ctl upload {target} --device {device} --via usb`."
PERSON = "This needs a person: say so where you report, with the run id {run}."
_SAME_IMAGE = (
    "The same image once more settles it, no other: `k1ctl upload {target} --device {device} --artifact {artifact}`."
)
_CONFIG = (
    "`k1ctl config show` tells what is set and where; ops/k1ctl.toml belongs to everybody, so ask before you edit it."
)
_BOARD = "Compare the board of the target (`env` and `chip` of [targets.{target}]) with the device."

REMEDIES: dict[str, tuple[str, ...]] = {
    # the device did not answer
    "device-offline": (HEALTH, "Wait: a device that restarts needs half a minute.", UPLOAD, BY_USB, PERSON),
    "device-unreachable-permission": (
        "macOS keeps this program from the local network: System Settings, Privacy & Security, Local Network.",
        PERSON,
    ),
    "device-unconfirmed": ("Something polls the device past k1ctl (429): end what you started of it.", HEALTH, UPLOAD),
    "device-not-back": (
        HEALTH,
        "The image was installed and the device did not come back: it may crash before its network is up. Look at the "
        "boot log: `k1ctl device console {device}`.",
        "Put the image before it back on: `k1ctl device rollback {device}`.",
        BY_USB,
        PERSON,
    ),
    "needs-usb": (
        "The image crashes again and again; read the boot log above for the panic and its backtrace.",
        "Mend the cause in the source and build.",
        BY_USB,
        "`k1ctl device rollback {device}` puts the last image that passed its soak back on.",
        PERSON,
    ),
    # the way to it
    "ota-no-connect": (
        "The device agreed and never connected back: a firewall of this host, the wrong interface, or an image larger "
        "than its partition. Compare the image's size with `partition_size` of [targets.{target}].",
        "`k1ctl upload {target} --device {device} --interface NAME` with the one in the device's network.",
        BY_USB,
        PERSON,
    ),
    "ota-interrupted": (
        HEALTH,
        UPLOAD,
        "Twice in a row: look at `rssi_dbm` in `k1ctl device health {device} --json`.",
        BY_USB,
    ),
    "ota-login-unanswered": (HEALTH, UPLOAD, PERSON),
    "ota-protocol": ("Something else answers at that address. Compare `host` of [devices.{device}].", HEALTH, PERSON),
    "device-garbage": ("Something else answers at that address. Compare `host` of [devices.{device}].", HEALTH, PERSON),
    "wrong-device": (
        "Another device has this address. Nothing was sent. `k1ctl device discover` shows where each one is.",
        _CONFIG,
        PERSON,
    ),
    "ota-port-in-use": (
        "Another program has `ota_host_port` of [devices.{device}]; wait for it to end.",
        UPLOAD,
        _CONFIG,
    ),
    "ota-port-forbidden": ("`ota_host_port` of [devices.{device}] is one that only root may open.", _CONFIG, PERSON),
    "unknown-interface": ("`interface` of [devices.{device}] names none of this host.", _CONFIG, PERSON),
    "device-guarded": ("Another repository of this host works on the device: wait, and upload again.", UPLOAD),
    # the device said no
    "image-refused": (
        "The device runs what it ran before. " + _BOARD,
        "The image may be larger than the app partition: compare its size with `partition_size`.",
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
        "Unknown again: the link is bad (`rssi_dbm` in `k1ctl device health {device} --json`). " + BY_USB,
        PERSON,
    ),
    "supervisor-lost": ("`k1ctl upload --wait {run}` tells what became of it.", HEALTH, _SAME_IMAGE),
    "flash-failed": ("The worker was killed before it sent: is this host out of memory or disk?", UPLOAD),
    "caller-left": ("The upload goes on: `k1ctl upload --wait {run}`.",),
    "never-began": ("The run left the line before its turn; nothing was sent.", UPLOAD),
    "queue-timeout": ("`k1ctl queue list` shows who holds the device and whether it is paused, and why.", UPLOAD),
    "queue-cancelled": ("Somebody took it out of the line; `k1ctl events list --event 'queue.*'` says who.", UPLOAD),
    "cancelled": ("Somebody stopped it; `k1ctl events list --event 'queue.*'` says who.", UPLOAD),
    # what runs is not what was sent
    "wrong-build": (
        "The device tells another build id than the image has: was something else flashed past the queue? "
        "`k1ctl device info {device}` and `k1ctl events list --event 'upload.*'`.",
        UPLOAD,
        PERSON,
    ),
    "soak-failed": (
        "The image runs, and not well: restarts, or too few frames. The message has the figures; mend the cause.",
        "`k1ctl device rollback {device}` puts the last image that passed its soak back on, so that others can go on.",
    ),
    "not-verified": (
        "The image is on the device; the soak was ended before it was over. " + HEALTH,
        "`k1ctl upload {target} --device {device} --soak 20s` has it watched.",
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
    "no-artifact": ("Nothing was built here yet: `k1ctl upload {target} --device {device} --build`.",),
    "build-failed-since": ("The newest build failed: mend it first.", REBUILD),
    "no-output": ("The build left none of its outputs: compare `outputs` of [targets.{target}].", REBUILD),
    # USB
    "usb-absent": ("No board is on USB.", "Plug it in; this needs hands.", PERSON),
    "usb-ambiguous": ("More than one board could be it; set `mac` in [devices.{device}].", PERSON),
    "usb-no-answer": ("The board does not answer esptool: hold BOOT, press RESET. This needs hands.", PERSON),
    "usb-lost": ("The port went away before the write: another cable or socket.", UPLOAD, PERSON),
    "port-busy": ("Another program has the port open; the message names it. Close it if it is yours.", UPLOAD),
    "no-mac": ("Without `mac` in [devices.{device}] nothing is flashed over USB.", PERSON),
    "wrong-chip": (_BOARD, PERSON),
    "no-partition-table": ("The chip is blank: `k1ctl upload {target} --device {device} --via usb --full`.",),
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
        "`k1ctl device test` once more: a second failure is a finding, the first may be a busy moment.",
        "Record a new baseline only when the change is wanted, and say so.",
    ),
    "test-broken-off": ("The test was killed or its record was lost: `k1ctl device test` once more.", HEALTH),
}
OTHERWISE = (HEALTH, UPLOAD, PERSON)
NEVER = (
    "Never flash past the queue: no `pio run -t upload`, no espota.py, no esptool. Others share this device, and k1ctl "
    "knows only what went through it.",
    "Never resume a paused queue, close an escalation or edit ops/k1ctl.toml to get through: each has a reason.",
    "Never kill a flash, its supervisor or somebody else's process; never delete anything under ops/.",
    "Never repeat the same call more than twice without having changed or learned something.",
)


def steps(code: str, **names: str) -> list[str]:
    """What to try for ``code``, in order, with the names put in."""
    return [_fill(text, names) for text in REMEDIES.get(code, OTHERWISE)]


def _fill(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace("{" + name + "}", value or name.upper())
    return text
