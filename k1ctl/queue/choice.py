"""Groups of devices: ``device:GROUP`` among a ticket's needs stands for any one device of the group."""

from __future__ import annotations

from k1ctl.errors import ConfigError, UsageError
from k1ctl.queue import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from k1ctl.config import Config

ANY = "any"  # the group of all configured devices
_KIND = "device:"


def members(config: Config, name: str) -> list[str]:
    """The devices that ``name`` may stand for, in the order of the configuration: a device for itself, ``any`` for
    all, a group for its own; [] for what is neither. One that nobody can stand in line for, by its name, is none of a
    group that has others.
    """
    devices = config.names("devices")
    if name in devices:
        return [name]
    found = [d for d in devices if name == ANY or name in config.get("devices", d, "groups")]
    return [d for d in found if names.is_resource(_KIND + d)] or found


def one_of(devices: Sequence[str]) -> str:
    """The resource that stands for any one of these devices."""
    return _KIND + names.CHOICE.join(devices)


def only_one(needs: Mapping[str, int], found: Mapping[str, int]) -> str:
    """The device that a group among ``needs`` stands for, by name, where `settled` ``found`` but one; "" otherwise."""
    return next((r.removeprefix(_KIND) for r in found if r not in needs and names.CHOICE not in r), "")


def settled(needs: Mapping[str, int], config: Config) -> dict[str, int]:
    """``needs`` with each ``device:GROUP`` as the choice of its devices: those that have slots enough and are not
    named beside it. A name that is neither device nor group stays a resource as any other.

    Raises ConfigError for `ANY` without a device, UsageError for more than one choice, none left, or none whose name
    can be a resource.
    """
    found: dict[str, int] = {}
    open_ones = 0
    for resource, count in needs.items():
        group = resource.removeprefix(_KIND)
        devices = [] if group == resource or names.CHOICE in group else members(config, group)
        if not devices and group == ANY and group != resource:
            hint = f"add a [devices.NAME] section to {config.path}"
            raise ConfigError(f"{resource}: no device is configured", hint=hint, code="unknown-device")
        if devices and devices != [group]:
            others = [d for d in devices if _KIND + d not in needs]
            if not others:
                raise UsageError(f"{resource}: every device of the group is named beside it")
            for device in others:
                names.check_resource(_KIND + device)
            resource = one_of([d for d in others if config.slots(_KIND + d) >= count] or others)
            open_ones += 1
        found[resource] = count
    if open_ones > 1:
        raise UsageError(
            "one ticket may leave one device open, not several", hint="name all but one, as in device:k1 device:any"
        )
    return found
