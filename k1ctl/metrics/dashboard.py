"""The dashboard for Grafana: made here, so that no panel asks for a name that nobody tells."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WHERE = 'instance=~"$instance"'
_WIDTH = 24  # columns that Grafana has
# rows of panels: (title, type, unit, [(expression, legend)]); WHERE stands for the choice of instances
_ROWS: tuple[tuple[str, tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...]], ...] = (
    (
        "Now",
        (
            (
                "Workspaces that work",
                "stat",
                "none",
                (('sum(k1_workspaces{WHERE,status=~"running|waiting|active"})', ""),),
            ),
            ("Wait for a device", "stat", "none", (('sum(k1_queue_waiting{WHERE,resource=~"device:.*"})', ""),)),
            (
                "Went well lately",
                "stat",
                "percentunit",
                (
                    (
                        'sum(k1_recent_outcomes{WHERE,verdict="good",kind=~"build|upload|test"})'
                        ' / sum(k1_recent_outcomes{WHERE,verdict=~"good|bad",kind=~"build|upload|test"})',
                        "",
                    ),
                ),
            ),
            ("Devices that answer", "stat", "none", (("sum(k1_device_up{WHERE})", ""),)),
            ("Disk of the root", "gauge", "percentunit", (("k1_disk_used_ratio{WHERE}", "{{instance}}"),)),
            ("Age of the samples", "stat", "s", (("time() - k1_exported_at_seconds{WHERE}", "{{instance}}"),)),
        ),
    ),
    (
        "Queue",
        (
            ("Waiting", "timeseries", "none", (("k1_queue_waiting{WHERE}", "{{resource}}"),)),
            (
                "Slots in use",
                "timeseries",
                "percentunit",
                (("k1_queue_held{WHERE} / k1_queue_slots{WHERE}", "{{resource}}"),),
            ),
            (
                "Wait, 9 of 10",
                "timeseries",
                "s",
                (
                    (
                        "histogram_quantile(0.9, sum by (resource, le)"
                        " (rate(k1_queue_wait_seconds_bucket{WHERE}[$__rate_interval])))",
                        "{{resource}}",
                    ),
                ),
            ),
        ),
    ),
    (
        "Work",
        (
            ("Builds", "timeseries", "none", (("increase(k1_builds_total{WHERE}[1h])", "{{target}} {{result}}"),)),
            ("Uploads", "timeseries", "none", (("increase(k1_uploads_total{WHERE}[1h])", "{{target}} {{result}}"),)),
            (
                "How long, 9 of 10",
                "timeseries",
                "s",
                (('k1_recent_percentile_seconds{WHERE,percentile="90"}', "{{kind}}"),),
            ),
            (
                "Steps from a cache",
                "timeseries",
                "percentunit",
                (("k1_build_recent_cache_hits{WHERE} / k1_build_recent_steps{WHERE}", "{{target}}"),),
            ),
        ),
    ),
    (
        "Devices",
        (
            ("Frames a second", "timeseries", "none", (("k1_device_fps{WHERE}", "{{device}}"),)),
            ("Free memory", "timeseries", "bytes", (("k1_device_heap_free_bytes{WHERE}", "{{device}}"),)),
            ("Signal", "timeseries", "dBm", (("k1_device_rssi_dbm{WHERE}", "{{device}}"),)),
        ),
    ),
    (
        "Host and budget",
        (
            (
                "Memory",
                "timeseries",
                "bytes",
                (
                    ("k1_host_memory_bytes{WHERE} - k1_host_memory_available_bytes{WHERE}", "in use"),
                    ('k1_capacity_promised_bytes{WHERE,resource="mem"}', "promised"),
                    ('k1_capacity_limit_bytes{WHERE,resource="mem"}', "may be promised"),
                ),
            ),
            ("What stalls", "timeseries", "percentunit", (("k1_host_stalled_ratio{WHERE}", "{{resource}} {{share}}"),)),
            (
                "Tokens",
                "timeseries",
                "none",
                (
                    ('k1_budget_spent_tokens{WHERE,scope="day"}', "spent"),
                    ('k1_budget_held_tokens{WHERE,scope="day"}', "held"),
                    ('k1_budget_limit_tokens{WHERE,scope="day"}', "limit"),
                ),
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it (schema 39: Grafana 10 and later; its documentation calls the model classic).

    ``id`` is Grafana's own and null in a file; the data source is a variable, so that nobody has to name one.
    """
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in _ROWS:
        at = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
        begin = {"type": "row", "title": title, "collapsed": False, "gridPos": at, "panels": []}
        panels.append({"id": len(panels) + 1, **begin})
        height, width = (4 if row[0][1] == "stat" else 8), _WIDTH // len(row)
        for number, (name, kind, unit, queries) in enumerate(row):
            place = {"h": height, "w": width, "x": number * width, "y": top + 1}
            panels.append({"id": len(panels) + 1, **_panel(name, kind, unit, queries), "gridPos": place})
        top += height + 1
    return {
        "id": None,
        "title": "k1ctl",
        "uid": "k1ctl",
        "tags": ["k1ctl"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "annotations": {"list": []},
        "links": [],
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _instance()]},
        "panels": panels,
    }


def _panel(title: str, kind: str, unit: str, queries: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    targets = []
    for letter, (expr, legend) in zip("ABCDE", queries, strict=False):
        query = {"expr": expr.replace("WHERE", _WHERE), "legendFormat": legend}
        targets.append({"refId": letter, "datasource": _SOURCE, **query})
    ratio = {"min": 0, "max": 1} if unit == "percentunit" else {}
    defaults = {"defaults": {"unit": unit, **ratio}, "overrides": []}
    return {"type": kind, "title": title, "datasource": _SOURCE, "fieldConfig": defaults, "targets": targets}


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _instance() -> dict[str, Any]:
    query = "label_values(k1_exported_at_seconds, instance)"
    return {
        "name": "instance",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "instances"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
