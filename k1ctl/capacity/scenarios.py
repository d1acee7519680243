"""The annex's four loads: light, mixed, heavy, and a burst, as documented and in proportion to what is usual here.

The annex gives workspaces, slots, build times and a range of minutes for a turn, and no think times: those here (18,
14, 18 minutes) are the ones with which 4 slots and 1 device give the annex's minutes as the p90 of a turn. That is a
calibration and no proof. Read as means its minutes would need light builds of 4 to 6 minutes.
"""

from __future__ import annotations

from k1ctl.capacity.queueing import Kind, Model

SLOTS, DEVICES, CV = 4, 1, 0.6  # the annex's slots and device; variation of builds and uploads
TURN_GOAL = 900.0  # s: the annex's "agent turn <= 15 min"
UPLOAD_GOAL = 60.0  # s: the annex's "time to upload <= 1 min p90"


class Scenario:
    """A load: ``agents``, and the means in seconds of ``think``, ``build`` and ``upload``; ``uploads``, the share of
    turns that upload; ``burst``: all at once. ``annex``: its minutes for a turn, None where it gives none."""

    __slots__ = ("agents", "annex", "build", "burst", "name", "think", "upload", "uploads")

    def __init__(
        self,
        name: str,
        agents: int,
        think: float,
        build: float,
        upload: float,
        uploads: float,
        annex: tuple[int, int] | None,
        *,
        burst: bool = False,
    ) -> None:
        self.name, self.agents, self.think, self.build = name, agents, think * 60, build * 60
        self.upload, self.uploads, self.annex, self.burst = upload * 60, uploads, annex, burst


SCENARIOS = {  # minutes
    s.name: s
    for s in (
        Scenario("light", 12, 18, 3.0, 0.6, 0.5, (5, 7)),
        Scenario("mixed", 12, 14, 4.5, 0.7, 0.6, (8, 10)),
        Scenario("heavy", 16, 18, 5.5, 0.8, 0.6, (12, 15)),
        Scenario("burst", 20, 14, 4.5, 0.7, 0.6, None, burst=True),
    )
}
USUAL = SCENARIOS["mixed"]  # what the others are measured against


def documented(name: str, *, kind: str = "fw") -> Model:
    """The scenario as the annex has it, with its 4 slots and 1 device. Raises KeyError."""
    one = SCENARIOS[name]
    kinds = [Kind(kind, SLOTS, one.build, uploads=one.uploads, cv=CV)]
    return Model(one.agents, one.think, kinds, one.upload, devices=DEVICES, upload_cv=CV, burst=one.burst)


def scaled(name: str, usual: Model, *, agents: int = 0) -> Model:
    """The scenario on a host whose ``usual`` load is known: light is to the usual load as the annex's light is to its
    mixed. Slots, devices and hosts stay; ``agents`` stands in for the scenario's number. Raises KeyError."""
    one = SCENARIOS[name]
    uploads = one.uploads / USUAL.uploads
    kinds = [
        k.changed(seconds=k.seconds * one.build / USUAL.build, uploads=min(1.0, k.uploads * uploads))
        for k in usual.kinds
    ]
    return usual.changed(
        agents=agents or one.agents,
        think=usual.think * one.think / USUAL.think,
        kinds=kinds,
        upload=usual.upload * one.upload / USUAL.upload,
        burst=one.burst,
    )


def waves(model: Model) -> float:
    """The last of a burst by the rule of thumb: full waves of builds, and one upload; seconds. It leaves out that
    builds differ, so the real last one is later."""
    from math import ceil

    slots = sum(k.slots for k in model.kinds) * model.hosts
    built = sum(share * k.seconds for share, k in zip(model.shares, model.kinds, strict=True))
    return ceil(model.agents / slots) * built + (model.upload if model.uploads else 0.0)
