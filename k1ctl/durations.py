"""The click type for durations, for every command that takes one."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.units import parse_duration


class Duration(click.ParamType[float]):
    """10s, 5m, 1h30m, or seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


DURATION = Duration()
