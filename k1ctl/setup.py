"""What a plugin hands to ``k1ctl worktree setup``: named steps, each run once and timed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.files import read_json
from k1ctl.worktrees import SET_UP, own_git_dir

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATES = "templates.json"  # in the folder SET_UP: {file: [SHA-256 of what a template made of it]}


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


def from_templates(path: str) -> dict[str, list[str]]:
    """The files of the worktree at ``path`` that set-up filled in, each with the SHA-256 of what it wrote. Raises
    OSError."""
    known = read_json(os.path.join(own_git_dir(path), SET_UP, TEMPLATES)) if own_git_dir(path) else None
    told = known.items() if isinstance(known, dict) else ()
    return {file: [str(digest) for digest in digests] for file, digests in told if isinstance(digests, list)}
