"""``k1ctl device test``: what patterns cost on the device, compared with what they cost when they were accepted."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import K1ctlError
from k1ctl.output import emit_json, json_option, put, say, style, table

_COLOURS = {"passed": "green", "failed": "red", "void": "red", "skipped": "yellow"}


@click.command(short_help="Measure patterns on the device and compare them with their baselines.")
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--device", metavar="NAME", help="Which device, or group: a free one (default: [defaults] device).")
@click.option("--duration", type=DURATION, metavar="D", help="Sample each pattern for D (default: [test] duration).")
@click.option("--record", is_flag=True, help="Make what is measured the new baseline; set thresholds still hold.")
@click.option("--strict", is_flag=True, help="A pattern without a baseline fails.")
@click.option("--all", "all_of_them", is_flag=True, help="Test every pattern the device has.")
@click.option("--junit", metavar="FILE", default="", help="Write the results as JUnit XML, whatever they are.")
@click.option("--wait", type=DURATION, metavar="D", help="Wait in line at most D; then exit 75.")
@click.option("--dry-run", is_flag=True, help="Say what would be tested and do nothing.")
@json_option
@pass_context
def test(
    context: Context, /, patterns: tuple[str, ...], junit: str, dry_run: bool, as_json: bool, **options: Any
) -> int:
    """Show each PATTERN (by its id) on the device, sample frames a second, drawing time and memory, and compare.

    A figure that is worse than in ops/baselines/PATTERN.json by more than [test] regression (10 %), or beyond a
    threshold that stands there, fails. Without a PATTERN: [test] patterns, else those with a baseline, else the one
    shown. The call stands in line for the device; the former pattern is put back however it ends. Exit codes: 0 all
    passed; 1 one failed, or its sample is void; 2 no such pattern; 65 another device; 69 it vanished in the middle;
    75 still in line, or others ask it too much; 77 skipped: no answer in [test] attempts (3, [test] delay apart).

    \b
    Example:
      k1ctl device test lava twilight --record
      k1ctl device test --duration 20s --junit pattern.xml
      k1ctl device test --all --json | jq -r '.results[] | select(.state == "failed") | .pattern'
    """
    from k1ctl_plugins.device.test import flow

    plan = flow.make_plan(context.workspace, context.config, patterns, **options)
    if junit:
        _check_junit(junit)
    if dry_run:
        return _dry_run(plan, as_json)
    try:
        found = flow.test(context.workspace, context.config, plan)
    except (K1ctlError, OSError) as exc:
        if junit:
            from k1ctl_plugins.device.test.junit import unstarted

            code, why = (exc.code, exc.message) if isinstance(exc, K1ctlError) else ("not-begun", str(exc))
            _write_junit(junit, unstarted(plan.asked, plan.named, code, why))
        raise
    unwritten = _write_junit(junit, found) if junit else None
    if as_json:
        emit_json(_with_error(found, unwritten))
    else:
        _tell(found)
        flow.raise_where_nothing_was_tested(found)
        if unwritten:
            raise unwritten
    return int(found["exit_code"]) or (unwritten.exit_code if unwritten else 0)


def _check_junit(path: str) -> None:
    import os

    from k1ctl.errors import UsageError
    from k1ctl.files import writes_through

    place = path if writes_through(path) else os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path) or not os.access(place, os.W_OK):
        raise UsageError(f"--junit {path} cannot be written", hint="name a file in a folder that is there")


def _write_junit(path: str, found: dict[str, Any]) -> K1ctlError | None:
    """The error where it could not be written, for when the results are told."""
    from k1ctl.files import write_named
    from k1ctl.units import rfc3339
    from k1ctl_plugins.device.test.junit import document

    try:
        write_named(path, document(found, rfc3339()))
    except OSError as exc:
        text = f"--junit {path} could not be written: {exc.strerror}"
        return K1ctlError(text, hint="the run's record has the results", code="junit-unwritten")
    return None


def _dry_run(plan: Any, as_json: bool) -> int:
    if as_json:
        emit_json({"ok": True, "dry_run": True, **plan.document()})
        return 0
    from k1ctl.units import format_duration

    seconds = format_duration(plan.rules["duration"])
    put(f"would test on {plan.asked}, {seconds} each: {', '.join(plan.named)}")
    return 0


def _with_error(found: dict[str, Any], unwritten: K1ctlError | None) -> dict[str, Any]:
    if found["ok"]:
        return {**found, **unwritten.document()} if unwritten else found
    return {**found, "error": {key: found[key] for key in ("code", "message", "hint", "exit_code")}}


def _tell(found: dict[str, Any]) -> None:
    if not any(row["seconds"] for row in found["results"]) and found["outcome"] != "skipped":
        return  # nothing was measured: the error says why
    rows = []
    for row in found["results"]:
        note = row["message"] or "; ".join(row["warnings"]) or ("baseline recorded" if row.get("recorded") else "")
        rows.append((row["pattern"], row["state"], *_cells(row), note))
    put(table(rows, ("PATTERN", "RESULT", "FPS", "DRAWING", "MEMORY", "")))
    counts = [f"{found[state]} {style(state, colour)}" for state, colour in _COLOURS.items() if found[state]]
    put(f"{found['device']}: {', '.join(counts)}")
    if found["outcome"] == "skipped":
        say(f"skipped: {found['message']}")
        if found["hint"]:
            say(f"{_label('hint')}: {found['hint']}")
    if found["prompt"]:
        say(f"{_label('prompt')}: {found['prompt']} has what to try, in order")


def _label(word: str) -> str:
    import sys

    return style(word, "cyan", stream=sys.stderr)


def _cells(row: dict[str, Any]) -> list[str]:
    """The figures, each with how it differs from the baseline's."""
    from k1ctl.device.pattern.baseline import FIGURES

    cells = []
    for name, unit in zip(FIGURES, ("", " ms", " KiB"), strict=True):
        now, before = row["figures"].get(name), (row["baseline"] or {}).get(name)
        change = f" ({(now - before) / before * 100:+.1f} %)" if now is not None and before else ""
        cells.append("-" if now is None else f"{now:g}{unit}{change}")
    return cells
