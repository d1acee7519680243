"""All of a device's metrics as one report, as Prometheus' text, and as lines for people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from k1ctl.device import health, metrics
from k1ctl.device.verdict import ANSWERED, CODES, EXIT_CODES, HEALTH, INFO, OFFLINE, judge
from k1ctl.errors import BusyError, K1ctlError, UnreachableError, UsageError
from k1ctl.output import clean
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_NAMES = {HEALTH: "health", INFO: "info", **{e.path: e.name for e in metrics.ENDPOINTS}}


def collect(workspace: Workspace, config: Config, name: str | None, timeout: float) -> dict[str, Any]:
    """{ok, device, host, partial, endpoints{path: document}, missing[{path, code, message}], ...}, within ``timeout``.

    Health and info come from the probe that all askers share. Raises K1ctlError: another device (exit 65), nobody
    there (69); UsageError, ConfigError, BusyError (code probe-busy).
    """
    if timeout <= 0:
        raise UsageError("--timeout must be more than 0")
    begun = time.monotonic()
    name = name or str(config.get("defaults", "device"))
    device = {**config.named("devices", name), "name": name}
    window, patience = float(config.get("device", "window")), min(float(device["probe_timeout"]), timeout / 3)
    record = health.ask(workspace, device, window=window, timeout=patience)
    verdict = judge(record, device)
    if not verdict.reachable:
        error = K1ctlError(
            f"{name}: {verdict.message}", hint=verdict.hint, code=CODES.get(verdict.state, OFFLINE), device=name
        )
        error.exit_code = EXIT_CODES[verdict.state]
        raise error
    found: dict[str, Any] = {}
    missing: list[dict[str, Any]] = []
    for path in (HEALTH, INFO):
        answer = record["answers"][path]
        if answer.get("document"):
            found[path] = metrics.bounded(answer["document"])
        else:
            reason = answer["message"] or f"the probe had no time for it ({answer['outcome']})"
            missing.append({"path": path, "code": answer["code"] or "no-time", "message": reason})
    more, lacking = metrics.collect(device, begun + timeout)
    if not found and not more:
        raise _nothing(name, [*missing, *lacking])
    return {
        "ok": True,
        "device": name,
        "host": device["host"],
        "identity": verdict.values["identity"],
        "mac": verdict.values["mac"],
        "collected_at": rfc3339(),
        "seconds": round(time.monotonic() - begun, 3),
        "partial": bool(missing or lacking),
        "shared": record["age_seconds"] > 0 and record["answers"][HEALTH]["outcome"] == ANSWERED,
        "endpoints": {**found, **more},
        "missing": [*missing, *lacking],
    }


def _nothing(name: str, missing: list[dict[str, Any]]) -> K1ctlError:
    """The error for a device that is there and told nothing."""
    if any(row["code"] == "device-rate-limited" for row in missing):
        text = f"{name} is alive but answered 429 to everything"
        return BusyError(text, hint="others poll it too often; try again", code="device-rate-limited")
    return UnreachableError(f"{name} told nothing: {missing[0]['message']}", code="device-silent")


def prometheus(report: dict[str, Any]) -> str:
    """Prometheus' text format: a gauge for each figure, and ``k1_endpoint_up`` for each endpoint."""
    label = f'device="{_escaped(report["device"])}"'
    rows: dict[str, list[str]] = {}
    for path in _NAMES:
        up = path in report["endpoints"]
        rows.setdefault("k1_endpoint_up", []).append(f'{{{label},path="{path}"}} {int(up)}')
        for key, value in _figures(path, report["endpoints"].get(path, {})):
            if key not in rows:  # two keys that differ only in what a name cannot have
                rows[key] = [f"{{{label}}} {value!r}"]
    lines = []
    for key, samples in rows.items():
        lines += [f"# TYPE {key} gauge", *(f"{key}{sample}" for sample in samples)]
    return "\n".join(lines) + "\n"


def _figures(path: str, document: dict[str, Any]) -> list[tuple[str, float]]:
    if path == "/metrics":  # they have their names already
        return list(document.items())
    return list(metrics.figures(_NAMES[path], document))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def lines(report: dict[str, Any]) -> list[str]:
    """One line for each endpoint: its figures by their names."""
    told = []
    for path, document in report["endpoints"].items():
        prefix = f"k1_{_NAMES[path]}_"
        figures = [f"{key.removeprefix(prefix)}={value:.10g}" for key, value in _figures(path, document)]
        told.append(clean(f"{path}: {' '.join(figures) or '-'}"))
    return told
