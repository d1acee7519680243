"""Several targets, one after the other: which they are, and what is told of each."""

from __future__ import annotations

import os
import sys

from k1ctl.errors import ConfigError, K1ctlError, UsageError
from k1ctl.output import emit_json, say, style
from k1ctl_plugins.build import flow, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.cli import Context

ALL = "all"
_STOPPED = (129, 130, 143)  # the caller wants an end, also of the targets to come


class Chosen:
    """The ``targets`` to build in order, those ``passed_over`` {name: why}, and whether a list was asked for."""

    __slots__ = ("many", "passed_over", "targets")

    def __init__(self, targets: list[str], many: bool, passed_over: dict[str, str] | None = None) -> None:
        self.targets, self.many, self.passed_over = targets, many, passed_over or {}


def choose(ctx: Context, words: tuple[str, ...]) -> Chosen:
    """The targets that ``words`` name: none is the default one, ``all`` each whose project is in this worktree.

    Raises UsageError, ConfigError.
    """
    if ALL not in words:
        named = list(dict.fromkeys(words)) or [str(ctx.config.get("defaults", "target"))]
        return Chosen(named, len(named) > 1)
    if len(set(words)) > 1:
        raise UsageError("`all` stands alone", hint="k1ctl build all")
    targets, passed_over = [], {}
    for name in ctx.config.names("targets"):
        path = str(ctx.config.get("targets", name, "path"))
        if os.path.isdir(os.path.join(ctx.workspace.path, path)):
            targets.append(name)
        else:
            passed_over[name] = f"{path} is not in this worktree"
    if not targets:
        why = "; ".join(f"{name}: {reason}" for name, reason in passed_over.items()) or "none is configured"
        raise ConfigError(f"there is no target to build: {why}", hint="k1ctl config show targets", code="no-targets")
    return Chosen(targets, True, passed_over)


def one(ctx: Context, target: str, *, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Build one target. Raises K1ctlError."""
    plan = flow.plan(ctx, target, **options)
    document = show.planned(plan) if dry_run else show.built(plan, flow.run(plan, show.BuildView(plan)))
    if as_json:
        emit_json(document)
    elif dry_run:
        show.print_planned(document)
    else:
        show.print_built(document)
    return 0


def many(
    ctx: Context, chosen: Chosen, *, dry_run: bool, as_json: bool, keep_going: bool, variant: str, **options: Any
) -> int:
    """Build the targets one after the other; 1 when one failed, and after a stop its own code.

    A target that cannot be built as it is configured fails before the first one is begun, unless ``keep_going``.
    """
    if variant:
        raise UsageError("--env names the environment of one target", hint=f"k1ctl build {chosen.targets[0]} --env E")
    told: list[dict[str, Any]] = [
        {"ok": True, "target": name, "status": "passed-over", "reason": why} for name, why in chosen.passed_over.items()
    ]
    if not as_json:
        for name, why in chosen.passed_over.items():
            say(f"{name} is passed over: {why}")
    plans: dict[str, flow.Plan | K1ctlError] = {}
    for name in chosen.targets:
        try:
            plans[name] = flow.plan(ctx, name, variant="", **options)
        except K1ctlError as exc:
            if not keep_going or isinstance(exc, UsageError):
                raise
            plans[name] = exc
    code = 0
    for name, plan in plans.items():
        if code and (code in _STOPPED or not keep_going):
            told.append({"ok": False, "target": name, "status": "not-tried"})
            continue
        done = _try(name, plan, dry_run, as_json)
        told.append(done)
        if not done["ok"]:
            failed = int(done["error"]["exit_code"])
            code = failed if failed in _STOPPED else 1
    if as_json:
        emit_json(told)
    else:
        left = [entry["target"] for entry in told if entry.get("status") == "not-tried"]
        if left:
            say(f"not tried: {', '.join(left)}" + ("" if code in _STOPPED else " (--keep-going would)"))
    return code


def _try(name: str, plan: flow.Plan | K1ctlError, dry_run: bool, as_json: bool) -> dict[str, Any]:
    try:
        if isinstance(plan, K1ctlError):
            raise plan
        if dry_run:
            document = {"status": "planned", **show.planned(plan)}
        else:
            document = {"status": "built", **show.built(plan, flow.run(plan, show.BuildView(plan)))}
    except K1ctlError as exc:
        say(f"{style('error', 'red', 'bold', stream=sys.stderr)}: {name}: {exc.message}")
        if exc.hint:
            say(f"{style('hint', 'cyan', stream=sys.stderr)}: {exc.hint}")
        return {"target": name, "status": "failed", **exc.document()}
    if not as_json:
        show.print_planned(document) if dry_run else show.print_built(document)
    return document
