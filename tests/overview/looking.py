"""A look at a project, and what the tests of looks read of it."""

from __future__ import annotations

from typing import Any

from k1ctl import overview
from k1ctl.config import load
from k1ctl.overview import Overview
from tests.kit import Project

CONFIG = '[devices.k1]\nhost = "127.0.0.1"\nhttp_port = 9\n[targets.fw]\n[queue.slots]\n"build:fw" = 2\n'


def look(project: Project, **options: Any) -> Overview:
    facts = project.facts()
    return overview.look(facts, load(facts), **options)


def named(found: Overview, name: str) -> dict[str, Any]:
    [row] = [row for row in found.workspaces.rows if row["name"] == name]
    return row
