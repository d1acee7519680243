"""What becomes of the keys of an existing ``conductor.json``: to k1ctl's settings, to Conductor's, or to nothing.

The keys are those of the K1 repository's two generations. Conductor itself knows ``scripts``, ``runScriptMode`` and
``enterpriseDataPrivacy`` only (www.conductor.build/docs/reference/conductor-json); it passes every other one over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.settings import find
from k1ctl.settings_kinds import convert

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.settings import Place

UNKNOWN = "neither Conductor nor k1ctl knows it"


class Row(NamedTuple):
    """One key of conductor.json, its ``value`` as text, ``became`` in one word, the k1ctl setting at ``place`` with its
    ``setting`` value in base units where it became one, and ``why``.

    ``became``: imported, same (k1ctl does so already), kept (ops/k1ctl.toml says otherwise), add (by hand), conductor
    (Conductor's own), or none.
    """

    key: str
    value: str
    became: str
    why: str
    place: Place = ()
    setting: Any = None

    def document(self) -> dict[str, Any]:
        """The row as JSON."""
        setting = {"setting": ".".join(self.place), "setting_value": self.setting} if self.place else {}
        return {"key": self.key, "value": self.value, "became": self.became, **setting, "why": self.why}


# What says the same in k1ctl: its place, what is added to a number, and how the two relate.
_SETTINGS: dict[str, tuple[Place, int, str]] = {
    "maxConcurrentWorkspaces": (("capacity", "agents"), 0, "workspaces that `worktree setup` lets be there at once"),
    "deviceUploadQueue.timeout_sec": (("ota", "attempt_timeout"), 0, "the limit of one attempt"),
    "failover.max_retries": (("ota", "attempts"), 1, "attempts in all: the first and its retries"),
    "failover.retry_backoff_sec": (("ota", "retry_delay"), 0, "before the second attempt; doubled for each further"),
    "failover.timeout_device_check_sec": (("devices", "*", "probe_timeout"), 0, "one deadline over the whole probe"),
    "environment.RUN_TARGET": (("hooks", "target"), 0, "what `hook run` does when nobody names a target"),
    "environment.K1_TARGET": (("hooks", "target"), 0, "what `hook run` does when nobody names a target"),
}
_QUEUE = "k1ctl's queue has one slot for a device"
_CACHES = "shared .pio and node_modules give one tree another's files: `hook setup` unlinks them"
_NOTHING: dict[str, str] = {
    "deviceUploadQueue": "no such rule in k1ctl's queue",
    "portRange": "Conductor gives each workspace ten ports (CONDUCTOR_PORT); elsewhere k1ctl leases them ([ports])",
    "failover": "nobody escalates: exit codes and events tell what failed and why",
    "monitoring": "k1ctl serves nothing: ops/events and ops/runs hold what happens, `k1ctl events` shows it",
    "mcp": "MCP servers are configured in the agents; their secrets do not belong into this file",
    "git": "Conductor names branches: git.branch_prefix in .conductor/settings.toml",
    "agents": "k1ctl starts no agents",
    "tasks": "k1ctl keeps no tasks",
    "workspace.symlink_shared_caches": _CACHES,
    "workspace.shared_paths": _CACHES,
    "workspace.cleanup_on_archive": "`hook archive` deletes nothing; Conductor removes the workspace",
    "workspace": "no such rule in k1ctl",
    "environment.PATH_ADDITIONS": "k1ctl and its scripts look where tools are installed; else environment_variables in"
    " .conductor/settings.toml",
    "environment.PIO_HOME": "tools.pio names another pio; builds have a core folder of their own choice",
    "environment": "environment_variables in .conductor/settings.toml sets variables for all scripts",
    "scripts": "not a script that Conductor runs",
}
_WHOLE = ("portRange", "monitoring", "mcp", "agents", "tasks", "git")  # told in one row
_SECRET = ("mcp", "environment")  # values that are not shown
MODE = (
    "nonconcurrent is no queue: it stops the running script (SIGHUP, 200 ms, SIGKILL), also in the middle of a flash;"
    " make it concurrent, k1ctl queues"
)


def rows(data: dict[str, Any], config: Config, form: str) -> list[Row]:
    """A row for every key of conductor.json; ``form`` is the file that Conductor is going to read."""
    found = [_row(key, value, config, form) for key, value in _leaves(data, "")]
    if any(row.key == "environment.RUN_TARGET" and row.place for row in found):
        why = "RUN_TARGET comes before it, as `hook run` reads them"
        second = "environment.K1_TARGET"
        found = [Row(row.key, row.value, "none", why) if row.key == second else row for row in found]
    return found


def _leaves(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and key not in _WHOLE:
            yield from _leaves(value, f"{key}.")
        elif name != "//":
            yield key, value


def _row(key: str, value: Any, config: Config, form: str) -> Row:
    text = _text(key, value)
    if key in _SETTINGS:
        return _setting(key, value, text, config)
    if key == "deviceUploadQueue.max_concurrent":
        return Row(key, text, "same" if value == 1 else "none", _QUEUE)
    if key == "deviceUploadQueue.retry_policy":
        same = value == "exponential_backoff"
        return Row(key, text, "same" if same else "none", "the delay is doubled for each further attempt")
    if key == "runScriptMode":
        return Row(key, text, "conductor", MODE if value != "concurrent" else "as it should be")
    if key in ("scripts.setup", "scripts.run", "scripts.archive"):
        return _script(key, value, text, form)
    if key == "enterpriseDataPrivacy":
        taken = "Conductor's own: enterprise_data_privacy in .conductor/settings.toml"
        return Row(key, text, "conductor", taken if form == "toml" else "Conductor's own; it stays as it is")
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        why = _NOTHING.get(".".join(parts[:length]))
        if why:
            return Row(key, text, "none", why)
    return Row(key, text, "none", UNKNOWN)


def _script(key: str, value: Any, text: str, form: str) -> Row:
    hook = key.partition(".")[2]
    if isinstance(value, str) and f"ops/hooks/conductor-{hook}" in value:
        return Row(key, text, "same", f"calls `k1ctl hook {hook}`")
    new = "Conductor reads .conductor/settings.toml instead" if form == "toml" else "this file is left as it is"
    return Row(key, text, "conductor", f"{new}; `k1ctl hook {hook}` does the work in ops/hooks/conductor-{hook}")


def _setting(key: str, value: Any, text: str, config: Config) -> Row:
    pattern, more, why = _SETTINGS[key]
    device = str(config.get("defaults", "device"))
    place = tuple(device if part == "*" else part for part in pattern)
    setting = find(place)
    assert setting is not None
    try:
        number = isinstance(value, int) and not isinstance(value, bool)
        wanted = convert(setting, value + more if number else value)
    except ValueError as exc:
        return Row(key, text, "none", f"{'.'.join(place)} {exc}")
    if place == ("hooks", "target") and wanted not in config.names("run_targets"):
        return Row(key, text, "none", f"there is no run target {wanted!r}")
    have = config.get(*place)
    if have == wanted:
        return Row(key, text, "same", why, place, wanted)
    if place in config.file:
        return Row(key, text, "kept", f"{why}; ops/k1ctl.toml says otherwise", place, have)
    if pattern != place:
        return Row(key, text, "add", f"{why}; it belongs to the device's section", place, wanted)
    return Row(key, text, "imported", why, place, wanted)


def _text(key: str, value: Any) -> str:
    if key.split(".")[0] in _SECRET and key not in _SETTINGS:
        return "(not shown)"
    if isinstance(value, dict | list):
        return f"({len(value)} entr{'y' if len(value) == 1 else 'ies'})"
    from k1ctl.jsontext import dumps

    text = value if isinstance(value, str) else dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
