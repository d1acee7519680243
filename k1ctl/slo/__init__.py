"""Objectives: what has to be good, how much of it, and what is left of what may be bad.

`look` makes each of ``[slo.NAME]`` from the tally of all events: whether it is kept in its window, its error budget,
whether that burns (`burn`), and the steps that its failures ask for (`steps`).
"""

from __future__ import annotations

from k1ctl.slo.objectives import BROKEN, KEPT, UNKNOWN, Objective, look, rules

__all__ = ["BROKEN", "KEPT", "UNKNOWN", "Objective", "look", "rules"]
