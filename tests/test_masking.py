"""What is kept of a command has no secret in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.escalation.prompts import masked
from k1ctl.masking import masked_words, suspicious

PIECES = st.sampled_from(
    [
        *("--password", "PSK=", "my_token", "secret-key", "Credentials: ", "API_KEY=", "'", '"', " ", "=", ":", "@"),
        *("Bearer ", "basic ", "https://", "-u ", "--user=", "me", "AKIA", "ghp_", "github_pat_", "gsk_", "glpat-"),
        *("hf_", "AIza", "xoxb-", "sk-ant-", "sk_live_", "eyJ", ".", "hunter2hunter2", "HUNTER2HUNTER2", "passcode"),
    ]
)


def test_the_words_of_a_command() -> None:
    """Values go, in a word of their own too; names, places and the other words stay, one for each that was given."""
    words = ["./deploy", "--password", "hunter2", "--api-key=hun ter2", "-u", "me:hunter2", "https://me:hunter2@x/y"]
    words += ["TOKEN=hunter2", "-H", "Authorization: Bearer hunter2hunter2", "ghp_hunter2hunter2", "all", "-j4"]
    told = masked_words(words)
    assert "hunter2" not in " ".join(told) and len(told) == len(words) and "hun ter2" not in told[3]
    assert [*told[:2], told[4], told[6], told[7], *told[-2:]] == [
        *("./deploy", "--password", "-u", "https://***@x/y", "TOKEN=***", "all", "-j4")
    ]
    plain = ["git", "push", "-u", "origin", "make", "tokens=3", "keys", "--pass"]
    assert masked_words(plain) == plain


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=8))
def test_what_is_masked_is_suspicious(pieces: list[str]) -> None:
    """The cheap look beforehand lets nothing through that is masked."""
    line = "".join(pieces)
    assert suspicious(line) or masked(line) == line
