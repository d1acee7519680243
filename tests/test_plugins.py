"""Loading: one plugin for a command, all for a broadcast, a broken one alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pluggy
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
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        (GOOD.format(name="bad").replace("return hello", "return 7"), "not a click.Command"),
        (GOOD.format(name="bad").replace("return hello", "raise OSError('late')"), "OSError: late"),
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


@pytest.mark.parametrize("entry", ["p_ok:plugin", "p_ok [extra]"])
def test_an_entry_point_that_names_more_than_a_module_is_told(entry: str, folder: Path) -> None:
    """Other programs take MODULE:OBJECT there; the hint says what k1ctl takes."""
    (folder / "p_ok.py").write_text(GOOD.format(name="ok"))
    with pytest.raises(PluginError) as caught:
        Plugins({"ok": entry}).command("ok")
    assert "name of a module" in caught.value.hint and entry in caught.value.message


def test_what_a_plugin_prints_is_talk(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """stdout is the command's data: a plugin that prints while it is loaded or asked breaks no JSON document."""
    source = "print('at import')\n" + GOOD.format(name="ok").replace("return []", "print('asked'); return ['kind']")
    (folder / "p_ok.py").write_text(source.replace("return hello", "print('its command'); return hello"))
    plugins = Plugins({"ok": "p_ok"})
    plugins.command("ok")
    assert list(plugins.each("k1ctl_build_kinds")) == [("ok", ["kind"])]
    print("data")
    told = capsys.readouterr()
    assert (told.out, told.err.splitlines()) == ("data\n", ["at import", "its command", "asked"])


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


def test_a_plugin_needs_no_command(folder: Path) -> None:
    """One that adds other hooks only is whole: it is asked for them, and only its command is refused, with a code."""
    source = "from k1ctl.hookspecs import hookimpl\n@hookimpl\ndef k1ctl_build_kinds(): return ['kind']"
    (folder / "p_kinds.py").write_text(source)
    plugins = Plugins({"kinds": "p_kinds"})
    assert plugins.hooks("kinds") == ["k1ctl_build_kinds"]
    with pytest.raises(PluginError, match="it adds k1ctl_build_kinds") as caught:
        plugins.command("kinds")
    assert caught.value.code == "no-command"
    assert list(plugins.each("k1ctl_build_kinds")) == [("kinds", ["kind"])]


def test_a_trace_tells_loads_and_calls(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With K1CTL_TRACE_PLUGINS each load and each call of a hook is a line on stderr, the failed ones too."""
    monkeypatch.setenv("K1CTL_TRACE_PLUGINS", "1")
    (folder / "p_one.py").write_text(GOOD.format(name="one").replace("return []", "return [][0]"))
    (folder / "p_two.py").write_text("import no_such_module_at_all")
    list(Plugins({"one": "p_one", "two": "p_two"}).each("k1ctl_build_kinds"))
    told = [re.sub(r"\d+\.\d{4} s", "T s", line) for line in capsys.readouterr().err.splitlines()]
    assert told == [
        "k1ctl: plugin one (p_one) loaded in T s",
        "k1ctl: plugin two (p_two) failed after T s",
        "k1ctl: hook k1ctl_build_kinds of one took T s, raised IndexError",
    ]


@pytest.mark.parametrize("value", ["", "0", None])
def test_no_trace_unless_asked(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off, pluggy's own way of calling is left as it is."""
    if value is not None:
        monkeypatch.setenv("K1CTL_TRACE_PLUGINS", value)
    plugins = Plugins({})
    assert plugins.manager._inner_hookexec is pluggy.PluginManager("x")._inner_hookexec
