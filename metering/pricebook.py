"""The price book: which price is in force for a provider's model at a moment.

Shipped lists carry the published prices; overrides (negotiated or missing prices) are laid over them, unit by
unit, from their date on, and hold in every service tier and at every context length. A lookup is one dict
access until the next price change, day's window edge or new model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metering.price import ModelPrice, Rate, RateSheet
from metering.pricelist import DAY_MS, Entry, Model, PriceList, listed_providers, read_list

__all__ = ["ModelInfo", "ModelPrice", "Override", "PriceBook", "PriceRow"]

# Model names come from clients: this bounds what a flood of invented ones can occupy.
_FOUND_MAX = 10_000
_FAR_PAST, _FAR_FUTURE = -(2**62), 2**62


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's price for one model: pico-USD per `Unit.per` units, from a moment on.

    `model` is the name as requested or the list's canonical id. What is not named here (units, context
    window, maximum output) stays as listed. A rate of 0 says that the unit is free.
    """

    provider: str
    model: str
    effective_from_ms: int
    rates_pico: Mapping[str, int]
    context_window: int | None = None
    max_output_tokens: int | None = None
    source: str = "configuration"

    @property
    def id(self) -> str:
        """The entry id that cost events keep."""
        return f"override:{self.provider}/{self.model}/{self.effective_from_ms}"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a list says of a model beside its prices."""

    id: str
    context_window: int | None
    max_output_tokens: int | None
    reasoning: bool


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One rate of a day, for people: the variant (None: default), from which input length, and its origin.

    in_force: False for what is charged at other hours of the same day.
    """

    variant: str | None
    unit: str
    above: int | None
    pico: int
    entry_id: str
    from_ms: int | None
    hours: tuple[int, int] | None
    source: str
    checked: str | None
    in_force: bool


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
        self._lists: dict[str, PriceList | None] = {}
        self._found: dict[tuple[str, str], _Found] = {}
        self._built: dict[tuple[str, str, tuple[str, ...]], ModelPrice] = {}

    @classmethod
    def load(cls, overrides: Sequence[Override] = ()) -> PriceBook:
        """A book over the shipped lists with `overrides` laid over them."""
        return cls(overrides)

    def find(self, provider: str, model: str, at_ms: int) -> ModelPrice | None:
        """The price of a call that starts at `at_ms`; None where no price is known."""
        found = self._found.get((provider, model))
        if found is not None and found.from_ms <= at_ms < found.until_ms:
            return found.price
        return self._look_up(provider, model, at_ms)

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

    def rows(self, provider: str, model: str, at_ms: int) -> list[PriceRow]:
        """Every rate for a call that starts at `at_ms`: default, variants, overrides, then other hours'."""
        _, listed, overrides = self._named(provider, model)
        rows: list[PriceRow] = []
        base = _in_force(listed.prices, at_ms) if listed else None
        if listed is not None and base is not None:
            for entry in (base, *(each for each in listed.variants if each.active(at_ms))):
                rows += _entry_rows(entry, in_force=True)
        for override in overrides:
            if override.effective_from_ms <= at_ms:
                rows += _override_rows(override)
        for entry in _other_hours(listed.prices, at_ms) if listed else ():
            if entry is not base:
                rows += _entry_rows(entry, in_force=False)
        return rows

    def _look_up(self, provider: str, model: str, at_ms: int) -> ModelPrice | None:
        owner, listed, overrides = self._named(provider, model)
        entries = [*listed.prices, *listed.variants] if listed else []
        from_ms, until_ms = _steady(entries, overrides, at_ms)
        price = self._price(provider, owner or model, listed, overrides, at_ms)
        if len(self._found) >= _FOUND_MAX:
            self._found.clear()
        self._found[provider, model] = _Found(from_ms, until_ms, price)
        return price

    def _named(self, provider: str, name: str) -> tuple[str | None, Model | None, list[Override]]:
        """(canonical id, listed model, overrides by date) of a requested name."""
        listed = self._model(provider, name)
        keys = {(provider.lower(), name.lower())}
        if listed is not None:
            keys.add((provider.lower(), listed.id.lower()))
        overrides = [each for key in keys for each in self._overrides.get(key, ())]
        overrides.sort(key=lambda each: (each.effective_from_ms, each.model))
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
            built = _model_price(provider, owner, listed, base, variants, laid)
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
) -> ModelPrice:
    billed_as = listed.billed_as if listed else {}
    negotiated = {
        unit: Rate(((-1, pico),), override.id)
        for override in laid
        for unit, pico in override.rates_pico.items()
    }
    own = dict(base.rates) if base else {}
    minimums = base.minimums if base else {}
    overlays: dict[str, dict[str, Rate]] = {}
    for entry in variants:
        assert entry.variant is not None
        overlay = overlays.setdefault(entry.variant, {})
        # Of several active entries for one variant the first in the file speaks, unit by unit.
        for unit, rate in entry.rates.items():
            overlay.setdefault(unit, rate)
    windows = [each.context_window for each in laid if each.context_window]
    maxima = [each.max_output_tokens for each in laid if each.max_output_tokens]
    return ModelPrice(
        provider=provider,
        model=owner,
        context_window=windows[-1] if windows else listed.context_window if listed else None,
        max_output_tokens=maxima[-1] if maxima else listed.max_output_tokens if listed else None,
        reasoning=listed.reasoning if listed else False,
        default=RateSheet({**own, **negotiated}, billed_as, minimums),
        variants={
            name: RateSheet({**own, **overlay, **negotiated}, billed_as, minimums)
            for name, overlay in overlays.items()
        },
    )


def _steady(entries: Sequence[Entry], overrides: Sequence[Override], at_ms: int) -> tuple[int, int]:
    """The stretch around `at_ms` in which no entry starts, ends or changes its daily window."""
    edges = [override.effective_from_ms for override in overrides]
    midnight = at_ms - at_ms % DAY_MS
    for entry in entries:
        edges += [edge for edge in (entry.from_ms, entry.until_ms) if edge is not None]
        for clock in entry.hours or ():
            edges += [midnight + clock + day for day in (-DAY_MS, 0, DAY_MS)]
    return (
        max((edge for edge in edges if edge <= at_ms), default=_FAR_PAST),
        min((edge for edge in edges if edge > at_ms), default=_FAR_FUTURE),
    )


def _entry_rows(entry: Entry, *, in_force: bool) -> list[PriceRow]:
    return [
        PriceRow(
            variant=entry.variant,
            unit=unit,
            above=above if above >= 0 else None,
            pico=pico,
            entry_id=entry.id,
            from_ms=entry.from_ms,
            hours=entry.hours,
            source=entry.source,
            checked=entry.checked,
            in_force=in_force,
        )
        for unit, rate in entry.rates.items()
        for above, pico in rate.steps
    ]


def _override_rows(override: Override) -> list[PriceRow]:
    return [
        PriceRow(
            variant=None,
            unit=unit,
            above=None,
            pico=pico,
            entry_id=override.id,
            from_ms=override.effective_from_ms,
            hours=None,
            source=override.source,
            checked=None,
            in_force=True,
        )
        for unit, pico in override.rates_pico.items()
    ]
