"""The rows of an overview in words, a line each."""

from __future__ import annotations

from k1ctl.output import clean
from k1ctl.overview.parts import ELSEWHERE, STATES
from k1ctl.units import format_duration, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.overview.parts import Part

    Line = list[tuple[str, str]]  # (text, colour) one behind the other

_COLOURS = {
    "uploading": "cyan",
    "building": "cyan",
    "testing": "cyan",
    "running": "cyan",
    "waiting": "yellow",
    "room": "yellow",
    "parked": "dim",
    "idle": "dim",
    "online": "green",
    "degraded": "yellow",
    "unknown": "dim",
    "done": "green",
    "failed": "red",
    "timeout": "red",
}
_WORDS = {"done": "ok"}  # of results
_DOES, _NAME = 36, 20  # characters of what a workspace does, and of its name
_IMAGE = {"sending": "gets", "unknown": "may run"}  # of an image by the outcome of its upload; else the device runs it
STEPS = {
    "k1ctl init": "writes ops/k1ctl.toml and Conductor's scripts; nothing is set up here yet",
    "k1ctl build": "builds the default target of this workspace",
    "k1ctl config edit": "to say what is built here: a [targets.NAME] section",
    "k1ctl device discover --toml": "finds boards and prints the section that each needs",
    "k1ctl upload": "sends what was built to the device",
}
REST: dict[str, Callable[[int], str]] = {
    "workspaces": lambda n: f"and {n} more (k1ctl status --all)",
    "waiting": lambda n: f"and {n} more (k1ctl queue list)",
}


def _names(rows: list[dict[str, Any]], key: str, most: int, wide: bool) -> int:
    """The width of a column of names: of the longest, at most ``most`` unless it is ``wide``."""
    longest = max((len(_who(str(row[key]))) for row in rows), default=0)
    return longest if wide else min(most, longest)


def _who(name: str) -> str:
    return clean(name.replace(ELSEWHERE, "(elsewhere)"))


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` characters; an ellipsis stands for its end."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…" * (width > 0)


def _short(name: str, width: int) -> str:
    """A name in at most ``width`` characters, without its middle: many differ in their ends."""
    name, end = _who(name), (width - 1) // 2
    return name if len(name) <= width else f"{name[: width - 1 - end]}…{name[len(name) - end :]}"


def _column(name: str, width: int) -> str:
    return f"{_short(name, width).ljust(width)}  "


def _padded(text: str, width: int) -> str:
    """The text in a column: cut or filled to ``width``, and two spaces."""
    return cut(clean(text), width).ljust(width) + "  "


def _span(seconds: float) -> str:
    """A time that passes, in whole seconds."""
    return f"{max(1, round(seconds))} s" if seconds < 59.5 else format_duration(seconds)


def _for(seconds: float | None) -> str:
    return "" if seconds is None else f" for {_span(seconds)}"


def _ago(seconds: float | None) -> str:
    return "" if seconds is None else f" {_span(seconds)} ago"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"


def workspaces(part: Part, *, wide: bool = False) -> list[Line]:
    """Busy ones first, who waits in the order of the line, then those that were idle for the shortest time."""
    rows = sorted(part.rows, key=_order)
    width, lines = _names(rows, "name", _NAME, wide), []
    for row in rows:
        told = [f"{kind} {_result(row[kind])}" for kind in ("build", "upload") if row[kind]]
        line: Line = [(_column(row["name"], width), "bold" if row["current"] else "")]
        does = _does(row, 1 << 30 if wide else _DOES)
        line.append((_padded(does, max(_DOES, len(does)) if wide else _DOES), _COLOURS.get(row["state"], "")))
        line.append((", ".join(told), "red" if any("failed" in word for word in told) else "dim"))
        lines.append(line)
    return lines


def _order(row: dict[str, Any]) -> tuple[int, int, float, str]:
    place = min((each["position"] for each in row["doing"] if each["position"]), default=0)
    idle = row["idle_seconds"]
    return STATES.index(row["state"]), place, 1e18 if idle is None else idle, row["name"]


def _does(row: dict[str, Any], width: int) -> str:
    """What it does in ``width`` characters: of long names of resources the end goes, not the place nor the time."""
    if row["missing"]:
        return "its folder is gone"
    if not row["doing"]:
        return "idle" + (_for(row["idle_seconds"]) if row["idle_seconds"] is not None else "")
    doing = min(row["doing"], key=lambda each: each["state"] != row["state"])
    more = f" +{len(row['doing']) - 1}" if len(row["doing"]) > 1 else ""
    what = ", ".join(doing["resources"]) or doing["label"]
    begin, end = f"{doing['state']} ", f"{_for(doing['seconds'])}{more}"
    if doing["state"] == "waiting":
        end = (f", {ordinal(doing['position'])}" if doing["position"] else ", for room on the host") + end
    elif doing["state"] == "parked":
        begin, end = "keeps a place for ", more
    return f"{begin}{cut(what, max(8, width - len(begin) - len(end)))}{end}"


def _result(row: dict[str, Any]) -> str:
    return _WORDS.get(row["result"], str(row["result"]))


def slots(part: Part, *, wide: bool = False) -> list[Line]:
    """What somebody has, wants or may not have first."""
    rows = sorted(part.rows, key=lambda row: not (row["held"] or row["waiting"] or row["paused"] is not None))
    width, lines = _names(rows, "resource", _NAME, wide), []
    for row in rows:
        full = row["held_slots"] >= row["slots"]
        line: Line = [(_column(row["resource"], width), "")]
        line.append((f"{row['held_slots']} of {row['slots']}", "yellow" if full and row["waiting"] else ""))
        most = 1 << 30 if wide else _NAME
        holders = [f"{_short(each['workspace'], most)}{_for(each['seconds'])}" for each in row["held"]]
        more = f" and {len(holders) - 3} more" if len(holders) > 3 else ""
        line.append((f"  {', '.join(holders[:3])}{more}" if holders else "", "cyan"))
        line.append((f"  {row['waiting']} waiting" if row["waiting"] else "", "yellow"))
        typical = row["typical_seconds"]
        line.append((f"  typically {format_duration(typical)}" if typical is not None else "", "dim"))
        if row["paused"] is not None:
            line.append((clean(f"  {row['paused']}" if row["paused"].startswith("out of") else "  paused"), "red"))
        lines.append(line)
    return lines


def waiting(part: Part, *, wide: bool = False) -> list[Line]:
    """Each by its place in line: what for, since when, and until when or what is in its way."""
    width, lines = _names(part.rows, "workspace", 16, wide), []
    places = [str(r["position"] or "-") if r["state"] == "waiting" else r["state"] for r in part.rows]
    left = max(map(len, places), default=0)
    for row, place in zip(part.rows, places, strict=True):
        line: Line = [(f"{place.rjust(left)}  ", _COLOURS.get(row["state"], ""))]
        line.append((_column(row["workspace"], width), ""))
        line.append((clean(", ".join(row["resources"]) or row["label"]), ""))
        line.append((_for(row["seconds"]), "dim"))
        if row["blocked"]:
            line.append((f"  {clean(row['blocked'])}", "red"))
        elif row["expected_seconds"] is not None:
            soon = row["expected_seconds"] < 1
            line.append(("  any moment" if soon else f"  in {format_duration(row['expected_seconds'])}", "dim"))
        lines.append(line)
    return lines


def devices(part: Part, *, wide: bool = False) -> list[Line]:
    """What each said last, who has it, and whose image it runs."""
    width, lines = _names(part.rows, "device", 16, wide), []
    for row in part.rows:
        line: Line = [
            (_column(row["device"], width), ""),
            (row["state"], _COLOURS.get(row["state"], "red")),
        ]
        line.append((f", asked{_ago(row['age_seconds'])}" if row["age_seconds"] is not None else "", "dim"))
        line.append((f"  {row['fps']:g} fps" if row["fps"] is not None else "", ""))
        if row["out_of_service"]:
            line.append(("  out of service", "red"))
        if row["escalation"]:
            line.append((f"  trouble: {row['escalation']['rung']}", "red"))
        hands = row["holder"]["workspace"] if row["holder"] else _elsewhere(row["elsewhere"])
        line.append((f"  held by {_who(hands)}" if hands else "", "cyan"))
        if row["image"]:
            image = row["image"]
            does = _IMAGE.get(image["outcome"], "runs")
            line.append((clean(f"  {does} {image['artifact'][:8]} of {image['workspace']}"), "dim"))
        line.append((f"  {clean(row['version'])}" if row["version"] else "", "dim"))
        lines.append(line)
    return lines


def _elsewhere(holder: str) -> str:
    """Who has a device and stands in no line here, by the last part of the path that his guard tells."""
    path = holder.partition(" (pid ")[0]
    return f"{path.rstrip('/').rpartition('/')[2] or path} (elsewhere)" if holder else ""


def work(part: Part, *, wide: bool = False) -> list[Line]:
    """How they went within a day, then the last ones."""
    facts, counted = part.facts, part.facts["good"] + part.facts["bad"]
    lines: list[Line] = []
    if counted:
        share = 100 * facts["good"] // counted
        known = [(name, facts[f"{name}_seconds"]) for name in ("p50", "p90")]
        times = [f"{name} {format_duration(seconds)}" for name, seconds in known if seconds]
        text = f"{facts['good']} of {counted} went well in 24 h ({share} %){', ' * bool(times)}{', '.join(times)}"
        lines.append([(text, "red" if share < 80 else "")])
    elif part.rows:
        lines.append([("none in 24 h", "dim")])
    for row in part.rows:
        line: Line = [(_padded(_result(row), 7), _COLOURS.get(row["result"], "yellow"))]
        line.append((clean(f"{row['workspace']} {row['target']}{_on(row)}"), ""))
        line.append((_ago(row["age_seconds"]), "dim"))
        line.append((f", took {format_duration(row['seconds'])}" if row["seconds"] is not None else "", "dim"))
        waited = row["wait_seconds"] or 0.0
        line.append((f", waited {format_duration(waited)}" if waited >= 0.5 else "", "dim"))
        line.append((clean(f"  {row['message']}") if row["result"] not in ("done", "cancelled") else "", ""))
        lines.append(line)
    return lines


def _on(row: dict[str, Any]) -> str:
    return f" on {row['device']}" if row["device"] else ""


def budget(part: Part, *, wide: bool = False) -> list[Line]:
    """A line for each counter and unit with a limit or something spent."""
    from k1ctl.budget.limits import amount, named

    lines: list[Line] = []
    for row in part.rows:
        for unit, name in enumerate(("tokens", "micro_usd")):
            spent, held, limit = (row[f"{what}_{name}"] for what in ("spent", "held", "limit"))
            if limit is None and not spent and not held:
                continue
            line: Line = [(clean(f"{named((row['scope'], row['name']))}: {amount(unit, spent)} spent"), "")]
            line.append((f", {amount(unit, held)} held" if held else "", ""))
            if limit is not None:
                share = 100.0 * (spent + held) / limit if limit else 100.0
                colour = "red" if share >= 100 else "yellow" if share >= 80 else "dim"
                line.append((f" of {amount(unit, limit)} ({share:.0f} %)", colour))
            lines.append(line)
    return lines


def host(part: Part, *, wide: bool = False) -> list[Line]:
    """One line: memory, what is promised of it, stalls, disk, load."""
    facts = part.facts
    line: Line = [(f"{format_size(facts['available_bytes'])} of {format_size(facts['memory_bytes'])} free", "")]
    promised = f", {format_size(facts['promised_bytes'])} of {format_size(facts['limit_bytes'])} promised"
    line.append((promised, "" if facts["promised_bytes"] else "dim"))
    line.append((f", level {facts['level']}", "red") if facts["level"] else ("", ""))
    if facts["stalled_percent"] is not None and facts["stalled_percent"] >= 1:
        line.append((f", {facts['stalled_percent']:.0f} % stalled", "red"))
    stop, used = facts["stop_percent"] or 100, facts["disk"]["used_percent"]
    line.append((f", disk {used} %", "red" if used >= stop else "yellow" if used > 80 else "dim"))
    if facts["load_1m"] is not None:
        line.append((f", load {facts['load_1m']:.1f} on {facts['cores']} cores", "dim"))
    return [line]


# in their order on the screen; alerts stand among what needs attention; `wide`: no column is cut
PARTS: dict[str, Callable[..., list[Line]]] = {
    "workspaces": workspaces,
    "slots": slots,
    "waiting": waiting,
    "devices": devices,
    "builds": work,
    "uploads": work,
    "budget": budget,
    "host": host,
}
