"""The commands as completion sees them: names, summaries, and for each parameter the words that may stand there."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import shorten
from typing import Any, NamedTuple

import click

from k1ctl.discovery import BUILT_IN
from k1ctl.errors import K1ctlError
from k1ctl_plugins.completion import rules

ABOUT_WIDTH = 96  # characters of a description in a list of candidates


class Parameter(NamedTuple):
    """An option or an argument.

    ``names`` are the spellings of an option, an argument has none. ``words`` are what may stand there: literal ones,
    and ``@source`` for values that the shell reads from ``ops/`` (`rules.SOURCES`). A flag takes no value;
    ``many`` may be given again. ``label`` is what the value is called.
    """

    names: tuple[str, ...]
    label: str
    about: str
    words: tuple[str, ...]
    is_flag: bool
    many: bool


class Command(NamedTuple):
    """A command: ``path`` are the words behind ``k1ctl``, ``children`` the names and summaries of its subcommands.

    ``runs`` says that words behind ``--`` are a command line of their own; ``mixed`` that options may follow arguments.
    """

    path: tuple[str, ...]
    about: str
    options: tuple[Parameter, ...]
    arguments: tuple[Parameter, ...]
    children: tuple[tuple[str, str], ...]
    runs: bool
    mixed: bool


def commands(root: click.Group, *, foreign: bool = False) -> list[Command]:
    """Every command of the tree that is not hidden, each before its subcommands, in the order of the names.

    ``foreign``: also the commands of third-party plugins; one that does not load is left out.
    """
    names = root.context_settings.get("help_option_names", ["--help"])
    context = click.Context(root, info_name="k1ctl", help_option_names=names)
    return list(_walk(root, context, (), foreign))


def _walk(command: click.Command, context: click.Context, path: tuple[str, ...], foreign: bool) -> Iterator[Command]:
    children = dict(_children(command, context, foreign if not path else True))
    parameters = command.get_params(context)
    yield Command(
        path,
        _summary(command),
        tuple(_option(path, p) for p in parameters if isinstance(p, click.Option) and not p.hidden),
        tuple(_argument(path, p) for p in parameters if isinstance(p, click.Argument)),
        tuple((name, _summary(child)) for name, child in children.items()),
        any("-- CMD" in (p.metavar or "") for p in parameters),
        bool(children) or command.context_settings.get("allow_interspersed_args", True),
    )
    for name, child in children.items():
        yield from _walk(child, click.Context(child, info_name=name, parent=context), (*path, name), foreign)


def _children(command: click.Command, context: click.Context, foreign: bool) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return
    targets: dict[str, str] = getattr(getattr(command, "plugins", None), "targets", {})
    for name in sorted(command.list_commands(context)):
        if not foreign and not targets.get(name, BUILT_IN).startswith(BUILT_IN):
            continue
        try:
            child = command.get_command(context, name)
        except K1ctlError:  # a plugin that does not load has nothing to complete
            continue
        if child is not None and not child.hidden:
            yield name, child


def _summary(command: click.Command) -> str:
    return shorten(command.get_short_help_str(limit=300), ABOUT_WIDTH, placeholder=" ...").rstrip(".")


def _option(path: tuple[str, ...], option: click.Option) -> Parameter:
    is_flag = option.is_flag or option.count
    about = (option.help or "").replace("\b", "").partition(". ")[0].partition("; ")[0]
    names = (option.name or "", *(name.lstrip("-") for name in option.opts))
    words = () if is_flag else rules.words(path, names, option.metavar or "", _choices(option))
    return Parameter(
        (*option.opts, *option.secondary_opts),
        _label(option),
        shorten(about, ABOUT_WIDTH, placeholder=" ...").rstrip("."),
        words,
        bool(is_flag),
        option.multiple or bool(option.count),
    )


def _label(option: click.Option) -> str:
    if option.type.name == "duration":
        return "duration, as in 30s, 5m, 1h30m"
    return (option.metavar or (option.name or "").replace("_", "-")).lower()


def _argument(path: tuple[str, ...], argument: click.Argument) -> Parameter:
    name = argument.name or ""
    words = rules.words(path, (name,), argument.metavar or "", _choices(argument))
    label = rules.NOTHING.get((" ".join(path), name)) or name.replace("_", "-")
    return Parameter((), label, "", words, False, argument.nargs != 1)


def _choices(parameter: click.Parameter) -> tuple[str, ...]:
    kind: Any = parameter.type
    if isinstance(kind, click.Choice):
        return tuple(str(choice) for choice in kind.choices)
    if isinstance(kind, click.File):
        return ("@file",)
    if isinstance(kind, click.Path):
        return ("@file",) if kind.file_okay else ("@folder",)
    return ()
