"""The generated references say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pluggy

from k1ctl import hookspecs

DOCS = Path(__file__).parent.parent / "docs"


def test_references_have_not_drifted() -> None:
    """docs/hooks.md and docs/commands.md are what docs/generate.py writes from the live code."""
    done = subprocess.run([sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_every_hook_has_a_heading() -> None:
    """Each hook of the live plugin manager has a heading that begins with its name."""
    manager = pluggy.PluginManager("k1ctl")
    manager.add_hookspecs(hookspecs)
    headings = [line for line in (DOCS / "hooks.md").read_text().splitlines() if line.startswith("## ")]

    assert sorted(vars(manager.hook)) == sorted(h[3:].partition("(")[0] for h in headings)


def test_readme_names_every_command() -> None:
    """Every command that ships stands in the README."""
    from k1ctl.discovery import entry_points

    readme = (DOCS.parent / "README.md").read_text()

    assert [name for name in entry_points() if f"k1ctl {name}" not in readme] == []
