"""``k1ctl completion``: what makes TAB complete commands, options and the values of this repository."""

from __future__ import annotations

import os

import click

from k1ctl.cli import PluginGroup, purpose
from k1ctl.errors import UsageError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say

SHELLS = ("bash", "zsh", "fish")


@purpose("Set up", example="k1ctl completion bash --install")
@click.command(short_help="Complete commands, devices, runs and more in your shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--install", is_flag=True, help="Put the file where the shell looks for it, instead of printing it.")
@click.option("--plugins", is_flag=True, help="Write it anew, with the commands of the plugins installed here.")
@click.option("--dry-run", is_flag=True, help="With --install: say what would be put where.")
@json_option
def completion(shell: str, install: bool, plugins: bool, dry_run: bool, as_json: bool) -> None:
    """Print the completion file of a shell: bash (3.2 and newer), zsh or fish.

    The file came with k1ctl and knows its commands; devices, targets, resources, tickets, runs, artifacts and
    workspaces are read from ops/ by the shell itself, so TAB starts no process.

    \b
    Examples:
      k1ctl completion bash --install
      k1ctl completion zsh > ~/.zfunc/_k1ctl
      k1ctl completion fish --plugins --install
    """
    from k1ctl_plugins.completion import script

    if dry_run and not install:
        raise UsageError("--dry-run goes with --install; printing changes nothing")
    text = ""
    if plugins:
        root = click.get_current_context().find_root().command
        assert isinstance(root, PluginGroup)
        text = script.render(root, shell, foreign=True)
    if install:
        done = script.install(shell, os.environ, text, dry_run=dry_run)
        if as_json:
            emit_json({"ok": True, "shell": shell, "dry_run": dry_run, **done._asdict()})
            return
        verb = ("would put" if dry_run else "put") if done.changed else "was there already:"
        say(f"{verb} {done.path}" + (f", a link to {done.target}" if done.target else ""))
        if done.next:
            say(done.next)
        return
    path = "" if text else script.packaged(shell)
    if not text:
        with open(path, encoding="utf-8") as f:
            text = f.read()
    if as_json:
        emit_json({"ok": True, "shell": shell, "path": path or None, "script": text})
    else:
        put(text.rstrip("\n"))


@hookimpl
def k1ctl_command() -> click.Command:
    return completion
