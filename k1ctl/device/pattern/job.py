"""What the call and the worker of a pattern test agreed on: files of the run folder, states of a result."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

JOB, OUTCOME = "test.json", "test-outcome.json"
PASSED, FAILED, VOID, SKIPPED = STATES = ("passed", "failed", "void", "skipped")  # void: it says nothing
EXIT_SKIPPED = 77
CURRENT = ""  # in place of a pattern's id: the one that is shown


def nothing_measured() -> dict[str, Any]:
    """What stands in a result before anything is measured."""
    return {"figures": {}, "details": {}, "baseline": None, "recorded": False, "findings": [], "warnings": []}
