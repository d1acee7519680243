"""A report as JUnit XML, in the shape that Jenkins' junit-10.xsd describes and that CI systems read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as xml

from k1ctl.device.pattern.baseline import FIGURES, figure_text
from k1ctl.device.pattern.job import FAILED, SKIPPED, STATES, VOID

if TYPE_CHECKING:
    from collections.abc import Iterable

_ELEMENTS = {FAILED: "failure", VOID: "error", SKIPPED: "skipped"}


def document(found: dict[str, Any], at: str) -> bytes:
    """The report as an XML document; ``at`` is when it was made (RFC 3339)."""
    rows = found["results"]
    counts = {state: str(sum(row["state"] == state for row in rows)) for state in STATES}
    suite = xml.Element(
        "testsuite",
        name=_text(f"k1ctl device test {found['device']}"),
        tests=str(len(rows)),
        failures=counts[FAILED],
        errors=counts[VOID],
        skipped=counts[SKIPPED],
        time=_seconds(rows),
        timestamp=at[:19],
        hostname=_text(found.get("host", "")),
    )
    for row in rows:
        _case(suite, found["device"], row)
    talk = [found["message"], (found.get("restored") or {}).get("message", "")]
    if any(talk):
        xml.SubElement(suite, "system-out").text = _text("\n".join(line for line in talk if line))
    whole = xml.Element("testsuites", name="k1ctl", time=_seconds(rows), tests=str(len(rows)))
    whole.set("failures", counts[FAILED])
    whole.set("errors", counts[VOID])
    whole.append(suite)
    xml.indent(whole)
    written: bytes = xml.tostring(whole, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def unstarted(device: str, patterns: list[str], code: str, message: str) -> dict[str, Any]:
    """A report of patterns that could not even be begun, as when the wait in line timed out."""
    row = {"state": VOID, "code": code, "message": message, "seconds": 0.0, "figures": {}, "warnings": []}
    return {"device": device, "message": "", "results": [{**row, "pattern": word} for word in patterns]}


def _case(suite: xml.Element, device: str, row: dict[str, Any]) -> None:
    name, where = _text(row["pattern"]), _text(f"k1ctl.device.{device}")
    case = xml.SubElement(suite, "testcase", classname=where, name=name, time=_seconds([row]))
    element = _ELEMENTS.get(row["state"])
    if element:
        told = xml.SubElement(case, element, message=_text(row["message"]))
        if element != "skipped":
            told.set("type", _text(row["code"]))
    figures = [figure_text(name, row["figures"][name]) for name in FIGURES if name in row["figures"]]
    lines = [", ".join(figures), *row["warnings"]]
    if any(lines):
        xml.SubElement(case, "system-out").text = _text("\n".join(line for line in lines if line))


def _seconds(rows: Iterable[dict[str, Any]]) -> str:
    return f"{sum(row['seconds'] for row in rows):.3f}"


def _text(text: str) -> str:
    """``text`` with a ? for each character that XML 1.0 has no place for, not even as a reference."""
    return "".join(c if _allowed(ord(c)) else "?" for c in text)


def _allowed(code: int) -> bool:
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF
