"""Is the device that answers the one that is configured?"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HINT = "DHCP may have given its address to another device (k1ctl device discover finds it); correct `host` or `{}`"


def normal_mac(mac: str) -> str:
    """A MAC in lower-case hex digits only, so that two spellings compare equal."""
    return "".join(c for c in mac.lower() if c.isalnum())


def difference(device: Mapping[str, Any], identity: str, mac: str) -> tuple[str, str] | None:
    """(What differs, what to do) when ``identity`` or ``mac`` is not what ``device`` is configured with, else None."""
    wanted, own = str(device["identity"]), str(device["mac"])
    if wanted and identity != wanted:
        return f"{device['host']} says it is {identity!r}, not {wanted!r}", HINT.format("identity")
    if own and normal_mac(mac) != normal_mac(own):
        name = str(device.get("name") or device["host"])
        return f"{device['host']} has the MAC {mac or '(none)'}, {name} is configured as {own}", HINT.format("mac")
    return None
