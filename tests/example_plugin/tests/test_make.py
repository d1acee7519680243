"""k1ctl-make, tried with k1ctl's own kit."""

from __future__ import annotations

import pytest

from k1ctl.testing import Project

pytest_plugins = ["k1ctl.testing.fixtures"]

MAKEFILE = """\
firmware.bin: source
\tcp source firmware.bin
\t@echo 'source:1: warning: it is only copied'
clean:
\trm -f firmware.bin
"""


@pytest.fixture
def project(workspace: Project) -> Project:
    """A repository whose firmware is built with make."""
    workspace.write("firmware/Makefile", MAKEFILE)
    workspace.write("firmware/source", "the image\n")
    workspace.configure('[targets.fw]\nkind = "make"\nchip = "none"\n')
    return workspace


def test_a_build_is_kept_as_an_artifact(project: Project) -> None:
    """What make leaves is the artifact's image, and its warnings are counted."""
    outcome = project.run("build", "fw", "--json").assert_ok()
    assert outcome.json["warning_count"] == 1
    assert "firmware/firmware.bin" in outcome.changed
    (image,) = project.ops.glob("artifacts/fw/*/firmware.bin")
    assert image.read_text() == "the image\n"


def test_the_command_tells_what_is_out_of_date(project: Project) -> None:
    """Before a build no, after it yes, and looking changes nothing."""
    looked = project.run("make").assert_ok()
    assert looked.stdout.split()[-2:] == ["fw", "no"]
    assert looked.changed == ()
    project.run("build", "fw").assert_ok()
    (row,) = project.run("make", "--json").assert_ok().json
    assert row["up_to_date"] is True


def test_without_a_makefile_it_says_so(workspace: Project) -> None:
    """A wrong folder is a matter of configuration: exit 78 and the setting to change."""
    workspace.configure('[targets.fw]\nkind = "make"\npath = "elsewhere"\n')
    workspace.run("make").assert_fails(78, "has no Makefile", "set path in [targets.fw]")
