"""The options of ``sim start``, checked before a daemon is started that could only fail."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from k1ctl.errors import UsageError
from k1ctl.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}")


def checked(name: str, faults: Sequence[str], given: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """(The faults, with ``pace`` among them; the daemon's options that were given). Raises UsageError, ConfigError,
    NotFoundError (code mdns-missing)."""
    from k1ctl.simulator.faults import parse

    options = {key: value for key, value in given.items() if value is not None}
    if "usb" in options or "usb_link" in options:
        options["usb"] = options.pop("usb_link", "pty")
    if options.pop("mdns", None):
        options["mdns"] = _host(name)
    texts = [*faults, *([f"pace={options.pop('pace')}"] if "pace" in options else [])]
    for text in texts:
        parse(text)
    if "mac" in options and not _MAC.fullmatch(options["mac"]):
        raise UsageError(f"{options['mac']!r} is not a MAC", hint="six times two hex digits, as in 02:4B:31:00:00:01")
    secret: dict[str, Any] = {key: options[key] for key in ("password_env", "password_file") if key in options}
    if secret:
        from k1ctl.device.login import configured

        if "password_file" in secret:
            secret["password_file"] = options["password_file"] = os.path.abspath(secret["password_file"])
        configured({"name": "the simulated device", **secret})
        options.setdefault("login", "sha256")
    elif "login" in options:
        raise UsageError("--login needs --password-env or --password-file")
    try:
        for key in ("partition_size", "filesystem_size"):
            if key in options:
                options[key] = parse_size(options[key])
        if "reboot" in options:
            options["reboot_seconds"] = parse_duration(options.pop("reboot"))
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    return texts, options


def _host(name: str) -> str:
    from k1ctl.device.mdns import check_available
    from k1ctl.simulator.mdns import host_of

    check_available()
    return host_of(name)
