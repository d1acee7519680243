"""Prices are found by the names that agents write, hold at their time, and cost what the lists say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k1ctl.budget import prices
from k1ctl.budget.tokens import Usage
from k1ctl.errors import ConfigError

OCTOBER_6, OCTOBER_8 = 1_791_244_800.0, 1_791_417_600.0  # of 2026
MILLION = (1_000_000, 0, 0, 0)


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", "claude-opus-4-1"),
        ("claude-opus-4-1@20250805", "claude-opus-4-1"),
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("Claude-Opus-5[1m]", "claude-opus-5"),
        ("gpt-5.2-2025-12-11", "gpt-5.2"),
        ("gpt-6.1-sol-2026-09-29", "gpt-6.1-sol"),
        ("claude-opus-6", None),
        ("gpt-5.2-mini", None),
        ("", None),
    ],
)
def test_a_dated_name_has_the_price_of_its_model(written: str, listed: str | None) -> None:
    """Case, provider, context and date do not matter; another model is not taken for one of the same family."""
    price = prices.load().of(written)
    assert (price.model if price else None) == listed


def test_costs_of_the_classes() -> None:
    """Each class has its own price, writes for an hour another one; long prompts and fast mode cost more."""
    listed = prices.load()
    opus, haiku, sonnet = (listed.of(f"claude-{name}") for name in ("opus-5", "haiku-5-5", "sonnet-5-5"))
    assert opus and haiku and sonnet
    assert opus.cost((1_000_000, 1_000_000, 1_000_000, 1_000_000), 400_000) == 5e6 + 25e6 + 0.6 * 6.25e6 + 4e6 + 0.5e6
    assert opus.cost(MILLION, fast=True) == 10_000_000
    assert haiku.cost((100_000, 0, 0, 0)) == 10_000 and haiku.cost((100_000, 0, 0, 1)) == 50_001
    reads = (0, 0, 0, 1_000_000)
    assert [sonnet.cost(reads, at=at) for at in (OCTOBER_6, OCTOBER_8)] == [200_000, 100_000]
    assert Usage(*MILLION).weighted(opus) == opus.cost(MILLION) and opus.cost((1, 0, 0, 0)) == 5


def test_every_price_names_its_source() -> None:
    """The list is dated; each of its sources has an address and the day it was looked at."""
    path = Path(prices.load().path)
    listed = json.loads(path.read_text())
    assert path.name == f"prices-{listed['as_of']}.json"
    assert {entry["source"] for entry in listed["models"].values()} <= set(listed["sources"])
    assert all(s["url"].startswith("https://") and len(s["checked"]) == 10 for s in listed["sources"].values())


def test_no_model_is_dearer_than_the_dearest() -> None:
    """What an unknown model is priced with is at least the price of any known one, in every class."""
    listed = prices.load()
    dearest = listed.dearest()
    for price in listed.models.values():
        for used in (MILLION, (0, 1_000_000, 0, 0), (0, 0, 1_000_000, 0), (0, 0, 0, 1_000_000)):
            assert price.cost(used, 1_000_000, fast=True) <= dearest.cost(used, 1_000_000)


def test_ones_own_prices_come_first(tmp_path: Path) -> None:
    """A file of one's own replaces and adds; a wrong one is refused with what is wrong, also when it is gone."""
    own = tmp_path / "prices.json"
    own.write_text('{"models": {"glm-5": {"input": 7, "output": 8, "cache_write": 9, "cache_read": 1}}}')
    listed = prices.load(str(own))
    assert (price := listed.of("glm-5")) and price.cost(MILLION) == 7 and listed.of("gpt-5") and listed.own == str(own)
    for text, said in (('{"models": {"m": {"input": 1.5}}}', "input"), ("{", "no list"), ('{"models": 3}', "no list")):
        own.write_text(text)
        with pytest.raises(ConfigError) as found:
            prices.load(str(own))
        assert said in found.value.message and found.value.code == "bad-prices"
    own.unlink()
    with pytest.raises(ConfigError):
        prices.load(str(own))
