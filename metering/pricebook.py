"""The price book: which price is in force for a provider's model at a moment.

Shipped lists carry the published prices; overrides (negotiated or missing prices) are laid over them, unit by
unit, from their date on, and hold in every service tier and at every context length. A lookup is one dict
access until the next price change, day's window edge or new model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from metering.override import Override, negotiated
from metering.plan import NO_TERMS, Terms
from metering.price import NO_UPLIFTS, ModelPrice, Rate, RateSheet
from metering.pricelist import DAY_MS, Entry, Model, PriceList, listed_providers, read_list
from metering.pricerows import PriceRow, entry_rows, override_rows

__all__ = ["ModelInfo", "ModelPrice", "Override", "PriceBook", "PriceRow"]

# Model names come from clients: this bounds what a flood of invented ones can occupy.
_FOUND_MAX = 10_000
# How long after its start a request may still be tried anew; its ceiling bounds the prices until then, too.
HORIZON_MS = 3_600_000
_FAR_PAST, _FAR_FUTURE = -(2**62), 2**62


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a list says of a model beside its prices."""

    id: str
    context_window: int | None
    max_output_tokens: int | None
    reasoning: bool


@dataclass(frozen=True, slots=True)
class _Found:
    """What a lookup answers, and for which call starts [from_ms, until_ms) it keeps being the answer."""

    from_ms: int
    until_ms: int
    price: ModelPrice | None


class PriceBook:
    """Prices by provider, model and time. Lists are read when first needed; nothing is ever written."""

    def __init__(self, overrides: Sequence[Override] = ()) -> None:
        self._overrides: dict[tuple[str, str], list[Override]] = {}
        for override in sorted(overrides, key=lambda each: each.effective_from_ms):
            key = (override.provider.lower(), override.model.lower())
            self._overrides.setdefault(key, []).append(override)
        self._accounts = {override.account for override in overrides if override.account}
        self._lists: dict[str, PriceList | None] = {}
        self._found: dict[tuple[str, str, str | None], _Found] = {}
        self._built: dict[tuple[str, str, tuple[str, ...]], ModelPrice] = {}

    @classmethod
    def load(cls, overrides: Sequence[Override] = ()) -> PriceBook:
        """A book over the shipped lists with `overrides` laid over them."""
        return cls(overrides)

    def find(self, provider: str, model: str, at_ms: int, account: str | None = None) -> ModelPrice | None:
        """The price of a call that starts at `at_ms`; None where no price is known.

        `account`: whose own prices are laid over everybody's, where it has any.
        """
        if account is not None and account not in self._accounts:
            account = None
        found = self._found.get((provider, model, account))
        if found is not None and found.from_ms <= at_ms < found.until_ms:
            return found.price
        return self._look_up(provider, model, account, at_ms)

    def models(self, provider: str) -> list[ModelInfo]:
        """The models that the provider's list has a rate for, and those that only overrides name."""
        listed = self._list(provider)
        infos = [
            ModelInfo(model.id, model.context_window, model.max_output_tokens, model.reasoning)
            for model in (listed.models if listed else ())
            if any(entry.rates for entry in model.prices)
        ]
        for (owner, _), overrides in self._overrides.items():
            last = overrides[-1]
            if owner == provider.lower() and (listed is None or listed.find(last.model) is None):
                infos.append(ModelInfo(last.model, last.context_window, last.max_output_tokens, False))
        return infos

    def providers(self) -> list[str]:
        """Ids of all providers with a list or an override, sorted."""
        return sorted({*listed_providers(), *(provider for provider, _ in self._overrides)})

    def rows(self, provider: str, model: str, at_ms: int, account: str | None = None) -> list[PriceRow]:
        """Every rate for a call that starts at `at_ms`: default, variants, overrides, then other hours'.

        `account`: with its own prices; those of other accounts are not told.
        """
        _, listed, overrides = self._named(provider, model, account)
        rows: list[PriceRow] = []
        base = _in_force(listed.prices, at_ms) if listed else None
        if listed is not None and base is not None:
            for entry in (base, *(each for each in listed.variants if each.active(at_ms))):
                rows += entry_rows(entry, in_force=True)
        for override in overrides:
            if override.effective_from_ms <= at_ms:
                rows += override_rows(override)
        for entry in _other_hours(listed.prices, at_ms) if listed else ():
            if entry is not base:
                rows += entry_rows(entry, in_force=False)
        return rows

    def _look_up(self, provider: str, model: str, account: str | None, at_ms: int) -> ModelPrice | None:
        owner, listed, overrides = self._named(provider, model, account)
        entries = [*listed.prices, *listed.variants] if listed else []
        edges = _edges(entries, overrides, at_ms)
        price = self._price(provider, owner or model, listed, overrides, at_ms)
        soon = [edge for edge in edges if at_ms < edge < at_ms + HORIZON_MS]
        later = [self._price(provider, owner or model, listed, overrides, edge) for edge in sorted(soon)]
        if price is not None and any(other is not price for other in later):
            price = replace(price, later=tuple(other for other in later if other is not None))
        # What holds now, and what will within the hour, changes an hour before each edge and at it.
        changes = edges | {edge - HORIZON_MS + 1 for edge in edges}
        from_ms = max((edge for edge in changes if edge <= at_ms), default=_FAR_PAST)
        until_ms = min((edge for edge in changes if edge > at_ms), default=_FAR_FUTURE)
        if len(self._found) >= _FOUND_MAX:
            self._found.clear()
        self._found[provider, model, account] = _Found(from_ms, until_ms, price)
        return price

    def _named(
        self, provider: str, name: str, account: str | None
    ) -> tuple[str | None, Model | None, list[Override]]:
        """(canonical id, listed model, overrides by date) of a requested name."""
        listed = self._model(provider, name)
        keys = {(provider.lower(), name.lower())}
        if listed is not None:
            keys.add((provider.lower(), listed.id.lower()))
        overrides = [
            each
            for key in keys
            for each in self._overrides.get(key, ())
            if each.account is None or each.account == account
        ]
        overrides.sort(key=lambda each: each.rank)
        owner = listed.id if listed is not None else overrides[-1].model if overrides else None
        return owner, listed, overrides

    def _model(self, provider: str, name: str) -> Model | None:
        listed = self._list(provider)
        if listed is None:
            return None
        found = listed.find(name)
        for other in listed.fallback_providers if found is None else ():
            # A cloud that resells another company's models: its own list speaks first; one step is taken.
            lender = self._list(other)
            found = lender.find(name) if lender else None
            if found is not None:
                break
        return found

    def _list(self, provider: str) -> PriceList | None:
        provider = provider.lower()
        if provider not in self._lists:
            if len(self._lists) >= _FOUND_MAX:
                self._lists.clear()
            self._lists[provider] = read_list(provider)
        return self._lists[provider]

    def _price(
        self,
        provider: str,
        owner: str,
        listed: Model | None,
        overrides: Sequence[Override],
        at_ms: int,
    ) -> ModelPrice | None:
        base = _in_force(listed.prices, at_ms) if listed else None
        variants = [entry for entry in listed.variants if entry.active(at_ms)] if listed else []
        laid = [override for override in overrides if override.effective_from_ms <= at_ms]
        if base is None:
            variants = []
        if base is None and not laid:
            return None
        parts = ([base.id] if base else []) + [entry.id for entry in variants] + [each.id for each in laid]
        key = (provider, owner, tuple(parts))
        built = self._built.get(key)
        if built is None:
            found = self._list(provider)
            by_report = not laid and found is not None and found.by_report
            built = _model_price(provider, owner, listed, base, variants, laid, by_report=by_report)
            if len(self._built) >= _FOUND_MAX:
                self._built.clear()
            self._built[key] = built
        return built


def _in_force(prices: Sequence[Entry], at_ms: int) -> Entry | None:
    """The last active entry wins; one without any rate says that the price is not known."""
    entry = next((entry for entry in reversed(prices) if entry.active(at_ms)), None)
    return entry if entry is not None and entry.rates else None


def _other_hours(prices: Sequence[Entry], at_ms: int) -> list[Entry]:
    """The entries that take turns on the day of `at_ms`; none where one price holds all day."""
    midnight = at_ms - at_ms % DAY_MS
    edges = {midnight} | {midnight + edge for entry in prices for edge in entry.hours or ()}
    turns = [entry for edge in sorted(edges) if (entry := _in_force(prices, edge)) is not None]
    return list({entry.id: entry for entry in turns}.values())


def _model_price(
    provider: str,
    owner: str,
    listed: Model | None,
    base: Entry | None,
    variants: Sequence[Entry],
    laid: Sequence[Override],
    *,
    by_report: bool,
) -> ModelPrice:
    terms = listed.terms if listed else NO_TERMS
    if base is not None and base.minimums:
        terms = Terms(terms.billed_as, terms.once, base.minimums)
    own = dict(base.rates) if base else {}
    overlays: dict[str, dict[str, Rate]] = {}
    for entry in variants:
        assert entry.variant is not None
        overlay = overlays.setdefault(entry.variant, {})
        # Of several active entries for one variant the first in the file speaks, unit by unit.
        for unit, rate in entry.rates.items():
            overlay.setdefault(unit, rate)
    for override in laid:
        if override.service_tier is not None:
            overlays.setdefault(override.service_tier, {})
    windows = [each.context_window for each in laid if each.context_window]
    maxima = [each.max_output_tokens for each in laid if each.max_output_tokens]
    return ModelPrice(
        provider=provider,
        model=owner,
        context_window=windows[-1] if windows else listed.context_window if listed else None,
        max_output_tokens=maxima[-1] if maxima else listed.max_output_tokens if listed else None,
        reasoning=listed.reasoning if listed else False,
        default=RateSheet({**own, **negotiated(laid, None)}, terms),
        variants={
            name: RateSheet({**own, **overlay, **negotiated(laid, name)}, terms)
            for name, overlay in overlays.items()
        },
        uplifts=listed.uplifts if listed else NO_UPLIFTS,
        by_report=by_report,
    )


def _edges(entries: Sequence[Entry], overrides: Sequence[Override], at_ms: int) -> set[int]:
    """The moments around `at_ms` at which an entry starts, ends or changes its window."""
    edges = {override.effective_from_ms for override in overrides}
    midnight = at_ms - at_ms % DAY_MS
    for entry in entries:
        edges |= {edge for edge in (entry.from_ms, entry.until_ms) if edge is not None}
        clocks = [*(entry.hours or ()), *((0,) if entry.weekdays is not None else ())]
        edges |= {midnight + clock + day for clock in clocks for day in (-DAY_MS, 0, DAY_MS)}
    return edges
