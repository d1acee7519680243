"""Settings as rows: key, value, unit, origin and meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.errors import ConfigError
from k1ctl.jsontext import dumps
from k1ctl.settings import OPEN, SETTINGS, find
from k1ctl.tomllines import dotted, split_key
from k1ctl.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.settings import Place

_UNITS = {"duration": "seconds", "size": "bytes"}


def rows(config: Config) -> list[dict[str, Any]]:
    """Every setting of the configuration, in the order of the settings' table, then what plugins have of their own."""
    own = [_open_row(place, value) for place, value in _leaves(config.plugins, OPEN)]
    return [*(_row(config, place, value) for place, value in config.items()), *own]


def _leaves(tree: dict[str, Any], prefix: Place) -> Iterator[tuple[Place, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def row_of(config: Config, key: str) -> dict[str, Any]:
    """The setting at a dotted key. Raises ConfigError naming near matches, or the names that are configured."""
    place = split_key(key)
    if place[0] in OPEN:
        return _own_row(config, place, key)
    if find(place) is None:
        from k1ctl.config_change import unknown

        raise unknown(key, [dotted(place) for place, _ in config.items()])
    if place[:2] == ("queue", "slots"):
        return _row(config, place, config.slots(place[2]))
    if place not in SETTINGS:
        config.named(place[0], place[1])
    return _row(config, place, config.get(*place))


def _row(config: Config, place: Place, value: Any) -> dict[str, Any]:
    setting = find(place)
    assert setting is not None
    return {
        "key": dotted(place),
        "value": value,
        "unit": _UNITS.get(setting.kind),
        "origin": config.origin(*place),
        "about": setting.about,
    }


def _own_row(config: Config, place: Place, key: str) -> dict[str, Any]:
    """What a plugin's own section holds: nobody but the plugin knows what is missing there."""
    node: Any = config.plugins
    for part in place[1:]:
        node = node.get(part) if isinstance(node, dict) else None
    if node is None:
        raise ConfigError(f"{key} is not set in {config.path}", hint="the plugin has its own defaults", code="not-set")
    return _open_row(place, node)


def _open_row(place: Place, value: Any) -> dict[str, Any]:
    about = f"of the plugin {place[1]}" if len(place) > 1 else "of plugins"
    return {"key": dotted(place), "value": _for_json(value), "unit": None, "origin": "file", "about": about}


def _for_json(value: Any) -> Any:
    """A TOML value as JSON: dates and times as RFC 3339 text, inf and nan as text."""
    if isinstance(value, dict):
        return {key: _for_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_for_json(item) for item in value]
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        return str(value)
    return value if isinstance(value, str | int | float) else value.isoformat()


def plain(value: Any) -> str:
    """A value for scripts: no unit, no quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return dumps(value)
    if isinstance(value, list):
        return "\n".join(map(plain, value))
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def readable(row: dict[str, Any]) -> str:
    """A value for people."""
    value, unit = row["value"], row["unit"]
    if unit == "seconds":
        return format_duration(value)
    if unit == "bytes":
        return format_size(value)
    return ", ".join(map(plain, value)) if isinstance(value, list) else plain(value) or "-"
