"""``k1ctl hook``: what Conductor's setup, run and archive scripts call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.errors import UsageError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import clean, emit_json, json_option, put, say, table

if TYPE_CHECKING:
    from k1ctl.checks import Check
    from k1ctl.reasons import Reason, Subject
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.hook.targets import Target

_SHOWN = 500  # characters of a command line that are worth a reader's time


@purpose("Set up", example="k1ctl hook run fw:upload")
@click.group()
def hook() -> None:
    """Do the work of Conductor's setup, run and archive scripts.

    `k1ctl init --conductor` writes the scripts that call these.

    \b
    Examples:
      k1ctl hook setup
      k1ctl hook run fw:upload
      RUN_TARGET=web:dev k1ctl hook run
      k1ctl hook run --list
    """


@hook.command()
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@json_option
@pass_context
def setup(ctx: Context, dry_run: bool, as_json: bool) -> int:
    """Prepare this workspace: the work of `k1ctl worktree setup`, in this process.

    Example: k1ctl hook setup --dry-run
    """
    from k1ctl_plugins.hook import own

    return own.run(ctx, ["worktree", "setup", *(["--dry-run"] if dry_run else [])], as_json=as_json)


@hook.command(
    context_settings={"allow_interspersed_args": False},
    short_help="Run the target that is named, or that RUN_TARGET or K1_TARGET names.",
)
@click.argument("name", metavar="[TARGET]", required=False)
@click.argument("args", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--list", "list_them", is_flag=True, help="List the run targets that there are.")
@click.option("--dry-run", is_flag=True, help="Say what would be run and do nothing.")
@click.option("--result", default="", metavar="FILE", help="Write the result as JSON: whose exit code it is, and why.")
@json_option
@pass_context
def run(
    ctx: Context, name: str | None, args: tuple[str, ...], list_them: bool, dry_run: bool, result: str, as_json: bool
) -> int:
    """Run TARGET: the argument, else RUN_TARGET, else K1_TARGET, else hooks.target of the configuration.

    What each is stands under [run_targets] of ops/k1ctl.toml, where you change and add them; ARGS are added to its
    command. The exit code is the command's own; 64: there is no such target. --json, before TARGET, is for --list,
    --dry-run and targets that are k1ctl's own commands.

    \b
    Examples:
      k1ctl hook run fw:build --clean
      K1_TARGET=fw:upload k1ctl hook run
      k1ctl hook run --list --json
    """
    from k1ctl_plugins.hook import targets

    if list_them:
        if name or dry_run or result:
            raise UsageError("--list goes with no target and no other option but --json")
        return _list(ctx, as_json)
    wanted, said_by = targets.choose(name, ctx.config, os.environ)
    target = targets.find(wanted, ctx.config, ctx.workspace)
    ctx.workspace.check_inside()
    target.check(ctx.config)
    call = _own if target.own else _foreign
    return call(ctx, target, args, said_by, dry_run=dry_run, result=result, as_json=as_json)


def _list(ctx: Context, as_json: bool) -> int:
    from k1ctl_plugins.hook import targets

    found = targets.rows(ctx.config, ctx.workspace)
    if as_json:
        emit_json({"ok": True, "default": ctx.config.get("hooks", "target"), "targets": found})
        return 0
    cells = [
        (row["name"], " ".join(row["command"]) or "-", row["origin"], row.get("error") or row["about"]) for row in found
    ]
    put(table(cells, ("TARGET", "COMMAND", "ORIGIN", "MEANING")))
    return 0


def _own(
    ctx: Context, target: Target, args: tuple[str, ...], said_by: str, *, dry_run: bool, result: str, as_json: bool
) -> int:
    """A target that is a command of k1ctl's."""
    from k1ctl_plugins.hook import own

    if target.port_words and not dry_run:
        target.lease_ports(ctx.workspace, ctx.config)
    words = own.words_of(target, args)
    if result:
        raise UsageError(f"--result is for foreign commands; k1ctl {words[0]} has an answer of its own (--json)")
    if dry_run:
        return _tell(target, ["k1ctl", *words], target.folder, as_json)
    _announce(ctx, target, ["k1ctl", *words], said_by)
    os.chdir(target.folder)
    return own.run(ctx, words, as_json=as_json)


def _foreign(
    ctx: Context, target: Target, args: tuple[str, ...], said_by: str, *, dry_run: bool, result: str, as_json: bool
) -> int:
    """A target that is somebody else's command."""
    from k1ctl_plugins.hook import foreign

    told = {} if dry_run else target.lease_ports(ctx.workspace, ctx.config)
    program = foreign.Program(target, args, ctx.config, told)
    if dry_run:
        return _tell(target, program.argv, program.folder, as_json)
    if as_json:
        raise UsageError(f"{target.name} passes its command's output through: no --json", hint="--result FILE has it")
    if result and target.interactive:
        raise UsageError(f"{target.name} is interactive: its command takes the place of this call, so no --result")
    _announce(ctx, target, program.argv, said_by)
    if target.interactive:
        from k1ctl_plugins.hook import interactive

        return interactive.run(ctx.workspace, ctx.config, target, program)
    return foreign.run(ctx.workspace, ctx.config, target, program, result and os.path.abspath(result))


def _announce(ctx: Context, target: Target, argv: list[str], said_by: str) -> None:
    from k1ctl.events import emit

    words = clean(" ".join(argv))
    shown = words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."
    say(f"run target {target.name} (named by {said_by}): {shown}")
    emit(ctx.workspace, "hook.run", target=target.name, named_by=said_by)  # a command line may hold secrets


def _tell(target: Target, argv: list[str], folder: str, as_json: bool) -> int:
    if as_json:
        emit_json({"ok": True, "dry_run": True, **target.document(), "argv": argv, "folder": folder})
        return 0
    from k1ctl.units import format_duration

    put(f"would run:  {clean(' '.join(argv))}")
    put(f"in:         {folder}")
    if target.resources:
        put(f"holding:    {', '.join(f'{r}={n}' if n > 1 else r for r, n in target.resources.items())}")
        put(f"waiting:    {format_duration(target.wait)} at most")
    return 0


@hook.command(short_help="Let go of what a workspace holds, and save what would be lost with it.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@json_option
@pass_context
def archive(ctx: Context, dry_run: bool, as_json: bool) -> int:
    """Let go of what this workspace holds before Conductor removes it, and save what would be lost with it.

    Its places in line are given up and its builds are stopped. A flash under way and other running commands go on.
    Changes, untracked files, ignored ones that cannot be made again, commits that are nowhere else, an operation of
    git's under way: where there is any, the whole workspace is saved as by `k1ctl archive save`, and the command that
    brings it back is told. It deletes and moves nothing. Where it cannot be saved whole, the exit code says so, and
    Conductor leaves the workspace alone. Called again, or where the workspace is gone already, it has nothing to do
    and exits 0.

    Example: k1ctl hook archive --json
    """
    from k1ctl_plugins.hook import archiving

    gone = os.environ.get("CONDUCTOR_WORKSPACE_PATH", "")
    reason = f"{gone} is gone already" if gone and not os.path.isdir(gone) else ""
    if not reason:
        ctx.workspace.check_inside()
        if ctx.workspace.path == ctx.workspace.root:
            reason = f"{ctx.workspace.path} is the main checkout, not a workspace"
    if reason:
        say(f"nothing to archive: {reason}")
        if as_json:
            emit_json({"ok": True, "dry_run": dry_run, "nothing": reason})
        return 0
    done = archiving.archive(ctx.workspace, ctx.config, dry_run=dry_run)
    _tell_archive(done, as_json)
    if done.refused:
        done.refused.message = f"{ctx.workspace.path} is not saved: {done.refused.message}"
        raise done.refused
    return 0


def _tell_archive(done: Any, as_json: bool) -> None:
    would = "would be " if done.dry_run else ""
    for row in done.given_up:
        say(f"{would}given up: place {row['ticket']} for {', '.join(row['resources'])}")
    for row in done.stopped:
        late = "" if row.get("ended", True) else " (it has not ended yet)"
        say(f"{would}stopped: {clean(row.get('label', '?'))}, run {row['run']}{late}")
    for row in done.left:
        say(f"goes on: {clean(row.get('label') or row.get('kind', '?'))}, run {row['run']}: {row['reason']}")
    for sentence in done.work.sentences(saved=done.saved is not None):
        say(f"{done.workspace.path}: {clean(sentence)}")
    if done.saved:
        word = "would be saved" if done.dry_run else "is saved already" if done.saved["reused"] else "saved"
        how = "" if done.dry_run else f" as {done.saved['archive']}; {done.saved['restore']} brings it back"
        say(f"{word}{how}: {clean(', '.join(done.saved['why']))}")
    if as_json and not done.refused:
        emit_json(done.document())


@hook.command(short_help="Archive, prune and compress what is old: the work of the weekly script.")
@click.option("--dry-run", is_flag=True, help="Change nothing; show what the commands would do.")
@json_option
@pass_context
def weekly(ctx: Context, dry_run: bool, as_json: bool) -> int:
    """Run `k1ctl archive run`, `k1ctl artifact prune` and `k1ctl events compact`: what ops/hooks/weekly-archive calls
    for cron or launchd.

    What they print goes to ops/archive/weekly.log. Nothing is printed when all end well, so that cron sends no mail;
    else what failed is, and the exit code is that of the first that did.

    \b
    Examples:
      k1ctl hook weekly --dry-run
      k1ctl archive schedule --install --at "Sun 03:00"
    """
    from k1ctl_plugins.hook import routine

    steps = routine.run(ctx.workspace, dry_run=dry_run)
    code = routine.exit_code(steps)
    for step in steps:
        if dry_run and not as_json:
            put(f"# {step.sentence}")
            put(step.output.rstrip("\n"))
        elif step.exit_code:
            say(f"{clean(step.sentence)} (log: {routine.log_path(ctx.workspace)})")
    if as_json:
        told = [step.document() | ({"output": step.output} if dry_run else {}) for step in steps]
        emit_json({"ok": not code, "dry_run": dry_run, "steps": told, "log": routine.log_path(ctx.workspace)})
    return code


@hookimpl
def k1ctl_command() -> click.Command:
    return hook


@hookimpl
def k1ctl_reasons(subject: Subject) -> list[Reason]:
    from k1ctl_plugins.hook.reasons import reasons

    return reasons(subject)


@hookimpl
def k1ctl_checks(workspace: Workspace) -> list[Check]:
    from k1ctl_plugins.hook.checks import checks

    return checks(workspace)
