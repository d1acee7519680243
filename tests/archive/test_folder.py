"""Which archive is the newest."""

from __future__ import annotations

from pathlib import Path

from k1ctl.archive.folder import archives_folder, find, list_archives
from k1ctl.files import write_json
from k1ctl.testing import Project


def test_two_archives_of_one_second(workspace: Project) -> None:
    """Ids tell the second; the newest is the one that was made last, whatever its id ends with."""
    facts = workspace.facts()
    ids = ["20261121-184833-busy-ca", "20261121-184833-busy-cb", "20261121-184833-busy-aa"]
    for number, name in enumerate(ids):
        manifest = {"id": name, "at": f"2026-11-21T18:48:33.{number}00Z", "workspace": "busy"}
        folder = Path(archives_folder(facts)) / name
        folder.mkdir(parents=True)
        write_json(str(folder / "manifest.json"), manifest)
    assert [archive.id for archive in list_archives(facts)] == ids[::-1]
    assert find(facts, "busy").id == ids[-1]
