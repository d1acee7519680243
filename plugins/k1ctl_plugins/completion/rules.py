"""What may stand at a parameter: rules by its name and metavar, and a table of those that no rule fits.

``@source`` stands for values that change: the shell reads them itself, from ``ops/`` and the repository.
"""

from __future__ import annotations

from k1ctl.settings import PRESETS, SETTINGS

SOURCES = {
    "workspace": "folder names of the repository's worktrees",
    "resource": "resources of tickets, of the record of leases, and of the configuration",
    "device": "[devices.NAME] in ops/k1ctl.toml",
    "target": "[targets.NAME] in ops/k1ctl.toml",
    "run_target": '[run_targets."NAME"] in ops/k1ctl.toml',
    "archive": "k1ctl/archive/ID of the repository's git folder",
    "artifact": "ops/artifacts/TARGET/ID",
    "run": "ops/runs/ID, the newest 50",
    "ticket": "numbers of the tickets in the queue",
    "key": "settings, with the names that the configuration gives to devices, targets and slots",
    "file": "files, as the shell completes them",
    "folder": "folders, as the shell completes them",
}

_BY_METAVAR = {
    "RUN": ("@run",),
    "FILE": ("@file",),
    "FOLDER": ("@folder",),
    "DIR": ("@folder",),
    "ID|PATH": ("@artifact", "@file"),
}
_BY_NAME = {
    "archive": ("@archive",),
    "artifact": ("@artifact",),
    "device": ("@device",),
    "resource": ("@resource",),
    "run": ("@run",),
    "run_id": ("@run",),
    "target": ("@target",),
    "workspace": ("@workspace",),
}
_EXACT = {
    ("alert silence", "name"): tuple(dict.fromkeys(p[1] for p in SETTINGS if p[0] == "alerts" and len(p) == 3)),
    ("archive restore", "reference"): ("@archive",),
    ("archive run", "names"): ("@workspace",),
    ("archive save", "name"): ("@workspace",),
    ("build", "targets"): ("all", "@target"),
    ("config get", "key"): ("@key",),
    ("config set", "key"): ("@key",),
    ("config unset", "key"): ("@key",),
    ("device test", "device"): ("any", "@device"),
    ("device watch", "names"): ("@device",),
    ("doctor", "names"): (
        *("alert", "archive", "budget", "capacity", "config", "device", "events", "hook", "host", "metrics"),
        *("notify", "plugins", "queue", "tools", "worktree"),
    ),
    ("hook run", "args"): ("@file",),
    ("metrics write", "file"): ("@file",),
    ("hook run", "name"): (*dict.fromkeys(place[1] for place in PRESETS if place[0] == "run_targets"), "@run_target"),
    ("queue show", "wanted"): ("@ticket", "@run"),
    ("slo", "names"): tuple(dict.fromkeys(place[1] for place in PRESETS if place[0] == "slo")),
    ("upload", "device"): ("any", "@device"),
    ("why", "what"): ("last", "@workspace", "@ticket", "@run", "@device", "@target"),
    ("worktree add", "path"): ("@folder",),
}
_BEHIND = "a command line, which is completed as such behind --"
NOTHING = {  # what the user has to make up
    ("archive pull", "archive"): "an archive's id, as archive list --store shows",
    ("budget extend", "id_"): "a hold's id, as budget history shows",
    ("budget keys report", "name"): "a key's name, as budget keys list shows",
    ("budget release", "ids"): "a hold's id, as budget history shows",
    ("budget reserve", "tokens"): "a number of tokens",
    ("budget run", "command"): _BEHIND,
    ("budget settle", "id_"): "a hold's id, as budget history shows",
    ("budget settle", "tokens"): "a number of tokens",
    ("capacity baseline", "command"): _BEHIND,
    ("capacity release", "ids"): "a reservation's id, as capacity list shows: it lies in the host's folder",
    ("capacity run", "command"): _BEHIND,
    ("capacity stress", "command"): _BEHIND,
    ("config set", "words"): "the value",
    ("device test", "patterns"): "a pattern's id, which the device knows",
    ("events stats", "what"): "a field's name, or an event's",
    ("worktree add", "name"): "a name that is not there yet",
    ("worktree which", "port"): "a port's number",
}


def words(path: tuple[str, ...], names: tuple[str, ...], metavar: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a parameter: ``path`` is its command's, ``choices`` what its type allows (() anything).

    () when nothing is known: the value is the user's own (a duration, a label, a new name).
    """
    key = (" ".join(path), names[0])
    if key in _EXACT or key in NOTHING:
        return _EXACT.get(key, ())
    if choices:
        return choices
    if metavar in _BY_METAVAR:
        return _BY_METAVAR[metavar]
    if "|" in metavar and metavar == metavar.lower():  # auto|ota|usb
        return tuple(metavar.split("|"))
    if metavar.startswith("RESOURCE"):
        return ("@resource",)
    if metavar == "ID" and path[:1] == ("queue",):
        return ("@ticket",)
    if "name" in names and path[:1] in (("device",), ("sim",)):
        return ("@device",)
    if path[:1] == ("worktree",) and {"name", "names"} & {*names}:
        return ("@workspace",)
    plain = (name if name in _BY_NAME else name.removesuffix("s") for name in names)
    return next((_BY_NAME[name] for name in plain if name in _BY_NAME), ())
