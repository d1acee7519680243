"""What a command that was run under a hold tells that it used: a file of JSON documents (`budget run`)."""

from __future__ import annotations

import os

from k1ctl.budget.tokens import CLASSES, MOST, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.workspace import Workspace

_LIMIT = 1 << 20  # bytes of a file


def path_of(workspace: Workspace, id: str) -> str:
    """Where the command of the hold ``id`` tells it, or a link to where."""
    return workspace.ops_path("cache", "budget", f"{id}.json")


def remove(path: str) -> None:
    """It is booked."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def read(path: str) -> tuple[int | Usage, int | None] | None:
    """(What was used, micro-dollars or None) by a file of JSON documents; None where it has none. Raises ValueError."""
    from k1ctl.jsontext import loads

    try:
        with open(path, encoding="utf-8") as f:
            text = f.read(_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ValueError(exc.strerror) from None
    if len(text) > _LIMIT:
        raise ValueError(f"more than {_LIMIT} bytes")
    if not text.strip():
        return None
    try:
        documents = [loads(text, bounded=True)]
    except ValueError:
        documents = [loads(line, bounded=True) for line in text.splitlines() if line.strip()]
    usage, tokens, usd = Usage(), 0, None
    for document in documents:
        found = _usage(document)
        if isinstance(found, Usage):
            usage += found
        else:
            tokens += found
        if "usd" in document:
            usd = (usd or 0) + round(document["usd"] * 1_000_000)
    if tokens > MOST or (usd or 0) > MOST:
        raise ValueError("more than anybody uses")
    if tokens and usage:
        raise ValueError("tokens in all and by class; name either")
    return (tokens if tokens else usage), usd


def _usage(document: Any) -> int | Usage:
    if not isinstance(document, dict) or not ({"tokens", *CLASSES} & document.keys()):
        raise ValueError(f"has none of tokens, {', '.join(CLASSES)}")
    numbers = {name: document[name] for name in ("tokens", *CLASSES) if name in document}
    for name, number in numbers.items():
        if type(number) is not int or not 0 <= number < 10**15:
            raise ValueError(f"{name} is {str(number)[:40]!r}, and no number of tokens")
    usd = document.get("usd", 0)
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < 1e9:
        raise ValueError("usd is no number of dollars")
    if "tokens" in numbers:
        if len(numbers) > 1:
            raise ValueError("tokens in all and by class; name either")
        return int(numbers["tokens"])
    return Usage(**numbers)
