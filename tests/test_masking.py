"""What is kept of a command has no secret in it."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity.baseline import Measured
from k1ctl.capacity.facts import read
from k1ctl.capacity.sampler import Sampler
from k1ctl.capacity.stress_call import Asked
from k1ctl.escalation.prompts import masked
from k1ctl.jsontext import dumps
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


def test_what_is_measured_is_kept_without_secrets() -> None:
    """The command of `capacity baseline` and `capacity stress` runs as it is and is written down without secrets."""
    words = ["./load", "--token", "hunter2"]
    asked = Asked(words, [1], [1 << 30], [0.0])
    kept = [asked.spec(read()), Measured(Sampler(root=os.getpid()), words).document()]
    assert "hunter2" not in dumps(kept) and asked.command == words
    assert kept[0]["command"] == kept[1]["argv"] == ["./load", "--token", "***"]


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=8))
def test_what_is_masked_is_suspicious(pieces: list[str]) -> None:
    """The cheap look beforehand lets nothing through that is masked."""
    line = "".join(pieces)
    assert suspicious(line) or masked(line) == line
