"""``k1ctl budget model``: which model to use now, and why not the ones before it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put, say

if TYPE_CHECKING:
    from k1ctl.budget.models import Models


@click.command(short_help="Print the model to use now for a kind of task.")
@click.option("--for", "task", metavar="TASK", default="", help="The kind of task: a chain of [budget.chains].")
@click.option("--tokens", metavar="N", default="1", help="Tokens the call is expected to use, as 50k.")
@click.option("--agent", metavar="A", default="", help="Whose budget counts (default: this workspace).")
@click.option("--task", "ledger_task", metavar="T", default="", help="The task whose lifetime limit counts.")
@click.option("--pool", metavar="P", default="", help="The pool whose limit counts.")
@click.option(
    "--report", "what", type=click.Choice(("ok", "limit", "error")), help="Tell what became of a call of --model."
)
@click.option("--model", metavar="M", default="", help="With --report: the model that was called.")
@click.option("--provider", metavar="NAME", default="", help="With --report: whose, where several serve it.")
@click.option("--until", metavar="T", default="", help="With --report: when it ends, as 5h or 2026-03-01T17:00:00Z.")
@click.option("--all-models", is_flag=True, help="With --report limit: it is of all models of the provider.")
@click.option("--lift", is_flag=True, help="With --report ok: it may be used now, whatever was told of it before.")
@click.option("--dry-run", is_flag=True, help="Tell which it would be; be nobody's probe.")
@json_option
@pass_context
def model(
    context: Context,
    task: str,
    tokens: str,
    agent: str,
    ledger_task: str,
    pool: str,
    what: str | None,
    model: str,
    provider: str,
    until: str,
    all_models: bool,
    lift: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Print the first model of a chain that may be used now; stderr tells why the ones before it may not.

    Asked are the budget, the keys of its provider, and the breaker. After failures in a row a provider is left alone
    for a time that doubles; then one caller tries it, and is to --report. A limit is of the model (with --all-models of
    all that the provider serves) and holds for everybody until its end. Exit 75: none, it is a person's (manual); when
    one is free again is told.

    \b
    Example:
      model=$(k1ctl budget model --for fw) || exit
      k1ctl budget model --report limit --model opus --until 5h
      k1ctl budget model --report ok --model opus
    """
    from k1ctl.budget.models import Models, Spender
    from k1ctl.units import parse_tokens

    models = Models(context.workspace, context.config)
    if what is not None:
        words = {"provider": provider, "until": until, "all_models": all_models, "lift": lift}
        if dry_run or not _goes_together(model, what, words):
            raise UsageError(
                "--report goes with --model M; --until with limit and error, --all-models with limit, --lift with ok",
                hint="as in --report limit --model opus --until 5h",
            )
        _report(models, model, what, words, as_json=as_json)
        return
    if model or provider or until or all_models or lift:
        raise UsageError("--model, --provider, --until, --all-models and --lift are for --report")
    if not task:
        raise UsageError("for which kind of task?", hint="--for TASK, a chain of [budget.chains]")
    try:
        spender = Spender(agent or context.workspace.name, parse_tokens(tokens), ledger_task, pool)
    except ValueError as exc:
        raise UsageError(str(exc)) from None
    chosen = models.choose(task, spender, dry_run=dry_run)
    if as_json:
        emit_json({"ok": True, "task": task, **chosen.document(), "dry_run": dry_run})
        return
    for passed in chosen.before:
        say(f"k1ctl: not {passed.model} ({passed.provider}): {passed.why}")
    if chosen.probe:
        say(f"k1ctl: {chosen.provider} failed before: --report what becomes of this call")
    put(chosen.model)


def _goes_together(model: str, what: str, words: dict[str, Any]) -> bool:
    """Whether the options of a report make sense with each other."""
    if not model or (words["until"] and what == "ok"):
        return False
    return not (words["all_models"] and what != "limit") and not (words["lift"] and what != "ok")


def _report(models: Models, model: str, what: str, words: dict[str, Any], *, as_json: bool) -> None:
    """Tell the breakers what became of a call, and what that means for the next."""
    from k1ctl.budget import ends

    until, provider = words["until"], words["provider"]
    end = ends.given(until, time.time(), f"{model}: {what}, as told") if until else None
    if words["lift"]:
        states = models.lift(model, provider=provider)
    else:
        states = models.report(model, what, provider=provider, end=end, all_models=words["all_models"])
    if as_json:
        emit_json({"ok": True, "model": model, "breakers": states})
        return
    if end is not None and end["until"] <= time.time():
        say(f"k1ctl: {until} is past: {model} may be used now")
    for state in states:
        if state["until"]:
            say(f"k1ctl: {state['name']} is left alone until {state['until']}: {state['why']}")
