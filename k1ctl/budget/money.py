"""What tokens cost where they are held and booked: by the price of their model, never zero where money is limited."""

from __future__ import annotations

from k1ctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.budget.holds import Hold
    from k1ctl.budget.tokens import Usage


def cost(model: str, used: int | Usage, own: str, *, limited: bool) -> int:
    """Micro-dollars, rounded up; ``own`` is the file of one's own prices, ``limited``: money has limits.

    A model that is in no list is priced as the dearest; tokens without a class as the dearest class of the model.
    Without a model nothing is known: 0, or where money is limited UsageError (no-price).
    """
    if not model:
        if limited:
            raise UsageError(
                "money is limited here, and it is not said what this costs",
                hint="name the model (--model M) or the dollars (--usd D)",
                code="no-price",
            )
        return 0
    from k1ctl.budget import prices

    there = prices.load(own)
    price = there.of(model) or there.dearest()
    if not isinstance(used, int):
        return used.weighted(price)
    dearest = max(price.input, price.output, price.cache_write, price.cache_read)
    return -(-used * dearest // 1_000_000)


def as_held(hold: Hold, used: int | Usage | None) -> int | None:
    """Micro-dollars of what is ``booked`` under a hold, as dear as it was held for; None where its model's price is to
    say it: of a usage by class."""
    if used is None:
        return int(hold.micro_usd)
    if isinstance(used, int) or not hold.model:
        return int(-(-hold.micro_usd * hold.booked // hold.tokens))
    return None
