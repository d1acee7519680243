"""The files for Prometheus and Grafana, of a configuration.

- ``prometheus.yml``             scrapes `k1ctl metrics serve` and loads the rules
- ``k1ctl.rules.yml``            alerts
- ``k1ctl.objectives.yml``       recording rules and alerts for objectives
- ``k1ctl.rules.test.yml``, ``k1ctl.objectives.test.yml``  for `promtool test rules`: both sides of each alert
- ``k1ctl.dashboard.json``       for Grafana

Those of the defaults are in the package, in ``k1ctl/metrics/data``.
"""

from __future__ import annotations

import json
import re

from k1ctl.metrics import alertrules, burnrules
from k1ctl.metrics.burnrules import short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.metrics.alertrules import Alert, Case

RULES, OBJECTIVES, PROMETHEUS, DASHBOARD = (
    *("k1ctl.rules.yml", "k1ctl.objectives.yml", "prometheus.yml", "k1ctl.dashboard.json"),
)
SCRAPED = 120.0  # s between scrapes at most: a sample of 5 minutes ago is none to Prometheus, and one scrape may fail
NOTE = "# Written by `k1ctl metrics rules`, from [alerts] and [slo] of ops/k1ctl.toml.\n"
_OURS = b'"uid": "k1ctl"'


def files(config: Config) -> dict[str, str]:
    """{name: text}. Raises ConfigError."""
    from k1ctl.metrics.dashboard import dashboard

    plain, burning = [*alertrules.alerts(config)], [*burnrules.alerts(config)]
    records = [_record(*each) for each in burnrules.records(config)] if burning else []
    return {
        PROMETHEUS: NOTE + block(_prometheus(config)),
        RULES: NOTE + block(_groups("k1ctl", [_alert(alert) for alert in plain])),
        OBJECTIVES: NOTE + block(_groups("k1ctl-objectives", records + [_alert(alert) for alert in burning])),
        cases_of(RULES): NOTE + block(_tests(RULES, plain, alertrules.STEP, alertrules.STEP)),
        cases_of(OBJECTIVES): NOTE + block(_tests(OBJECTIVES, burning, burnrules.STEP, burnrules.EVALUATED)),
        DASHBOARD: json.dumps(dashboard(), indent=2) + "\n",
    }


def write(folder: str, texts: dict[str, str], *, dry_run: bool = False) -> list[dict[str, str]]:
    """Write files; each {path, state}: written, unchanged, or kept, as it is somebody else's. Raises K1ctlError
    (metrics-unwritable)."""
    import os

    from k1ctl.errors import K1ctlError
    from k1ctl.files import read_bytes, write_atomic

    rows = []
    for name, text in texts.items():
        path = os.path.join(folder, name)
        try:
            there = read_bytes(path)
            ours = there is None or there.startswith(NOTE.encode()) or (name == DASHBOARD and _OURS in there)
            state = "unchanged" if there == text.encode() else "written" if ours else "kept"
            if state == "written" and not dry_run:
                write_atomic(path, text)
                os.chmod(path, 0o644)  # Prometheus and Grafana are other users; there is nothing secret in it
        except OSError as exc:
            raise K1ctlError(f"{path} was not written: {exc.strerror}", code="metrics-unwritable", path=path) from exc
        rows.append({"path": path, "state": state})
    return rows


def cases_of(name: str) -> str:
    """The file with the tests of a file of rules."""
    return name.replace(".yml", ".test.yml")


def _groups(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"groups": [{"name": name, "rules": rules}] if rules else []}


def _prometheus(config: Config) -> dict[str, Any]:
    from k1ctl.errors import ConfigError

    seconds = float(config.get("metrics", "period"))
    if not seconds:
        raise ConfigError("metrics.period is 0: samples would be stale at once", key="metrics.period")
    period = short(min(seconds, SCRAPED))
    target = f"127.0.0.1:{config.get('metrics', 'port') or 8080}"
    return {
        "global": {"scrape_interval": period, "evaluation_interval": period},
        "rule_files": [RULES, OBJECTIVES],
        "scrape_configs": [{"job_name": "k1ctl", "static_configs": [{"targets": [target]}]}],
    }


def _record(name: str, expr: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"record": name, "expr": expr, "labels": labels}


def _alert(alert: Alert) -> dict[str, Any]:
    lasting = {"for": short(alert.lasting)} if alert.lasting else {}
    return {
        "alert": alert.name,
        "expr": alert.expr,
        **lasting,
        "labels": {"severity": alert.severity, **alert.labels},
        "annotations": {"summary": alert.summary, "advice": alert.advice},
    }


def _tests(file: str, found: Iterable[Alert], step: float, evaluated: float) -> dict[str, Any]:
    tests = [*_cases(found, short(step))]
    return {"rule_files": [file], "evaluation_interval": short(evaluated), "tests": tests}


def _cases(found: Iterable[Alert], step: str) -> Iterable[dict[str, Any]]:
    for alert in found:
        for number, case in enumerate(alert.cases, 1):
            what = " ".join([alert.name, *alert.labels.values(), "fires" if case.fires else "does not fire"])
            yield {
                "name": f"{what} ({number})",
                "interval": step,
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "alert_rule_test": [{"eval_time": short(case.at), "alertname": alert.name, **_expected(alert, case)}],
            }


def _expected(alert: Alert, case: Case) -> dict[str, Any]:
    rows = []
    for own in case.fires:
        labels = {**own, **alert.labels, "severity": alert.severity}
        texts = {"summary": alert.summary, "advice": alert.advice}
        filled = {key: _filled(text, labels, case.value) for key, text in texts.items()}
        rows.append({"exp_labels": labels, "exp_annotations": filled})
    return {"exp_alerts": rows} if rows else {}


def _filled(text: str, labels: dict[str, str], value: str) -> str:
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), text)
    return re.sub(r"\{\{ \$value.*?\}\}", value, text)


def block(value: Any, depth: int = 0) -> str:
    """A document as YAML in block style, every text quoted as in JSON, which is YAML; long ones as literal blocks."""
    pad = "  " * depth
    if isinstance(value, dict):
        return "".join(f"{pad}{key}:{_member(each, depth)}" for key, each in value.items())
    return "".join(
        f"{pad}- {block(each, depth + 1).lstrip()}" if _nested(each) else f"{pad}- {_scalar(each)}\n" for each in value
    )


def _member(value: Any, depth: int) -> str:
    if _nested(value):
        return "\n" + block(value, depth + 1)
    if isinstance(value, str) and "\n" in value:
        pad = "  " * (depth + 1)
        return " |-\n" + "".join(f"{pad}{line}\n" for line in value.splitlines())
    return f" {_scalar(value)}\n"


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _scalar(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w:./-]*", value) and value.lower() not in _WORDS
    return value if plain else json.dumps(value, ensure_ascii=False)


_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
