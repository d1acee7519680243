"""The options of ``sim start``, checked before a daemon is started that could only fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.errors import UsageError
from k1ctl.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence


def checked(faults: Sequence[str], given: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """(The faults, with ``pace`` among them; the daemon's options that were given). Raises UsageError."""
    from k1ctl.simulator.faults import parse

    options = {key: value for key, value in given.items() if value is not None}
    texts = [*faults, *([f"pace={options.pop('pace')}"] if "pace" in options else [])]
    for text in texts:
        parse(text)
    try:
        if "partition_size" in options:
            options["partition_size"] = parse_size(options["partition_size"])
        if "reboot" in options:
            options["reboot_seconds"] = parse_duration(options.pop("reboot"))
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    return texts, options
