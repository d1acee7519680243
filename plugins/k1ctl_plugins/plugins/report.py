"""The installed plugins as rows: where each comes from, what it implements, and whether it works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl import discovery
from k1ctl.errors import K1ctlError
from k1ctl.plugins import PluginError

if TYPE_CHECKING:
    from k1ctl.discovery import EntryPoint
    from k1ctl.plugins import Plugins


def rows(plugins: Plugins) -> list[dict[str, Any]]:
    """Every installed plugin by name, the one that is used first; those that may be loaded are loaded."""
    used: dict[str, EntryPoint] = {}
    found = []
    for entry in discovery.installed():
        first = used.setdefault(entry.name, entry)
        found.append(_row(plugins, entry, None if first is entry else first))
    return sorted(found, key=lambda row: row["name"])


def _row(plugins: Plugins, entry: EntryPoint, first: EntryPoint | None) -> dict[str, Any]:
    hooks: list[str] = []
    if first is not None:
        status, why = "shadowed", f"the plugin of this name of {first.distribution} is used"
    elif entry.name not in plugins.targets:
        status, why = "blocked", "left out by K1CTL_PLUGINS"
    else:
        status, why, hooks = _examine(plugins, entry.name)
    return {
        "name": entry.name,
        "module": entry.module,
        "distribution": entry.distribution,
        "version": entry.version,
        "built_in": entry.built_in,
        "hooks": hooks,
        "status": status,
        "why": why,
        "shadowed_by": first.distribution if first else None,
    }


def _examine(plugins: Plugins, name: str) -> tuple[str, str, list[str]]:
    """(Status, why, hooks) of a plugin once it is loaded and was asked for its command."""
    try:
        hooks = plugins.hooks(name)
    except PluginError as exc:
        return "broken", exc.message, []
    try:
        plugins.command(name)
    except PluginError as exc:
        if exc.code != "no-command":
            return "broken", exc.message, hooks
    return "ok", "", hooks


def broken_error(found: list[dict[str, Any]]) -> K1ctlError | None:
    """The failure of ``--check``; None when no plugin is broken."""
    broken = [row["name"] for row in found if row["status"] == "broken"]
    if not broken:
        return None
    text = f"{len(broken)} of {len(found)} plugins are broken: {', '.join(broken)}"
    return K1ctlError(text, hint="pip uninstall or update the distributions that bring them", code="broken-plugin")


def hints(found: list[dict[str, Any]], rule: str) -> list[str]:
    """Lines for people: the names in ``K1CTL_PLUGINS`` that nothing installed has."""
    names = {row["name"] for row in found} | {"none"}
    unknown = [word for word in discovery.rule_words(rule) if word.removeprefix("-") not in names]
    return [f"K1CTL_PLUGINS names {word.removeprefix('-')}, which is not installed" for word in unknown]
