"""The completion file of zsh: a function for each command, and the engine that reads the values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from k1ctl_plugins.completion.tree import Command, Parameter

_TAGS = {"file": "_files", "folder": "_files -/"}


def render(commands: Sequence[Command], settings: Iterable[str], engine: str) -> str:
    """The whole file, to be found in ``fpath`` or sourced."""
    lines = ["#compdef k1ctl", engine, "typeset -ga _k1ctl_settings=("]
    lines += [*wrap(" ".join(settings), 118, break_on_hyphens=False), ")"]
    for command in commands:
        lines += ["", f"{_function(command.path)}() {{", *_body(command), "}"]
    lines += [
        "",
        "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then",
        '  _k1ctl "$@"',
        "elif (( $+functions[compdef] )); then",
        "  compdef _k1ctl k1ctl",
        "fi",
    ]
    return "\n".join(lines) + "\n"


def _function(path: Sequence[str]) -> str:
    return "-".join(("_k1ctl", *path)) if path else "_k1ctl_top"


def _body(command: Command) -> Iterator[str]:
    specs = [_option(option) for option in command.options]
    if command.runs:
        yield "  _k1ctl_foreign && return"
    if not command.children:
        specs += [_argument(i, argument) for i, argument in enumerate(command.arguments, 1)]
        yield from _arguments("-s -S" if command.mixed else "-s -S -A '-*'", specs)
    elif command.arguments:
        yield from _either(command, specs)
    else:
        yield from _group(command, [*specs, "'1:command:->command'", "'*::argument:->rest'"])


def _arguments(flags: str, specs: Sequence[str]) -> list[str]:
    return [f"  _arguments {flags} \\", " \\\n".join(f"    {spec}" for spec in specs)]


def _group(command: Command, specs: Sequence[str]) -> Iterator[str]:
    """A command whose first word is a subcommand."""
    yield "  local curcontext=$curcontext state line ret=1"
    yield "  local -A opt_args"
    yield "\n".join(_arguments("-C -s -S", specs)) + " && ret=0"
    yield "  case $state in"
    yield "    (command)"
    yield from (f"    {line}" for line in _children(command))
    yield "      ;;"
    yield "    (rest)"
    yield "      case $words[1] in"
    for name, _ in command.children:
        yield f"        ({name}) {_function((*command.path, name))} && ret=0 ;;"
    yield "      esac"
    yield "      ;;"
    yield "  esac"
    yield "  return ret"


def _either(command: Command, specs: Sequence[str]) -> Iterator[str]:
    """A command whose first word is a subcommand or an argument."""
    first, *others = command.arguments
    yield "  local state line ret=1"
    yield "  local -A opt_args"
    yield "  if ((CURRENT > 2)); then"
    yield "    case $words[2] in"
    for name, _ in command.children:
        yield f"      ({name}) shift words && ((CURRENT--)); {_function((*command.path, name))}; return ;;"
    yield "    esac"
    yield "  fi"
    rest = [_argument(i, argument) for i, argument in enumerate(others, 2)]
    rest = [_argument(1, first)] if first.many else rest
    yield "\n".join(_arguments("-s -S", [*specs, "'1:argument:->first'", *rest])) + " && ret=0"
    yield "  if [[ $state == first ]]; then"
    yield from (f"  {line}" for line in _children(command))
    yield f"    {_action(first.words).strip()} && ret=0"
    yield "  fi"
    yield "  return ret"


def _children(command: Command) -> Iterator[str]:
    yield "  local -a names=("
    for name, about in command.children:
        yield "    " + quoted(f"{name}:{about}" if about else name)
    yield "  )"
    yield "  _describe -t commands command names && ret=0"


def _option(option: Parameter) -> str:
    about = f"[{_escaped(option.about, '[]')}]" if option.about else ""
    action = _action(option.words).replace(":", "\\:")  # a colon begins the next value of an option
    value = "" if option.is_flag else f":{_escaped(option.label, ':')}:{action}"
    names = [name + ("" if option.is_flag else "=" if name.startswith("--") else "+") for name in option.names]
    if option.many:
        heads = [quoted("*" + name) for name in names]
        return " ".join(f"{head[:-1]}{quoted(about + value)[1:]}" for head in heads)
    if len(names) == 1:
        return quoted(names[0] + about + value)
    return f"'({' '.join(option.names)})'{{{','.join(names)}}}{quoted(about + value)}"


def _argument(number: int, argument: Parameter) -> str:
    place = "*" if argument.many else str(number)
    return quoted(f"{place}:{_escaped(argument.label, ':')}:{_action(argument.words)}")


def _action(words: Sequence[str]) -> str:
    literal = [word for word in words if not word.startswith("@")]
    actions = [_TAGS.get(word[1:], f"_k1ctl_{word[1:]}") for word in words if word.startswith("@")]
    if not words:
        return " "
    if not actions:
        return f"({' '.join(literal)})"
    if len(actions) == 1 and not literal:
        return actions[0]
    kinds = [f'"values:value:({" ".join(literal)})"'] * bool(literal)
    kinds += [f'"{action.strip("_").split()[0]}:value:{action}"' for action in actions]
    return f" _alternative {' '.join(kinds)}"  # the space: _arguments adds no words of its own


def _escaped(text: str, characters: str) -> str:
    return "".join("\\" + c if c in characters + "\\" else c for c in text)


def quoted(text: str) -> str:
    """``text`` as one word of a Bourne-like shell."""
    return "'" + text.replace("'", "'\\''") + "'"
