"""docs/first-flash.md: what it says to type can be typed, and does what the page says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from k1ctl.cli import cli
from tests.firmware import need_pio
from tests.kit import REPOSITORY
from tests.usb import need_esptool

PAGE = (REPOSITORY / "docs" / "first-flash.md").read_text()
TYPED = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FENCED = "".join(re.findall(r"^```\w*\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
CALLS = re.findall(r"`(k1ctl [^`\n]+)`", PAGE) + re.findall(r"^(k1ctl .*)$", FENCED, re.MULTILINE)


@pytest.mark.parametrize("call", sorted(set(CALLS)))
def test_every_call_is_understood(call: str) -> None:
    """Each call on the page names a command that there is, with options that it has."""
    words = shlex.split(re.split(r" +[>|#]", call)[0])[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="k1ctl")
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words.pop(0))
        assert found is not None, call
        command, context = found, click.Context(found, info_name=found.name, parent=context)
    if not isinstance(command, click.Group):
        command.make_context(command.name, words, parent=context.parent)


def test_every_page_it_links_to_is_there() -> None:
    """No link leads nowhere."""
    links = set(re.findall(r"\]\(([\w.-]+\.md)\)", PAGE))
    assert links and [link for link in links if not (REPOSITORY / "docs" / link).exists()] == []


@pytest.mark.soak
def test_the_page_as_it_is_typed(tmp_path: Path) -> None:
    """In a fresh folder: all blocks one after the other end with 0, and the device was flashed as the page tells."""
    need_pio()
    need_esptool()
    script = "set -e\n" + "\n".join(TYPED)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    installed = [line for line in done.stdout.splitlines() if line.startswith("installed: ")]
    assert len(installed) == 3 and "soak 2.0 s ok" in installed[0] and "over USB" in installed[1]
    truth = (tmp_path / "desk" / "ops" / "device" / "sim-k1" / "flashes.jsonl").read_text().splitlines()
    flashes = [json.loads(line) for line in truth]
    assert [(f["transport"], f["outcome"], f["why"]) for f in flashes] == [
        ("ota", "installed", ""),
        ("usb", "installed", ""),
        ("ota", "installed", "lost-ok"),
        ("ota", "installed", ""),
    ]
