"""Words and lines without the secrets that stand in them, cheap where there are none."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Without one of these, in lower case, `k1ctl.escalation.prompts.masked` changes nothing; with re, it costs 5 ms.
_SIGNS = (
    *("pass", "secret", "token", "credential", "psk", "key", "bearer", "basic", "://", "-u", "sk-", "sk_", "gh", "hf_"),
    *("github_pat_", "gsk_", "glpat-", "aiza", "xox", "akia", "eyj"),
)


def suspicious(text: str) -> bool:
    """Whether a secret may stand in a text: False is certain of what `k1ctl.escalation.prompts.masked` finds."""
    lower = text.lower()
    return any(sign in lower for sign in _SIGNS)


def masked_line(line: str) -> str:
    """A line as it may be kept and shown."""
    if not suspicious(line):
        return line
    from k1ctl.escalation.prompts import masked

    return masked(line)


def masked_words(words: Sequence[str]) -> list[str]:
    """The words of a command as they may be kept and shown: what looks like a secret, by its own form, its option or
    the word before it, is ``***``."""
    if not suspicious(" ".join(words)):
        return [*words]
    from k1ctl.escalation.prompts import masked

    told: list[str] = []
    before = ""
    for word in words:
        alone = masked(word)
        if alone != word and word.startswith("-") and "=" in word and any(c.isspace() for c in word):
            alone = word.partition("=")[0] + "=***"  # the mask ends at a blank
        if before and masked(f"{before} {word}") != f"{masked(before)} {masked(word)}":
            alone = "***"
        told.append(alone)
        before = word
    return told
