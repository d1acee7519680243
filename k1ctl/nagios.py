"""What plugins of Nagios print and how they end (Monitoring Plugins development guidelines, "Plugin Output")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.output import clean, put

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # by exit code
_UNITS = ("s", "%", "B", "c")  # all that the guidelines know
LINE = 80  # characters that a pager shows of the first line


class NagiosCommand(click.Command):
    """With ``--format nagios`` a wrong call, and all that fails, is 3 (UNKNOWN) and one line, too: 2 would be CRITICAL,
    and so is what is above 3."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        nagios = "nagios" in args or "--format=nagios" in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as exc:
            if not nagios:
                raise
            put(f"K1 UNKNOWN - {plain(exc.format_message())}")
            ctx.exit(3)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as exc:
            from k1ctl.failure import known_error

            if ctx.params.get("form") != "nagios" or isinstance(exc, click.exceptions.Exit | click.Abort):
                raise
            put(f"K1 UNKNOWN - {plain(known_error(exc, []).message)}")
            return 3


def format_option(function: Any) -> Any:
    """Add ``--format text|nagios`` to a click command; the callback gets it as ``form``."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(("text", "nagios")),
        default="text",
        show_default=True,
        help="nagios: as its plugins print, with performance data; exit 0, 1, 2 or 3.",
    )(function)


def plain(text: str) -> str:
    """Text without what has a meaning to Nagios."""
    return clean(text).replace("|", "/")


def short(text: str, limit: int = LINE) -> str:
    """``text`` in at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def datum(
    label: str,
    value: float | None,
    unit: str = "",
    *,
    warn: str = "",
    crit: str = "",
    least: float | None = None,
    most: float | None = None,
) -> str:
    """``label=value;warn;crit;least;most`` without the empty end beyond ``least``; "" for a figure that is not known.
    ``warn`` and ``crit`` are ranges (`above`, `below`); a unit that Nagios does not know is left out."""
    if value is None:
        return ""
    parts = [f"{label}={_number(value)}{unit if unit in _UNITS else ''}", warn, crit, _bound(least)]
    return ";".join(parts if most is None else [*parts, _bound(most)])


def above(mark: float | None) -> str:
    """The range whose passing upwards alerts."""
    return "" if mark is None else _number(mark)


def below(mark: float | None) -> str:
    """The range that alerts below ``mark``; 0 is no mark."""
    return f"{_number(mark)}:" if mark else ""


def _bound(value: float | None) -> str:
    return "" if value is None else _number(value)


def _number(value: float) -> str:
    """Whole numbers whole, others without the noise of their last digits; never with an exponent of a whole number."""
    return str(value) if isinstance(value, int) else f"{value:.10g}"


def long_output(first: str, lines: Sequence[str], data: Sequence[str]) -> str:
    """A first line that fits on a pager, further lines, and the performance data after the last of them."""
    told = [plain(line) for line in lines] or [""]
    told[-1] += f" | {' '.join(word for word in data if word)}"
    return "\n".join([short(plain(first)), *told])
