"""The verdict on the host: from its checks to one word, for people, for Nagios and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.capacity import facts as host_facts
from k1ctl.capacity import health
from k1ctl.nagios import LINE, WORDS, above, below, datum, long_output, short
from k1ctl.output import clean, style, table
from k1ctl.units import format_size, rfc3339

if TYPE_CHECKING:
    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.health import Check
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

EXITS = {"ok": 0, "warn": 1, "crit": 2, "unknown": 3}
_COLOURS = {"ok": "green", "warn": "yellow", "crit": "red", "unknown": "cyan", "skip": "dim"}
_HINTS = {  # by the first word of a check's name
    "memory": "k1ctl capacity list shows who holds what; what nobody was promised is other programs'",
    "oom": "k1ctl capacity run --mem-limit keeps a command from taking the host with it",
    "disk": "k1ctl worktree du shows what takes the room; k1ctl archive run --dry-run what could go",
    "inodes": "k1ctl worktree du shows what takes the room; k1ctl archive run --dry-run what could go",
    "suspended": "they go on when memory is free again; k1ctl capacity list shows who has it",
    "blast": "systemd-run --user --scope -p OOMPolicy=continue -- COMMAND gives each agent a control group of its own",
    "promises": "k1ctl capacity list shows them; each ends with the last process of its command",
}


class Verdict:
    """All ``checks`` of a host, the ``status`` of the whole (ok, warn, crit, unknown), and when they were made."""

    def __init__(self, facts: Facts, checks: list[Check], *, strict: bool) -> None:
        self.facts, self.checks, self.at = facts, checks, rfc3339()
        self.status = health.worst(checks, strict=strict)

    @property
    def exit_code(self) -> int:
        return EXITS[self.status]

    @property
    def problems(self) -> list[Check]:
        """What is not well, the worst first."""
        bad = [check for check in self.checks if check.status in ("crit", "warn", "unknown")]
        return sorted(bad, key=lambda check: -health.STATUSES.index(check.status))


def look(config: Config, workspace: Workspace, *, file: str | None = None, strict: bool = False) -> Verdict:
    """Look at the host, or at the one that ``file`` describes. Raises ConfigError, OSError."""
    wanted = not config.get("capacity", "gpu_memory")
    facts = host_facts.from_file(file) if file else host_facts.read(gpus=wanted, thermal=True)
    return Verdict(facts, health.look(facts, config, workspace), strict=strict)


def document(found: Verdict) -> dict[str, Any]:
    """What ``--json`` prints; with an ``error`` of the usual shape unless all is well."""
    told: dict[str, Any] = {
        "ok": found.status == "ok",
        "status": found.status,
        "at": found.at,
        "checks": [check.document() for check in found.checks],
        "facts": found.facts.document(),
    }
    if found.status != "ok":
        said = {"code": f"host-{found.status}", "message": sentence(found), "hint": "; ".join(hints(found))}
        told["error"] = {**said, "exit_code": found.exit_code}
    return told


def sentence(found: Verdict, limit: int = 0) -> str:
    """What is worst, and how much else there is; in ``limit`` characters at most (0: any)."""
    problems = found.problems
    if not problems:
        return "nothing stalls"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    said = problems[0].message
    return (short(said, limit - len(more)) if limit else said) + more


def text(found: Verdict) -> str:
    """One line on the whole, then a table of all checks."""
    word = style(found.status, _COLOURS[found.status])
    rows = [[check.status, check.name, _figure(check), check.message] for check in found.checks]
    return f"host: {word}: {clean(sentence(found))}\n\n{table(rows, ['STATUS', 'CHECK', 'VALUE', 'SAYS'])}"


def _figure(check: Check) -> str:
    if check.value is None:
        return "-"
    if check.unit in ("B", "B/s"):
        return format_size(check.value) + check.unit[1:]
    return f"{check.value:.6g}{' %' if check.unit == '%' else ''}"


def hints(found: Verdict) -> list[str]:
    """What to do about it, each hint once."""
    told = [hint_of(check.name) for check in found.problems]
    return [hint for hint in dict.fromkeys(told) if hint]


def hint_of(check: str) -> str:
    """What to do about a check of this name that is not well; "" where nothing is known."""
    return _HINTS.get(check.partition("_")[0], "")


def nagios(found: Verdict) -> str:
    """A line of at most 80 characters, a line for each further problem, and the performance data at their end."""
    word = WORDS[found.exit_code]
    lines = [f"{check.status}: {check.name}: {check.message}" for check in found.problems]
    known = sum(check.status != "skip" for check in found.checks)
    lines.append(f"{known} checks made, {len(found.checks) - known} skipped")
    head = f"K1 {word} - host: "
    return long_output(head + sentence(found, LINE - len(head)), lines, [_datum(c) for c in found.checks])


def _datum(check: Check) -> str:
    if check.value is None or check.status == "skip":
        return ""
    mark = below if check.below else above
    return datum(
        f"'{check.name}'",
        check.value,
        check.unit,
        warn=mark(check.warn),
        crit=mark(check.crit),
        least=check.least,
        most=check.most,
    )
