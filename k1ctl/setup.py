"""What a plugin hands to ``k1ctl worktree setup``: named steps, each run once and timed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class StepReport(NamedTuple):
    """What a step did.

    ``changed``: whether anything was done; ``summary``: one line for people, without secrets; ``details``: JSON-able
    facts for ``--json``, units in their names; ``own_bytes`` and ``shared_bytes`` in it, of what the step brought, are
    shown in the table at the end and summed up.
    """

    changed: bool
    summary: str
    details: dict[str, Any] = {}


class SetupStep(NamedTuple):
    """One thing to do in a fresh worktree.

    ``run`` does it and reports; it is idempotent, and raises K1ctlError when it cannot be done. ``plan`` (for
    ``--dry-run``) says what ``run`` would do and changes nothing; None when that cannot be told beforehand.
    ``needs`` names the steps that must have succeeded before; all others run although one fails. Built in are
    ``tools``, ``links``, ``ports``, ``templates``, ``env`` and ``npm:FOLDER``.
    """

    name: str
    run: Callable[[], StepReport]
    plan: Callable[[], StepReport] | None = None
    needs: tuple[str, ...] = ()
