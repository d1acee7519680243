"""``ops/k1ctl.toml`` for a fresh root, written from the table of settings so that it cannot drift from it.

``#key = value`` is a setting that has its default, ``# text`` is prose; so removing one character activates a line.
"""

from __future__ import annotations

import os
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.jsontext import dumps
from k1ctl.settings import SETTINGS
from k1ctl.units import format_size

if TYPE_CHECKING:
    from k1ctl.settings import Place
    from k1ctl.settings_kinds import Setting

_GIB = 1 << 30
_HEAD = """\
# k1ctl: what this repository's workspaces share.
#
# Lines with no space behind the # are settings at their defaults and names of sections: take the # away to change
# one. Lines with a space are prose. Each value can also come from the environment: queue.park as K1CTL_QUEUE_PARK.
# `k1ctl config show` tells what holds and where it comes from.
# Durations: 250ms, 10s, 5m, 1h30m. Sizes: 512k, 4M, 1G.
"""
_ABOUT: dict[Place, str] = {
    ("queue", "slots"): "How many may use a resource at once. A device has one slot; the build slots fit this host.",
    ("devices", "k1"): (
        "A device that `k1ctl upload` flashes. Take the # away and fill in host and mac: k1ctl asks the device who it"
        " is before it sends a byte, and refuses another one."
    ),
    ("targets", "fw"): "What `k1ctl build` and `k1ctl upload` work on; add sections for further targets.",
    ("setup", "codegen"): "A step of your own in `k1ctl worktree setup`; its name is yours to choose.",
    ("stores", "nas"): "A place off this host for `k1ctl archive push` and `k1ctl artifact push`.",
    ("budget", "buckets", "team-a"): "An account with limits; its keys share them. `k1ctl budget keys` goes by it.",
    ("budget", "keys", "team-a-1"): "A key of an account: where it is, never what it is.",
    ("budget", "providers", "anthropic"): "Who serves which models, and when it is left alone (docs/budget-keys.md).",
    ("budget", "chains", "fw"): "Which models `k1ctl budget model --for fw` falls back to, the best first.",
    ("archive",): "What `k1ctl archive run` takes away, and how long it can be brought back.",
    ("metrics",): "What `k1ctl metrics` tells Prometheus and its like (docs/metrics.md).",
    ("slo", "web-build"): (
        "An objective of your own for `k1ctl slo` (docs/slo.md). A section with the name of one that is there"
        " (build-success, upload-success, upload-time, turn-time) changes it key by key."
    ),
    ("alerts",): "What `k1ctl alert check` finds wrong, and when people are told (docs/alerts.md).",
    ("events",): "How long the record of every decision is kept; `k1ctl events` reads it (docs/events.md).",
    ("notify",): "Who hears of alerts and of devices in trouble; `k1ctl notify test` tries it (docs/escalation.md).",
    ("hooks",): "What `k1ctl hook run` does when Conductor calls it.",
    ("run_targets", "fw:size"): (
        "A run target of your own. `k1ctl hook run --list` shows those that are there; a section with the name of one"
        ' of them changes it key by key, as in [run_targets."test:pattern"].'
    ),
}


class Host(NamedTuple):
    """What decides how many builds run at once: usable cores and memory in bytes."""

    cores: int
    memory: int


def host_facts() -> Host:
    """This host."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Host(usable, psutil.virtual_memory().total)


def build_slots(host: Host) -> dict[str, int]:
    """Slots of the build resources.

    A firmware build keeps about three cores busy and takes up to 2 GiB; four are enough for one cable. A web build
    is half as heavy.
    """
    firmware = max(1, min(4, host.cores // 3, host.memory // (2 * _GIB)))
    web = max(1, min(6, host.cores // 2, host.memory // _GIB))
    return {"build:fw": firmware, "build:web": web}


def project_folder(root: str) -> str:
    """The folder below ``root`` that holds ``platformio.ini`` ("." the root itself); ``firmware`` when none does."""
    for folder in ("firmware", "."):
        if os.path.isfile(os.path.join(root, folder, "platformio.ini")):
            return folder
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return "firmware"
    found = [name for name in names if os.path.isfile(os.path.join(root, name, "platformio.ini"))]
    return found[0] if found else "firmware"


def render(host: Host, root: str, imported: dict[Place, Any] | None = None) -> str:
    """The text of the file for this host and root; ``imported`` are settings that another file had."""
    chosen: dict[Place, Any] = {("queue", "slots", name): slots for name, slots in build_slots(host).items()}
    chosen[("targets", "fw", "kind")] = "platformio"
    chosen[("targets", "fw", "path")] = project_folder(root)
    chosen.update(imported or {})
    about = dict(_ABOUT)
    about[("queue", "slots")] += f" ({host.cores} cores, {format_size(host.memory)})"
    lines = [_HEAD]
    for table, settings in _tables().items():
        active = any(place[:-1] == table for place in chosen) or not any(table in (t, t[:-1]) for t in _NAMED)
        lines += [f"# {line}" for line in wrap(about.get(table, ""), 110)]
        lines.append(f"{'' if active else '#'}{header(table)}")
        for key, setting in settings:
            lines += _setting(table, key, setting, chosen)
        lines.append("")
        if table == ("targets", "fw") and os.path.isfile(os.path.join(root, _WEB, "package.json")):
            lines += [header(("targets", "web")), 'kind = "npm"', f'path = "{_WEB}"', 'chip = "none"', ""]
    return "\n".join(lines)


_USUAL: dict[Place, str] = {  # a name for what the user names
    ("devices",): "k1",
    ("targets",): "fw",
    ("run_targets",): "fw:size",
    ("setup",): "codegen",
    ("stores",): "nas",
    ("slo",): "web-build",
    ("budget", "buckets"): "team-a",
    ("budget", "keys"): "team-a-1",
    ("budget", "providers"): "anthropic",
    ("budget", "chains"): "fw",
}
_NAMED = {(*table, name) for table, name in _USUAL.items() if table != ("targets",)}
_EXAMPLES: dict[Place, str] = {
    ("capacity", "heavy"): "build:fw",
    ("capacity", "models"): "opus",
    ("budget", "pools"): "web",
}
_WEB = "webapp"
_BARE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")  # of a key without quotes (TOML 1.0)


def header(table: Place) -> str:
    """The line that begins a table."""
    return f"[{'.'.join(part if part and set(part) <= _BARE else dumps(part) for part in table)}]"


def _tables() -> dict[Place, list[tuple[str, Setting]]]:
    """The settings by table; a table with names that the user chooses gets the usual name."""
    tables: dict[Place, list[tuple[str, Setting]]] = {}
    for place, setting in SETTINGS.items():
        table = tuple(_USUAL[place[:at]] if part == "*" else part for at, part in enumerate(place[:-1]))
        tables.setdefault(table, []).append((place[-1], setting))
    return tables


def _setting(table: Place, key: str, setting: Setting, chosen: dict[Place, Any]) -> list[str]:
    lines = [f"# {line}" for line in wrap(setting.about, 110)]
    if setting.kind.startswith("choice:"):
        lines.append(f"# one of: {setting.kind[7:].replace('|', ', ')}")
    if key == "*":
        values = {place[-1]: value for place, value in chosen.items() if place[:-1] == table}
        lines += [f'"{name}" = {toml_value(setting, value)}' for name, value in values.items()]
        example = _EXAMPLES.get(table, "device:k1")
        return [*lines, f'#"{example}" = {toml_value(setting, setting.default)}']
    place = (*table, key)
    if place in chosen:
        return [*lines, f"{key} = {toml_value(setting, chosen[place])}"]
    return [*lines, f"#{key} = {toml_value(setting, setting.default)}"]


def toml_value(setting: Setting, value: Any) -> str:
    """A value as TOML, durations and sizes as people write them."""
    if setting.kind == "duration":
        whole = round(value * 1000)
        return dumps(_with_unit(whole, (("h", 3600000), ("m", 60000), ("s", 1000), ("ms", 1)), "0s"))
    if setting.kind == "size":
        return dumps(_with_unit(value, (("G", _GIB), ("M", 1 << 20), ("k", 1 << 10), ("", 1)), 0))
    return dumps(value).replace('","', '", "')


def _with_unit(value: int, units: tuple[tuple[str, int], ...], nothing: str | int) -> str | int:
    return next((f"{value // size}{unit}" for unit, size in units if value % size == 0), "") if value else nothing
