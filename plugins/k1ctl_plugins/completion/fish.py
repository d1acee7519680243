"""The completion file of fish: a table of the commands, and the engine that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from k1ctl_plugins.completion.tree import Command, Parameter


def render(commands: Sequence[Command], settings: Iterable[str], engine: str) -> str:
    """The whole file."""
    lines = [
        "# What a command takes. Options: NAME[/NAME][+][=WORDS]; + may be given again, WORDS are values, @ names a",
        "# source. Arguments: WORDS[+], - is a value of the user's own. No options behind them where $mixed is empty.",
        "function __k1ctl_command --no-scope-shadowing",
        "    set commands",
        "    set options",
        "    set arguments",
        "    set runs",
        "    set mixed 1",
        "    switch $argv[1]",
    ]
    for command in commands:
        lines.append(f"        case {quoted(' '.join(command.path))}")
        rows = {
            "commands": [name for name, _ in command.children],
            "command_abouts": [about for _, about in command.children],
            "options": [_option(option) for option in command.options],
            "option_abouts": [option.about for option in command.options],
            "arguments": [_words(a.words) + "+" * a.many for a in command.arguments],
            "runs": ["1"] * command.runs,
        }
        for name, row in rows.items():
            if row:
                lines += [f"            set {name} \\"]
                lines += [f"                {quoted(word)} \\" for word in row[:-1]]
                lines += [f"                {quoted(row[-1])}"]
        lines += ["            set mixed"] * (not command.mixed)
    lines += ["    end", "end", "", "set -g __k1ctl_settings \\"]
    lines += [" \\\n".join(f"    {quoted(setting)}" for setting in settings)]
    return f"{engine}\n" + "\n".join(lines) + "\n\ncomplete -c k1ctl -f -k -a '(__k1ctl)'\n"


def _option(option: Parameter) -> str:
    names = "/".join(option.names) + "+" * option.many
    return names if option.is_flag else f"{names}={_words(option.words)}"


def _words(words: Sequence[str]) -> str:
    return ",".join(words) or "-"


def quoted(text: str) -> str:
    """``text`` as one word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
