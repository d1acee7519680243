"""``k1ctl sim``: a K1 without hardware, on loopback."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say, table


@hookimpl
def k1ctl_command() -> click.Command:
    return sim


def _name(function: click.decorators.FC) -> click.decorators.FC:
    return click.option("--name", default="k1", show_default=True, help="Which simulated device.")(function)


def _folder(context: Context, name: str) -> str:
    from k1ctl.errors import UsageError

    if not name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
        raise UsageError(f"{name!r} is not a device name", hint="letters, digits, - and _ only")
    return context.workspace.ops_path("device", f"sim-{name}")


def _told(facts: dict[str, Any]) -> dict[str, Any]:
    """What is told of a device or a flash: without the clocks that only serve to compare."""
    return {key: value for key, value in facts.items() if key not in ("created", "start", "end")}


@purpose("Try")
@click.group(short_help="Run a K1 without hardware, with faults on demand.")
def sim() -> None:
    """Run a K1 without hardware: ArduinoOTA and the REST API on 127.0.0.1, with faults on demand.

    \b
    Example:
      k1ctl sim start --fault lost-ok:1
      k1ctl sim status
      k1ctl sim stop
    """


@sim.command()
@_name
@click.option("--ota-port", type=click.IntRange(0, 65535), default=0, help="UDP port (default: a free one).")
@click.option("--http-port", type=click.IntRange(0, 65535), default=0, help="TCP port (default: a free one).")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="F",
    help="What goes wrong, as cut=0.5, lost-ok:1 or drip=20; `:N` behind it: only the first N flashes or requests. "
    "May be given again. `k1ctl sim faults` lists them.",
)
@click.option("--pace", metavar="SIZE", help="Take so many bytes a second, as in 100k (default: full speed).")
@click.option("--mac", metavar="MAC", help="MAC address it tells.")
@click.option("--identity", metavar="TEXT", help="`device` field it tells.")
@click.option("--partition-size", metavar="SIZE", help="Largest image it takes (default: 1966080 bytes).")
@click.option("--filesystem-size", metavar="SIZE", help="Largest filesystem image it takes (default: 196608 bytes).")
@click.option("--password-env", metavar="NAME", help="Ask for the OTA password in this environment variable.")
@click.option("--password-file", metavar="PATH", help="Ask for the OTA password in the first line of this file (0600).")
@click.option(
    "--login",
    type=click.Choice(("md5", "sha256", "sha256-md5")),
    help="How it asks: as before core 3.3.1; as from it on (default); the same with a stored MD5.",
)
@click.option("--usb", is_flag=True, default=None, help="Give it a USB port that esptool can flash, with a console.")
@click.option(
    "--usb-link",
    type=click.Choice(("pty", "rfc2217")),
    help="What that port is: a terminal (default), or a TCP port with DTR and RTS, which --reset of the console needs.",
)
@click.option("--mdns", is_flag=True, default=None, help="Announce it by mDNS, on loopback only.")
@click.option("--reboot", metavar="DURATION", help="How long a restart takes (default: 200ms).")
@click.option("--dry-run", is_flag=True, help="Check the options, start nothing.")
@json_option
@pass_context
def start(
    context: Context, /, name: str, faults: tuple[str, ...], dry_run: bool, as_json: bool, **given: object
) -> None:
    """Start the simulated device and wait until it answers.

    One that runs already is left as it is, and refused (75) when other options are asked for. Without ports given it
    takes those it had before.

    \b
    Example:
      k1ctl sim start --pace 100k --fault cut=0.5:1
      k1ctl sim start --fault drip=20 --fault fps=30
      k1ctl sim start --password-env K1_OTA_PASSWORD --login sha256
      k1ctl sim start --usb --fault usb-cut=20:1
      k1ctl sim start --name k2 --mdns
    """
    from k1ctl.simulator import daemon
    from k1ctl.simulator.simulated import section
    from k1ctl_plugins.sim.options import checked

    folder = _folder(context, name)
    texts, options = checked(name, faults, given)
    if dry_run:
        say(f"would start the simulated device {name} in {folder}")
        if as_json:
            emit_json({"ok": True, "dry_run": True, "name": name, "folder": folder, "faults": texts})
        return
    state, fresh = daemon.start(folder, name, texts, options)
    toml = section(name, state)
    if as_json:
        emit_json({"ok": True, "started": fresh, "folder": folder, "toml": toml, **_told(state)})
        return
    say(f"the simulated device {name} {'runs' if fresh else 'was running already, as it was started'}; to use it, put")
    say(f"this into {context.workspace.config_file}:")
    put(toml.rstrip())


@sim.command()
@_name
@click.option("--dry-run", is_flag=True, help="Say what would be stopped.")
@json_option
@pass_context
def stop(context: Context, name: str, dry_run: bool, as_json: bool) -> None:
    """Stop the simulated device; nothing to do is no failure. What it has installed is kept.

    \b
    Example:
      k1ctl sim stop --name k1
    """
    from k1ctl.simulator import daemon

    folder = _folder(context, name)
    stopped = daemon.running(folder) if dry_run else daemon.stop(folder)
    verb = "would be stopped" if dry_run else "stopped"
    say(f"the simulated device {name} {verb if stopped else 'is not running'}")
    if as_json:
        emit_json({"ok": True, "name": name, "dry_run": dry_run, "stopped": stopped})


@sim.command(short_help="Press RESET on the simulated device.")
@_name
@json_option
@pass_context
def reset(context: Context, name: str, as_json: bool) -> None:
    """Press RESET on the simulated device: what it does starts anew, an update or a write breaks off.

    \b
    Example:
      k1ctl sim reset --name k1
    """
    from k1ctl.errors import K1ctlError
    from k1ctl.simulator import daemon

    if not daemon.press_reset(_folder(context, name)):
        raise K1ctlError(f"the simulated device {name} is not running", hint="k1ctl sim start", code="sim-not-running")
    say(f"RESET was pressed on {name}")
    if as_json:
        emit_json({"ok": True, "name": name})


@sim.command()
@json_option
def faults(as_json: bool) -> None:
    """List what can go wrong with a simulated device, for `sim start --fault`.

    \b
    Example:
      k1ctl sim faults
    """
    from k1ctl.simulator.faults import FAULTS

    told = {name: about for name, (_, about) in FAULTS.items()}
    if as_json:
        emit_json({"ok": True, "faults": [{"name": name, "about": about} for name, about in told.items()]})
        return
    rows = [about.split(": ", 1) for about in told.values()]
    put(table(rows, ("FAULT", "WHAT GOES WRONG")))


@sim.command(short_help="Say whether it runs (exit 0) or not (exit 1), and what it was flashed with.")
@_name
@json_option
@pass_context
def status(context: Context, name: str, as_json: bool) -> None:
    """Say whether the simulated device runs (exit 0) or not (exit 1), where, and what it was flashed with.

    \b
    Example:
      k1ctl sim status --json
    """
    from k1ctl.simulator import daemon
    from k1ctl.simulator.device import history, requests

    folder = _folder(context, name)
    state = daemon.state(folder)
    flashes, asked = history(folder), requests(folder)
    if as_json:
        known = {"running": state is not None, "name": name, "folder": folder, **_told(state or {})}
        emit_json({"ok": True, **known, "flashes": [_told(flash) for flash in flashes], "requests": asked})
    elif state is None:
        put(f"{name}: not running")
    else:
        put(f"{name}: running since {state['started_at']}, OTA {state['ota_port']}, HTTP {state['http_port']}")
        count = f"{len(flashes)} flash{'' if len(flashes) == 1 else 'es'}"
        put(count + (f", the last one {flashes[-1]['outcome']}" if flashes else ""))
        total, limited = (sum(route.get(key, 0) for route in asked.values()) for key in ("asked", "429"))
        put(f"{total} request{'' if total == 1 else 's'}, {limited} of them answered 429")
    if state is None:
        click.get_current_context().exit(1)
