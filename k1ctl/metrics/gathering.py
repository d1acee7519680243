"""Asking every plugin for its samples: one that fails is told as a sample, and hides no other."""

from __future__ import annotations

import time

from k1ctl.errors import K1ctlError
from k1ctl.metrics import shared
from k1ctl.metrics.cardinality import bounded
from k1ctl.metrics.exposition import problem
from k1ctl.samples import GAUGE, INFO, Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace


class Gathered:
    """One scrape: its ``families``, {plugin: what went wrong} of those that ``failed``, and ``annex``: Annex B's JSON,
    of all there is, also of what is beyond ``[metrics] most``."""

    __slots__ = ("annex", "failed", "families")

    def __init__(self, families: list[Family], failed: dict[str, str], annex: dict[str, Any]) -> None:
        self.families, self.failed, self.annex = families, failed, annex

    def family(self, name: str) -> Family:
        """The family of this name; one without samples where there is none."""
        return next((f for f in self.families if f.name == name), Family(name, GAUGE, ""))


def gather(plugins: Plugins, workspace: Workspace, config: Config, *, aliases: bool | None = None) -> Gathered:
    """The samples of all plugins now, bounded by ``[metrics] most``, with the aliases where they are wanted (default:
    ``[metrics] aliases``). Never raises for what a plugin does."""
    from k1ctl import __version__
    from k1ctl.metrics import aliases as older

    up = Family("k1_collector_up", GAUGE, "Whether a plugin told its samples (1) or failed (0).")
    took = Family("k1_collector_duration_seconds", GAUGE, "How long a plugin took to tell its samples.")
    found: dict[str, tuple[str, Family]] = {}
    failed: dict[str, str] = {}
    with shared.scrape():
        begun = time.perf_counter()
        for name, answer in plugins.each("k1ctl_samples", workspace=workspace, config=config):
            try:
                why = answer.message if isinstance(answer, K1ctlError) else _take(name, answer, found)
            except (TypeError, ValueError, AttributeError) as exc:  # samples of a shape that `Family.add` never makes
                why = f"samples that are none: {exc}"
            if why:
                failed[name] = why
            up.add(0 if why else 1, plugin=name)
            ended = time.perf_counter()
            took.add(round(ended - begun, 6), plugin=name)
            begun = ended
    families = [family for _, family in found.values()]
    annex = older.document({family.name: family for family in families}, config)
    if config.get("metrics", "aliases") if aliases is None else aliases:
        families += older.of({family.name: family for family in families}, config)
    families, beyond = _bounded(families, int(config.get("metrics", "most")))
    own = [
        Family("k1_build", INFO, "The version of k1ctl.").add(1, version=__version__),
        Family("k1_exported_at_seconds", GAUGE, "When these samples were taken, in seconds since 1970.").add(
            round(time.time(), 3)
        ),
        Family("k1_export_period_seconds", GAUGE, "How often they are to be taken ([metrics] period).").add(
            float(config.get("metrics", "period"))
        ),
    ]
    return Gathered([*families, *([beyond] if beyond.samples else []), up, took, *own], failed, annex)


def _take(plugin: str, answer: list[object], found: dict[str, tuple[str, Family]]) -> str:
    """Put a plugin's families among those found; what is wrong with them. None of a plugin that errs counts."""
    mine: dict[str, Family] = {}
    for family in answer:
        why = problem(family)
        if why:
            return why
        assert isinstance(family, Family)
        if family.name in mine or family.name in found:
            whose = found[family.name][0] if family.name in found else plugin
            return f"{family.name} is a family of plugin {whose} already"
        mine[family.name] = family
    found.update({name: (plugin, family) for name, family in mine.items()})
    return ""


def _bounded(families: list[Family], most: int) -> tuple[list[Family], Family]:
    beyond = Family("k1_labels_beyond", GAUGE, "Values of labels that were too many, and joined as other or left out.")
    kept = []
    for family in families:
        small, count = bounded(family, most)
        kept.append(small)
        if count:
            beyond.add(count, family=family.name)
    return kept, beyond
