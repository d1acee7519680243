"""What several subcommands of ``k1ctl budget`` take: tokens, whose they are, what was used by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.errors import UsageError
from k1ctl.output import say
from k1ctl.units import parse_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.tokens import Usage

    F = TypeVar("F", bound=Callable[..., Any])

_MOST_USD = 10**9
_CLASSES = ("input", "output", "cache_write", "cache_read")


class Tokens(click.ParamType[int]):
    """200, 50k, 1.5M."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_tokens(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


TOKENS = Tokens()


def whose(function: F) -> F:
    """Add --agent, --task, --pool, --model, --critical."""
    for option in (
        click.option("--critical", is_flag=True, help="It may use the reserve pool."),
        click.option("--model", default="", metavar="M", help="The model that is used; gives the price."),
        click.option("--pool", default="", metavar="P", help="As firmware, web, test, research."),
        click.option("--task", default="", metavar="T", help="The task it is spent on; limited over its whole life."),
        click.option("--agent", default="", metavar="A", help="Who spends it (default: the workspace's name)."),
    ):
        function = option(function)
    return function


def priced(function: F) -> F:
    """Add --usd."""
    text = "Dollars (default: by the model's price)."
    return click.option("--usd", type=click.FloatRange(min=0), metavar="D", help=text)(function)


def by_class(function: F) -> F:
    """Add --input, --output, --cache-write, --cache-read and --usd."""
    function = priced(function)
    for option in (
        click.option("--cache-read", type=TOKENS, metavar="N", help="Tokens read from the cache."),
        click.option("--cache-write", type=TOKENS, metavar="N", help="Tokens written to the cache."),
        click.option("--output", type=TOKENS, metavar="N", help="Output tokens."),
        click.option("--input", type=TOKENS, metavar="N", help="Input tokens, those from the cache left out."),
    ):
        function = option(function)
    return function


def amount(tokens: int | None, options: Mapping[str, Any]) -> int | Usage | None:
    """What was named: a number of tokens, or a usage by class; None: neither. Raises UsageError for both."""
    given = {name: options[name] for name in _CLASSES if options.get(name) is not None}
    if given and tokens is not None:
        raise UsageError("tokens are named in all and by class", hint="name either 50k or --input 30k --output 20k")
    if not given:
        return tokens
    from k1ctl.budget.tokens import Usage

    return Usage(**given)


def micro_usd(options: Mapping[str, Any]) -> int | None:
    """The dollars of --usd in micro-dollars, None where it was not given. Raises UsageError."""
    usd: float | None = options.get("usd")
    if usd is None:
        return None
    if not usd <= _MOST_USD:  # nor nan
        raise UsageError(f"--usd {usd:g} is no number of dollars", hint=f"at most {_MOST_USD:,}")
    return round(usd * 1_000_000)


def tell_unpriced(ledger: Ledger, model: str, micro_usd: int | None) -> None:
    """Say on stderr that a model without a price counts as the dearest, where money is limited and nobody named it."""
    if not ledger.limits.micro_usd or not model or micro_usd is not None:
        return
    from k1ctl.budget import prices

    if prices.load(ledger.limits.prices).of(model) is None:
        say(f"k1ctl: no price is known of {model}: priced as the dearest; set budget.prices, or name --usd")
