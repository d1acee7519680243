"""Which archive is the newest."""

from __future__ import annotations

import os
from pathlib import Path

from k1ctl.archive.folder import archives_folder, find, list_archives
from k1ctl.archive.planning import ScratchFolder
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


def test_what_a_killed_look_left_goes(workspace: Project) -> None:
    """The folder of a look that nobody holds is taken away by a later one; that of a look under way stays."""
    facts = workspace.facts()
    with ScratchFolder(facts) as live:
        killed = Path(live).with_name("look-killed")
        (killed / "inner").mkdir(parents=True)
        for folder in (live, str(killed)):
            os.utime(folder, (1, 1))
        with ScratchFolder(facts) as other:
            assert sorted(path for path in os.listdir(Path(live).parent) if path.startswith("look-")) == sorted(
                os.path.basename(path) for path in (live, other)
            )
    assert not Path(live).exists() and not Path(other).exists()
