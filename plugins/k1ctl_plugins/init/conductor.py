"""``init --conductor``: put Conductor's scripts and file in place, and take over what an existing file says."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from k1ctl.config import parse_text, parse_tree, replace_file
from k1ctl.errors import ConfigError
from k1ctl.files import Locked, read_bytes
from k1ctl_plugins.init import imports, scripts
from k1ctl_plugins.init.prepare import write_new
from k1ctl_plugins.init.template import header, toml_value

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.settings import Place
    from k1ctl.workspace import Workspace

_LATER = "Conductor takes it for new workspaces, once it is on the remote's default branch"


class Report:
    """What was done for Conductor.

    ``form`` json or toml; ``file`` and ``written``: the file that names the scripts; ``scripts``; ``rows``: what became
    of each key of conductor.json; ``added``: lines that were appended to ops/k1ctl.toml; ``by_hand``: (place, line)
    that somebody has to add; ``notes`` for people.
    """

    def __init__(self, workspace: Workspace, form: str) -> None:
        self.form, self.file = form, os.path.join(workspace.root, scripts.FILES[form])
        self.written = False
        self.scripts: list[scripts.Written] = []
        self.rows: list[imports.Row] = []
        self.added: list[str] = []
        self.by_hand: list[tuple[Place, str]] = []
        self.notes: list[str] = []

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        by_hand = [{"setting": ".".join(place), "line": line} for place, line in self.by_hand]
        return {
            "form": self.form,
            "file": self.file,
            "written": self.written,
            "scripts": [written._asdict() for written in self.scripts],
            "keys": [row.document() for row in self.rows],
            "added": self.added,
            "by_hand": by_hand,
            "notes": self.notes,
        }


def plan(workspace: Workspace, config: Config, wanted: str) -> Report:
    """Read what is there; ``wanted`` is json, toml or auto. Raises ConfigError (conductor.json is no JSON object)."""
    report = Report(workspace, scripts.form_of(workspace.root, wanted))
    data = _existing(os.path.join(workspace.root, scripts.FILES["json"]))
    if data is not None:
        report.rows = imports.rows(data, config, report.form)
    return report


def imported(report: Report) -> dict[Place, Any]:
    """The settings that conductor.json brings."""
    found: dict[Place, Any] = {}
    for row in report.rows:
        if row.became == "imported":
            found.setdefault(row.place, row.setting)
    return found


def carry_out(workspace: Workspace, report: Report, *, fresh: bool, dry_run: bool) -> None:
    """Write the scripts, the file that names them, and the settings; ``fresh``: ops/k1ctl.toml has been written with
    them just now. A file that is there is never replaced. Raises ConfigError, OSError."""
    report.scripts = scripts.put_scripts(workspace, dry_run=dry_run)
    text = file_text(report)
    report.written = not os.path.lexists(report.file)
    if report.written and not dry_run:
        os.makedirs(os.path.dirname(report.file), exist_ok=True)
        report.written = write_new(report.file, text)
    if not fresh:
        _add_settings(workspace, report, dry_run=dry_run)
    report.by_hand += [(r.place, _line(r.place, r.setting)) for r in report.rows if r.became == "add"]
    _note(workspace, report)


def file_text(report: Report) -> str:
    """The file that names the scripts; what conductor.json said about privacy goes with it."""
    text = scripts.source(scripts.EXAMPLES[report.form]).decode()
    if report.form == "toml" and _private(report):
        first, _, rest = text.partition("\n")
        text = f"{first}\nenterprise_data_privacy = true  # as conductor.json had it\n{rest}"
    return text


def _private(report: Report) -> bool:
    return any(row.key == "enterpriseDataPrivacy" and row.value == "true" for row in report.rows)


def _existing(path: str) -> dict[str, Any] | None:
    import json

    data = read_bytes(path)
    if data is None:
        return None
    try:
        value = json.loads(data.decode(), parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 at byte {exc.start}", file=path) from exc
    except json.JSONDecodeError as exc:
        raise ConfigError(f"{path}:{exc.lineno}: {exc.msg}", hint="Conductor cannot read it either", file=path) from exc
    except (ValueError, RecursionError) as exc:  # NaN, Infinity, 1e400, a number of 5000 digits, a thousand brackets
        text = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise ConfigError(f"{path}: {text}", hint="Conductor cannot read it either", file=path) from exc
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no JSON object", hint="Conductor cannot read it either", file=path)
    return value


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON (RFC 8259, 6)")


def _finite(text: str) -> float:
    return value if abs(value := float(text)) != float("inf") else _no_number(text)


def _add_settings(workspace: Workspace, report: Report, *, dry_run: bool) -> None:
    """Append a table for what ops/k1ctl.toml has no table for; what belongs into one that is there is only told.

    Under the file's lock, so that a `config set` at the same time is not lost; checked before it is written.
    """
    path = os.path.realpath(workspace.config_file)
    with nullcontext() if dry_run else Locked(path):
        old = (read_bytes(path) or b"").decode()
        _sort_settings(report, parse_tree(old, path))
        if report.added:
            start = old if old.endswith("\n") or not old else old + "\n"
            text = start + "\n".join(report.added) + "\n"
            parse_text(text, path)
            if not dry_run:
                replace_file(path, text)


def _sort_settings(report: Report, tree: dict[str, Any]) -> None:
    tables: dict[Place, list[str]] = {}
    for place, value in imported(report).items():
        if place[0] in tree:
            report.by_hand.append((place, _line(place, value)))
        else:
            tables.setdefault(place[:-1], []).append(_line(place, value))
    for table, lines in tables.items():
        report.added += ["", "# from conductor.json", header(table), *lines]


def _line(place: Place, value: Any) -> str:
    from k1ctl.settings import find

    setting = find(place)
    assert setting is not None
    return f"{place[-1]} = {toml_value(setting, value)}"


def _note(workspace: Workspace, report: Report) -> None:
    kept = [written.path for written in report.scripts if written.how == "kept"]
    report.notes += [f"{path} is not k1ctl's and is kept" for path in kept]
    name = os.path.relpath(report.file, workspace.root)
    if report.written:
        report.notes.append(f"commit {name}: {_LATER}")
    else:
        _compare(report, name)
    legacy = os.path.join(workspace.root, scripts.FILES["json"])
    if report.form == "toml" and os.path.lexists(legacy):
        report.notes.append("Conductor passes conductor.json over, because .conductor/settings.toml is there")
    wanted = [report.file, workspace.config_file, *(written.path for written in report.scripts)]
    hidden = " ".join(os.path.relpath(path, workspace.root) for path in scripts.ignored(workspace, wanted))
    if hidden:
        report.notes.append(f"git ignores what is to be committed: `git add -f {hidden}` takes it nevertheless")


def _compare(report: Report, name: str) -> None:
    """Say what an existing file has otherwise than ours."""
    hooks = ("setup", "run", "archive")
    if report.form == "json":
        found = {row.key: row for row in report.rows}
        same = all(f"scripts.{hook}" in found and found[f"scripts.{hook}"].became == "same" for hook in hooks)
        concurrent = "runScriptMode" not in found or found["runScriptMode"].value == "concurrent"
    else:
        import tomllib

        try:
            tree = tomllib.loads((read_bytes(report.file) or b"").decode())
        except ValueError as exc:
            report.notes.append(f"{name} is kept; it cannot be read: {exc}")
            return
        table = tree["scripts"] if isinstance(tree.get("scripts"), dict) else {}
        same = all(f"ops/hooks/conductor-{hook}" in str(table.get(hook, "")) for hook in hooks)
        concurrent = table.get("run_mode", "concurrent") == "concurrent"
        if _private(report) and not tree.get("enterprise_data_privacy"):
            report.notes.append(f"{name} lacks enterprise_data_privacy = true, which conductor.json has")
    if not same:
        report.notes.append(f"{name} is kept, and does not call all of ops/hooks; --dry-run --json shows how it could")
        if report.form == "json":
            report.notes.append(
                "k1ctl init --conductor toml writes .conductor/settings.toml, which Conductor reads instead of it"
            )
    if not concurrent:
        report.notes.append(f"{name}: {imports.MODE}")
