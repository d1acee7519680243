"""Layered configuration: flag > ``K1CTL_*`` > ``ops/k1ctl.toml`` > built-in default, each value with its origin."""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError
from k1ctl.settings import FORBIDDEN, NO_TARGETS, OPEN, PRESETS, SETTINGS, find
from k1ctl.settings_kinds import convert, from_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from k1ctl.settings import Place
    from k1ctl.settings_kinds import Setting
    from k1ctl.workspace import Workspace

_CACHE_VERSION = 2
_NOT_SETTINGS = (
    *("K1CTL_ROOT", "K1CTL_HOST_DIR", "K1CTL_CACHE_DIR", "K1CTL_PLUGINS", "K1CTL_TRACE_PLUGINS"),
    *("K1CTL_MDNS_INTERFACE", "K1CTL_FACTS"),
)
_OF_RUNS = (  # handed on
    *("K1CTL_RUN", "K1CTL_LEASES", "K1CTL_GUARDS", "K1CTL_PROMISE", "K1CTL_DEVICE", "K1CTL_PORT"),
    *("K1CTL_BUDGET_HOLD", "K1CTL_BUDGET_USAGE"),
)


class Config:
    """The configuration of a root.

    ``file`` and ``environment`` hold what was set there, {place: value}, converted to base units; ``path`` is the
    file. Settings that nobody set have their default. ``plugins`` is the table [plugins] as TOML has it, unchecked.
    """

    __slots__ = ("environment", "file", "path", "plugins")

    def __init__(
        self, path: str, file: dict[Place, Any], environment: dict[Place, Any], plugins: dict[str, Any] | None = None
    ) -> None:
        self.path, self.file, self.environment, self.plugins = path, file, environment, plugins or {}

    def get(self, *place: str) -> Any:
        """The value at a place, as in ``get("devices", "k1", "host")``. Raises ConfigError for an unknown place."""
        if place in self.environment:
            return self.environment[place]
        if place in self.file:
            return self.file[place]
        if place in PRESETS:
            return PRESETS[place]
        setting = find(place)
        if setting is None:
            raise ConfigError(f"there is no setting {'.'.join(place)}", hint="k1ctl config show lists them all")
        return setting.default

    def origin(self, *place: str) -> str:
        """Where the value comes from: ``environment``, ``file`` or ``default``."""
        return "environment" if place in self.environment else "file" if place in self.file else "default"

    def names(self, *prefix: str) -> list[str]:
        """The names below ``prefix``, as in ``names("devices")``: those that are preset, then in the file's order."""
        return _below(prefix, [*PRESETS, *self.file, *self.environment])

    def section(self, *prefix: str) -> dict[str, Any]:
        """All settings directly below ``prefix`` with their values, as in ``section("devices", "k1")``."""
        depth = len(prefix)
        keys = [
            p[depth]
            for p in SETTINGS
            if len(p) == depth + 1 and all(a in ("*", b) for a, b in zip(p[:depth], prefix, strict=True))
        ]
        return {key: self.get(*prefix, key) for key in keys if key != "*"}

    def named(self, table: str, name: str) -> dict[str, Any]:
        """The section of a device or target the user configured. Raises ConfigError naming those there are."""
        known = self.names(table)
        if name not in known:
            what = table.removesuffix("s")
            there = f"configured: {', '.join(known)}" if known else f"add a [{table}.{name}] section to {self.path}"
            if not known and not os.path.exists(self.path):
                there = f"k1ctl init writes {self.path}"
            raise ConfigError(f"no {what} {name!r} is configured", hint=there, code=f"unknown-{what}")
        return self.section(table, name)

    def slots(self, resource: str) -> int:
        """How many slots a resource has: as configured, else 4 for ``build:*`` and 1 for any other."""
        place = ("queue", "slots", resource)
        if place in self.environment or place in self.file:
            return int(self.get(*place))
        return 4 if resource.startswith("build:") else 1

    def items(self) -> Iterator[tuple[Place, Any]]:
        """Every setting with its value: the fixed ones, those below names that the user chose, and the presets."""
        for pattern in SETTINGS:
            if "*" not in pattern:
                yield pattern, self.get(*pattern)
                continue
            at = pattern.index("*")
            given = [] if pattern[-1] == "*" else _below(pattern[:at], [*self.file, *self.environment])
            for name in self.names(*pattern[:at]):
                place = (*pattern[:at], name, *pattern[at + 1 :])
                if name in given or place in self.file or place in self.environment or place in PRESETS:
                    yield place, self.get(*place)


def _below(prefix: Place, places: list[Place]) -> list[str]:
    depth = len(prefix)
    return list(dict.fromkeys(p[depth] for p in places if len(p) > depth and p[:depth] == prefix))


def load(workspace: Workspace, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration of the workspace's root. Raises ConfigError naming file, key and line."""
    path = workspace.config_file
    stored = _read(path, workspace.ops_path("queue", ".config.json"))
    plugins = stored.pop(OPEN, {})
    config = Config(path, stored, {}, plugins)
    config.environment = _environment(os.environ if environ is None else environ, config)
    return config


def outside(environ: Mapping[str, str] | None = None) -> Config:
    """The configuration where there is no repository: defaults and the environment. Raises ConfigError."""
    config = Config("", {}, {})
    config.environment = _environment(os.environ if environ is None else environ, config)
    return config


def _read(path: str, cache: str) -> dict[Place, Any]:
    """The file's settings. Parsed once: the result is kept beside the queue, valid for this very file state.

    Importing tomllib costs more than all the rest of a `queue run`; the cache is one small JSON file, checked
    against the file's inode, size and change times, and rewritten whenever it does not fit.
    """
    from k1ctl.files import read_json, write_json

    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    stamp = [_CACHE_VERSION, len(SETTINGS), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    cached = read_json(cache)
    if isinstance(cached, dict) and cached.get("stamp") == stamp:
        return {tuple(place): value for place, value in cached["values"]}
    values = parse_file(path)
    try:
        if os.path.isdir(os.path.dirname(cache)):
            # who may not read the file may not read this either: [plugins] may hold secrets
            mode = stat.st_mode & 0o666
            write_json(cache, {"stamp": stamp, "values": [[list(p), v] for p, v in values.items()]}, mode=mode)
    except (OSError, TypeError, ValueError):  # [plugins] may hold dates, inf and nan
        pass
    return values


def parse_file(path: str) -> dict[Place, Any]:
    """Parse and check a configuration file; the open [plugins] table is under the place ``("plugins",)``.

    Raises ConfigError with file, line and key for the first thing that is wrong.
    """
    try:
        with open(path, "rb") as f:
            text = f.read().decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 at byte {exc.start}") from exc
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}", file=path) from exc
    return parse_text(text, path)


def parse_tree(text: str, path: str) -> dict[str, Any]:
    """The TOML document ``text``; ``path`` names it in errors. Raises ConfigError with the line."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise _syntax_error(path, str(exc), text) from exc


def parse_text(text: str, path: str) -> dict[Place, Any]:
    """As `parse_file`, of a text that stands (or is to stand) in ``path``."""
    tree = parse_tree(text, path)
    values: dict[Place, Any] = {}
    for place, value in _leaves(tree, ()):
        if place[0] in OPEN:
            continue
        setting = find(place)
        try:
            if place[0] == "targets" and place[1:2] and place[1] in NO_TARGETS:
                raise ValueError(f"is no target's name: `k1ctl build {place[1]}` means something else")
            if setting is None and value == {} and is_named(place):
                values[place] = {}  # an empty [devices.k1] is a device with every default
                continue
            if setting is None:
                raise ValueError(_unknown(place))
            if place[:2] == ("queue", "slots"):
                _check_resource(place[2])
            values[place] = convert(setting, value)
        except ValueError as exc:
            from k1ctl.tomllines import line_of

            line = line_of(text, place)
            where = f"{path}:{line}" if line else path
            raise ConfigError(f"{where}: {'.'.join(place)} {exc}", file=path, line=line, key=".".join(place)) from exc
    _check_groups(values, text, path)
    for name in OPEN:
        if name in tree:
            if not isinstance(tree[name], dict):
                raise ConfigError(f"{path}: {name} must be a table, as in [{name}.NAME]", file=path, key=name)
            values[(name,)] = tree[name]
    return values


def _check_groups(values: dict[Place, Any], text: str, path: str) -> None:
    """A word behind ``device:`` means one thing: a device, a group of them, or any. Raises ConfigError."""
    devices = _below(("devices",), list(values))
    for place, groups in values.items():
        if place[0] != "devices":
            continue
        try:
            if place[1] == "any":
                raise ValueError("any is the group of all devices, not a device's name")
            for group in groups if place[2:] == ("groups",) else ():
                if group == "any" or group in devices:
                    raise ValueError(f"{group} is {'the group of all devices' if group == 'any' else 'a device'}")
                _check_resource(f"device:{group}")
        except ValueError as exc:
            from k1ctl.tomllines import line_of

            line = line_of(text, place)
            where = f"{path}:{line}" if line else path
            key = ".".join(place)
            raise ConfigError(f"{where}: {key}: {exc}", file=path, line=line, key=key) from exc


def replace_file(path: str, text: str) -> None:
    """Put ``text`` in the place of a configuration file in one step; a link stays a link, permissions stay.

    For a caller that holds the lock on the file (`k1ctl.files.Locked` of its real path). Raises OSError.
    """
    from k1ctl.files import write_atomic

    path = os.path.realpath(path)
    mode, mask = os.stat(path).st_mode & 0o7777, os.umask(0)
    try:
        write_atomic(path, text, mode=mode)
    finally:
        os.umask(mask)


def _syntax_error(path: str, text: str, content: str) -> ConfigError:
    """What tomllib says, with the line it names at its end (or the last one) where all others have it."""
    said, _, place = text.partition(" (at ")
    number = place.removeprefix("line ").partition(",")[0]
    line = int(number) if number.isdigit() else max(content.count("\n"), 1)
    hint = "k1ctl init --dry-run prints a fresh one"
    return ConfigError(f"{path}:{line}: {said}", hint=hint, file=path, line=line, key="")


def _check_resource(name: str) -> None:
    from k1ctl.errors import UsageError
    from k1ctl.queue.names import check_resource

    try:
        check_resource(name)
    except UsageError as exc:
        raise ValueError(f"is no resource: {exc.message} ({exc.hint})") from exc


def _leaves(tree: dict[str, Any], prefix: Place) -> Iterator[tuple[Place, Any]]:
    for key, value in tree.items():
        place = (*prefix, key)
        if isinstance(value, dict) and find(place) is None and (value or place[0] in OPEN):
            yield from _leaves(value, place) if place[0] not in OPEN else ()
        elif value == {} and any(p[: len(place)] == place and len(p) > len(place) for p in SETTINGS):
            continue
        else:
            yield place, value


def is_named(place: Place) -> bool:
    """Whether ``place`` is a table below a name that the user chooses, as ``devices.k1`` is."""
    return any(len(p) > len(place) and p[len(place) - 1] == "*" and p[: len(place) - 1] == place[:-1] for p in SETTINGS)


def _unknown(place: Place) -> str:
    size = len(place)
    for pattern in SETTINGS:
        if len(pattern) > size and all(a in ("*", b) for a, b in zip(pattern, place)):  # noqa: B905
            from k1ctl.jsontext import dumps

            key = ".".join(part if part.replace("_", "").isalnum() else dumps(part) for part in place)
            name = ".NAME" if pattern[size] == "*" and len(pattern) > size + 1 else ""
            return f"must be a table, as in [{key}{name}]"
    for pattern, why in FORBIDDEN.items():
        if len(pattern) == len(place) and all(a in ("*", b) for a, b in zip(pattern, place, strict=True)):
            return why
    from difflib import get_close_matches

    near = [p for p in SETTINGS if len(p) == len(place) and all(a in ("*", b) for a, b in zip(p[:-1], place[:-1]))]  # noqa: B905
    match = get_close_matches(place[-1], [p[-1] for p in near], 1)
    return "is not a setting" + (f"; did you mean {match[0]}?" if match else "")


def _environment(environ: Mapping[str, str], config: Config) -> dict[Place, Any]:
    """The settings in ``K1CTL_*`` variables: ``K1CTL_QUEUE_PARK``, ``K1CTL_DEVICES_K1_HOST``."""
    found: dict[Place, Any] = {}
    for name, text in environ.items():
        if name.startswith("K1CTL_") and name not in _NOT_SETTINGS:
            match = _variable(name[6:], config)
            if match is None:
                continue
            place, setting = match
            try:
                found[place] = from_text(setting, text)
            except ValueError as exc:
                raise ConfigError(f"{name} {exc}", key=".".join(place), variable=name) from exc
    return found


def unknown_variables(config: Config, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """(Name, the nearest known one or "") of every ``K1CTL_*`` variable that is no setting and nothing k1ctl sets."""
    from difflib import get_close_matches

    known = ["K1CTL_" + mangle("_".join(place)) for place, _ in config.items()]
    found = []
    for name in sorted(environ):
        theirs = name.startswith("K1CTL_") and name not in (*_NOT_SETTINGS, *_OF_RUNS)
        if theirs and _variable(name[6:], config) is None:
            found.append((name, next(iter(get_close_matches(name, known, 1)), "")))
    return found


def _variable(name: str, config: Config) -> tuple[Place, Setting] | None:
    for pattern, setting in SETTINGS.items():
        if "*" not in pattern:
            if name == mangle("_".join(pattern)):
                return pattern, setting
            continue
        at = pattern.index("*")
        head = mangle("_".join(pattern[:at])) + "_"
        tail = "".join("_" + mangle(p) for p in pattern[at + 1 :])
        if name.startswith(head) and name.endswith(tail) and len(name) > len(head) + len(tail):
            middle = name[len(head) : len(name) - len(tail)]
            known = [n for n in config.names(*pattern[:at]) if mangle(n) == middle]
            return (*pattern[:at], known[0] if known else middle.lower(), *pattern[at + 1 :]), setting
    return None


def mangle(name: str) -> str:
    """A name as it stands in an environment variable: upper case, anything but letters and digits as ``_``."""
    return "".join(c.upper() if c.isalnum() else "_" for c in name)
