"""Which model to use now: the first of a chain that its budget, its provider's keys and its breaker let through.

Chains and providers are configuration ([budget.chains], [budget.providers]). A model that several providers serve is
tried with each in turn. The word ``manual`` ends a chain: then it is a person's, or a later moment's. Failures are the
provider's; a limit is the model's (accounts have limits for one model beside those for all), so that the next model of
the same provider is tried: where it is of all, that one is told so, too, or `all_models` was said.
"""

from __future__ import annotations

import time

from k1ctl.budget.breaker import HALF_OPEN, LIMIT, Breakers, of_model
from k1ctl.budget.keys_kept import Keys
from k1ctl.errors import BusyError, ConfigError, K1ctlError
from k1ctl.units import format_duration, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.budget.breaker import Answer
    from k1ctl.budget.ends import End
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

MANUAL = "manual"


class Spender:
    """Whose budget counts, and about how many ``tokens`` the call takes."""

    __slots__ = ("agent", "pool", "task", "tokens")

    def __init__(self, agent: str, tokens: int = 1, task: str = "", pool: str = "") -> None:
        self.agent, self.tokens, self.task, self.pool = agent, tokens, task, pool


class Passed:
    """A model that is not to be used now: ``gate`` (budget, keys or breaker), ``why``, and ``until`` when (None: it is
    not known, or not by itself)."""

    __slots__ = ("gate", "model", "provider", "until", "why")

    def __init__(self, model: str, provider: str, gate: str, why: str, until: float | None) -> None:
        self.model, self.provider, self.gate, self.why, self.until = model, provider, gate, why, until

    def document(self) -> dict[str, Any]:
        until = rfc3339(self.until) if self.until is not None else None
        return {"model": self.model, "provider": self.provider, "gate": self.gate, "why": self.why, "until": until}


class Chosen:
    """The model to use now with which provider, as its one ``probe`` perhaps; ``before`` are those passed over."""

    __slots__ = ("before", "model", "probe", "provider")

    def __init__(self, model: str, provider: str, probe: bool, before: list[Passed]) -> None:
        self.model, self.provider, self.probe, self.before = model, provider, probe, before

    def document(self) -> dict[str, Any]:
        before = [passed.document() for passed in self.before]
        return {"model": self.model, "provider": self.provider, "probe": self.probe, "before": before}


class Models:
    """The chains of a root. ``now`` is a time in seconds since 1970, None the present."""

    def __init__(self, workspace: Workspace, config: Config) -> None:
        self.workspace, self.config = workspace, config
        self.breakers, self.keys = Breakers(workspace, config), Keys(workspace, config)

    def chain(self, task: str) -> list[str]:
        """The models for a kind of task. Raises ConfigError (unknown-chain, no-provider)."""
        names = self.config.names("budget", "chains")
        models = list(self.config.get("budget", "chains", task, "models")) if task in names else []
        if not models:
            there = f"configured: {', '.join(names)}" if names else "see docs/budget-keys.md"
            raise ConfigError(
                f"no chain of models is configured for {task!r}",
                hint=f"set [budget.chains.{task}] models; {there}",
                code="unknown-chain",
            )
        if MANUAL in models:
            models = models[: models.index(MANUAL) + 1]
        for model in models:
            if model != MANUAL:
                self.providers(model)
        return models

    def providers(self, model: str) -> list[str]:
        """Who serves a model. Raises ConfigError (no-provider)."""
        names = self.config.names("budget", "providers")
        found = [name for name in names if model in self.config.get("budget", "providers", name, "models")]
        if not found:
            raise ConfigError(
                f"no provider serves the model {model!r}",
                hint=f'add it to a provider, as in [budget.providers.NAME] models = ["{model}"]',
                code="no-provider",
            )
        return found

    def choose(self, task: str, spender: Spender, *, dry_run: bool = False, now: float | None = None) -> Chosen:
        """The model to use now for a kind of task.

        In HALF_OPEN one caller at a time is let through, as the probe; with ``dry_run`` nobody becomes it. Raises
        BusyError (no-model, with ``reasons`` and ``until``), ConfigError, OSError.
        """
        before: list[Passed] = []
        for model in self.chain(task):
            if model == MANUAL:
                break
            poor = self._budget(model, spender, now)
            for provider in self.providers(model):
                stop = self._stop(model, provider, poor, now)
                if stop is None:
                    names = (provider, of_model(provider, model))
                    answer = None if dry_run else self.breakers.ask_all(names, now)
                    if answer is None or answer.go:
                        return Chosen(model, provider, answer is not None and answer.probe, before)
                    stop = _at_breaker(model, provider, answer)
                before.append(Passed(model, provider, stop.gate, stop.why, stop.until))
        raise self._nobody(task, before, time.time() if now is None else now)

    def lift(self, model: str, *, provider: str = "", now: float | None = None) -> list[dict[str, Any]]:
        """Take back what was reported of a model and its provider; returns their breakers. Raises as `report`."""
        provider = self._provider(model, provider)
        names = (provider, of_model(provider, model))
        for name in names:
            self.breakers.lift(name, now)
        return [self.breakers.document(name, now) for name in names]

    def report(
        self,
        model: str,
        what: str,
        *,
        provider: str = "",
        end: End | None = None,
        all_models: bool = False,
        now: float | None = None,
    ) -> list[dict[str, Any]]:
        """Record what became of a call of a model (ok, limit or error); returns the breakers that it is of.

        Raises ConfigError (no-provider) for a provider that does not serve it, or when it has to be named, OSError.
        """
        provider = self._provider(model, provider)
        own = of_model(provider, model)
        names = [own] if what == LIMIT and not all_models else [provider]
        if what != LIMIT and self.breakers.document(own, now)["state"] == HALF_OPEN:
            names.append(own)  # whoever tries a model after a limit without an end tells of it, too
        for name in names:
            self.breakers.report(name, what, end=end, now=now)
        return [self.breakers.document(name, now) for name in names]

    def _provider(self, model: str, provider: str) -> str:
        """The provider of that name that serves a model, or the only one. Raises ConfigError (no-provider)."""
        known = self.providers(model)
        if (provider and provider not in known) or (not provider and len(known) > 1):
            said = f"{provider} does not serve {model}" if provider else f"several providers serve {model}"
            raise ConfigError(said, hint=f"name one by --provider: {', '.join(known)}", code="no-provider")
        return provider or known[0]

    def _stop(self, model: str, provider: str, poor: Passed | None, now: float | None) -> Passed | None:
        """Of all that keeps the model back with this provider, what lasts longest: its end is the one to wait for."""
        answers = [self.breakers.look(name, now) for name in (provider, of_model(provider, model))]
        stops = [_at_breaker(model, provider, answer) for answer in answers if not answer.go]
        stops += [stop for stop in (self._keys(model, provider, now), poor) if stop is not None]
        return max(stops, key=lambda stop: float("inf") if stop.until is None else stop.until, default=None)

    def _budget(self, model: str, spender: Spender, now: float | None) -> Passed | None:
        """Why the ledger would not let the call be reserved. Money is the last gate; here it is only asked."""
        from k1ctl.budget import prices
        from k1ctl.budget.ledger import Ledger

        ledger = Ledger(self.workspace, self.config)
        if not ledger.limits:
            return None
        moment = time.time() if now is None else now
        reasons = ledger.ask(
            spender.tokens, agent=spender.agent, task=spender.task, pool=spender.pool, model=model, now=now
        )
        if not reasons:
            return None
        waits = [None if reason.never else reason.expected_seconds for reason in reasons]
        known = [wait for wait in waits if wait is not None]
        until = moment + max(known) if len(known) == len(waits) else None
        why = "; ".join(reason.text for reason in reasons)
        if any(reason.unit for reason in reasons) and prices.load(ledger.limits.prices).of(model) is None:
            why += "; no price is known of it, so it counts as the dearest (budget.prices)"
        return Passed(model, "", "budget", why, until)

    def _keys(self, model: str, provider: str, now: float | None) -> Passed | None:
        """Why no key of the provider can be used; a provider without keys here has its login elsewhere."""
        _, end = self.keys.waits(provider, now)
        return None if end is None else Passed(model, provider, "keys", end["why"], end["until"])

    def _nobody(self, task: str, before: list[Passed], now: float) -> K1ctlError:
        first = min((passed.until for passed in before if passed.until is not None), default=None)
        alike: dict[str, list[str]] = {}
        for passed in before:
            alike.setdefault(passed.why, []).append(f"{passed.model} ({passed.provider})")
        texts = "; ".join(f"{', '.join(names)}: {why}" for why, names in alike.items())
        when = f"again at {rfc3339(first)} (in {format_duration(max(first - now, 0.0))})" if first else "not by itself"
        return BusyError(
            f"no model for {task} now, {when}: {texts}" if before else f"{task} is done by a person: {MANUAL}",
            hint="a person takes it, or it waits" if before else f"add models to [budget.chains.{task}]",
            code="no-model",
            model=MANUAL,
            reasons=[passed.document() for passed in before],
            until=rfc3339(first) if first else None,
            expected_seconds=max(first - now, 0.0) if first else None,
        )


def _at_breaker(model: str, provider: str, answer: Answer) -> Passed:
    return Passed(model, provider, "breaker", f"its breaker is {answer.state}: {answer.why}", answer.until)
