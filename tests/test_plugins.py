"""Loading: one plugin for a command, all for a broadcast, a broken one alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from k1ctl.plugins import PluginError, Plugins

GOOD = """
import click
from k1ctl.hookspecs import hookimpl
@click.command("{name}")
def hello(): click.echo("hello")
@hookimpl
def k1ctl_command(): return hello
@hookimpl
def k1ctl_build_kinds(): return []
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_only_the_plugin_that_is_asked_for_is_imported(folder: Path) -> None:
    """A command loads its own module and no other."""
    (folder / "p_one.py").write_text(GOOD.format(name="one"))
    (folder / "p_two.py").write_text(GOOD.format(name="two"))
    plugins = Plugins({"one": "p_one", "two": "p_two"})
    assert plugins.command("one").name == "one"
    assert "p_two" not in sys.modules
    assert plugins.command("one") is plugins.command("one")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import no_such_module_at_all", "no_such_module_at_all"),
        ("raise SystemError('odd')", "odd"),
        ("def (", "SyntaxError"),
        ("x = 1", "adds no command"),
        (GOOD.format(name="other"), "must be equal"),
        (
            "from k1ctl.hookspecs import hookimpl\n@hookimpl\ndef k1ctl_no_such_hook(): pass",
            "k1ctl_no_such_hook",
        ),
    ],
)
def test_a_broken_plugin_is_named_with_its_cause(source: str, text: str, folder: Path) -> None:
    """Whatever is wrong with a plugin: its name, its module and the cause, in one error."""
    (folder / "p_bad.py").write_text(source)
    with pytest.raises(PluginError, match=r"plugin bad \(p_bad\)|plugin bad names") as caught:
        Plugins({"bad": "p_bad"}).command("bad")
    assert text in caught.value.message


def test_a_broadcast_reaches_all_that_load(folder: Path) -> None:
    """load_all remembers what is broken and calls the rest."""
    (folder / "p_ok.py").write_text(GOOD.format(name="ok"))
    (folder / "p_sad.py").write_text("import no_such_module_at_all")
    plugins = Plugins({"ok": "p_ok", "sad": "p_sad"})
    assert plugins.load_all().k1ctl_build_kinds() == [[]]
    assert list(plugins.broken) == ["sad"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("return None", ""),
        ("return 7", "TypeError"),
        ("yield 1; raise OSError('late')", "OSError: late"),
        ("return [][0]", "IndexError"),
    ],
)
def test_a_plugin_whose_hook_fails_fails_alone(body: str, text: str, folder: Path) -> None:
    """Whatever a hook does, the others' answers come, and what went wrong is one line that names the plugin."""
    head = "from k1ctl.hookspecs import hookimpl\n@hookimpl\ndef k1ctl_build_kinds():\n    "
    (folder / "p_a.py").write_text(head + body)
    (folder / "p_b.py").write_text(head + "return ['kind']")
    (folder / "p_c.py").write_text("raise RuntimeError('a\\nb')")
    answers = dict(Plugins({"a": "p_a", "b": "p_b", "c": "p_c"}).each("k1ctl_build_kinds"))
    assert answers["b"] == ["kind"]
    failed = [answers["c"]] + ([answers["a"]] if text else [])
    assert all(isinstance(e, PluginError) and "\n" not in e.message for e in failed)
    assert not text or text in str(answers["a"])
