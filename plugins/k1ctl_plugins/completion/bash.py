"""The completion file of bash: a table of the commands, and the engine that reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import wrap

from k1ctl_plugins.completion.tree import Command, Parameter

_PLAIN = re.compile(r"[A-Za-z0-9@:._/+-]+")


def render(commands: Sequence[Command], settings: Iterable[str], engine: str) -> str:
    """The whole file. Raises ValueError for a word that the table cannot hold."""
    lines = [
        "# What a command takes. Options: NAME[/NAME][+][=WORDS]; + may be given again, WORDS are values, @ names a",
        "# source. Arguments: WORDS[+], - is a value of the user's own. No options behind them where $mixed is empty.",
        "_k1ctl_command() {",
        "  commands='' options='' arguments='' runs='' mixed=1",
        "  case $1 in",
    ]
    for command in commands:
        lines.append(f"    '{''.join(' ' + word for word in command.path)}')")
        rows = {
            "commands": [name for name, _ in command.children],
            "options": [_option(option) for option in command.options],
            "arguments": [_words(a.words) + "+" * a.many for a in command.arguments],
            "runs": ["1"] * command.runs,
        }
        lines += [f"      {name}='{' '.join(row)}'" for name, row in rows.items() if row]
        lines += ["      mixed=''"] * (not command.mixed)
        lines.append("      ;;")
    lines += ["  esac", "}", "", "_k1ctl_settings='"]
    lines += [*wrap(" ".join(map(_checked, settings)), 118, break_on_hyphens=False), "'"]
    return f"{engine}\n" + "\n".join(lines) + "\n\ncomplete -o nospace -F _k1ctl k1ctl\n"


def _option(option: Parameter) -> str:
    names = "/".join(map(_checked, option.names)) + "+" * option.many
    return names if option.is_flag else f"{names}={_words(option.words)}"


def _words(words: Sequence[str]) -> str:
    return ",".join(map(_checked, words)) or "-"


def _checked(word: str) -> str:
    if not _PLAIN.fullmatch(word):
        raise ValueError(f"completion cannot offer {word!r}: letters, digits and @:._/+- only")
    return word
