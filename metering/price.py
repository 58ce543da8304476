"""What one model costs at one time: its rates per service tier and context length, and the dearest of them.

A sheet holds one variant's rates (default, flex, priority, batch, ...), cut into bands by the length of the
input; `metering.charge` does the sums inside a band.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from metering.charge import Band
from metering.cost import Cost, Line
from metering.money import half_even
from metering.plan import NO_TERMS, Terms
from metering.units import unit_of
from metering.usage import Usage

__all__ = [
    "DEFAULT_TIERS",
    "NO_UPLIFTS",
    "CeilingRates",
    "Cost",
    "Line",
    "ModelPrice",
    "Rate",
    "RateSheet",
    "Uplifts",
]

# What providers call the tier that the list prices are for.
DEFAULT_TIERS = ("default", "standard", "auto", "on_demand")
NEGOTIATED = "override:"
"""How the entry ids of negotiated prices begin."""


@dataclass(frozen=True, slots=True)
class CeilingRates:
    """The dearest pico-USD that one input token, one output token and one request can be charged.

    unpriced: "input_tokens" and "output_tokens" where no rate is known; their figure is then no bound.
    """

    input_pico: int
    output_pico: int
    request_pico: int
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rate:
    """One unit's price in steps: (above, pico), the first above -1.

    As all providers with long-context prices bill, the step that applies is the last whose `above` the
    request's input tokens exceed, and it applies to everything in the request. A graduated rate goes by the
    number of the unit itself, and each step's rate only to what exceeds it.
    """

    steps: tuple[tuple[int, int], ...]
    entry_id: str
    graduated: bool = False

    def at(self, input_tokens: int) -> int:
        """Pico-USD per unit in a request of this many input tokens; of a graduated rate the dearest."""
        if self.graduated:
            return max(pico for _, pico in self.steps)
        return next((pico for above, pico in reversed(self.steps) if input_tokens > above), self.steps[0][1])

    def scaled(self, per_mille: int) -> Rate:
        """The same at so many thousandths of the price, in whole pico-USD."""
        steps = tuple((above, half_even(pico * per_mille, 1_000)) for above, pico in self.steps)
        return replace(self, steps=steps, entry_id=f"{self.entry_id}*{per_mille}")


@dataclass(frozen=True, slots=True)
class Uplifts:
    """What tokens cost in regions with a price of their own, in thousandths of the list price.

    regions: by region; "*" is any region that is named. told: the answer itself says where it was served, so
    a request may turn out to cost it unasked.
    """

    regions: Mapping[str, int] = field(default_factory=dict)
    told: bool = False

    def of(self, region: str | None) -> int | None:
        """Thousandths for a request served there; None where the list price applies."""
        if region is None or not self.regions:
            return None
        return self.regions.get(region) or self.regions.get("*")

    def dearest(self, region: str | None) -> int | None:
        """The most that can apply to a request that is sent there, or anywhere."""
        if region is not None or not self.told:
            return self.of(region)
        return max(self.regions.values(), default=None)


NO_UPLIFTS = Uplifts()


class RateSheet:
    """The rates of one variant (default, flex, ...) at one time, cut into context bands."""

    __slots__ = ("_bands", "_first", "_rates", "_terms")

    def __init__(self, rates: Mapping[str, Rate], terms: Terms = NO_TERMS) -> None:
        self._rates, self._terms = rates, terms
        graduated = {unit: rate.steps for unit, rate in rates.items() if rate.graduated}
        thresholds = {
            above for rate in rates.values() for above, _ in (rate.steps if not rate.graduated else ())
        }
        bands = [
            (
                above,
                Band(
                    {unit: (rate.at(above + 1), rate.entry_id) for unit, rate in rates.items()},
                    terms,
                    graduated,
                ),
            )
            for above in sorted(thresholds | {-1})
        ]
        self._first = bands[0][1]
        self._bands = tuple(reversed(bands[1:]))

    def band(self, input_tokens: int) -> Band:
        """The band of a request with this many input tokens."""
        for above, band in self._bands:
            if input_tokens > above:
                return band
        return self._first

    @property
    def thresholds(self) -> tuple[int, ...]:
        """The input lengths above which other rates apply, longest first."""
        return tuple(above for above, _ in self._bands)

    def bands(self, input_tokens_max: int | None = None) -> list[Band]:
        """The bands that a request of at most so many input tokens can fall into; all of them without."""
        return [self._first] + [
            band for above, band in self._bands if input_tokens_max is None or input_tokens_max > above
        ]

    def scaled(self, per_mille: int) -> RateSheet:
        """The sheet of a region: listed token rates change, fees for calls and negotiated rates do not."""
        rates = {
            unit: rate.scaled(per_mille) if _is_listed_token(unit, rate) else rate
            for unit, rate in self._rates.items()
        }
        return RateSheet(rates, self._terms)


def _is_listed_token(unit: str, rate: Rate) -> bool:
    known = unit_of(unit)
    return known is not None and known.family == "tokens" and not rate.entry_id.startswith(NEGOTIATED)


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What one model costs at one time, in every service tier. Found by `PriceBook.find`.

    `model` is the canonical id of the price list; `max_output_tokens` and `context_window` are None where not
    known; `reasoning` says that the model may spend output on reasoning unasked. `by_report`: what the
    provider reports as an answer's cost is its bill. `later`: the prices that attempts of a request which
    starts now may meet, when it is still tried after the price has changed; only ceilings ask for them.
    `makes_images`: pictures in its answers have a price, so that it may answer with them unasked.
    """

    provider: str
    model: str
    context_window: int | None
    max_output_tokens: int | None
    reasoning: bool
    default: RateSheet = field(repr=False)
    variants: Mapping[str, RateSheet] = field(repr=False)
    uplifts: Uplifts = field(default=NO_UPLIFTS, repr=False)
    by_report: bool = False
    later: tuple[ModelPrice, ...] = field(default=(), repr=False)
    makes_images: bool = field(default=False, init=False, repr=False, compare=False)
    _thresholds: tuple[int, ...] = field(default=(), init=False, repr=False, compare=False)
    _ceilings: dict[tuple[int, bool, int | None], CeilingRates] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _regional: dict[int, ModelPrice] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        thresholds = {threshold for sheet in self._sheets("all", None) for threshold in sheet.thresholds}
        object.__setattr__(self, "_thresholds", tuple(sorted(thresholds)))
        object.__setattr__(self, "makes_images", self.prices("output_image_tokens"))

    def cost_of(self, usage: Usage, *, service_tier: str | None = None, region: str | None = None) -> Cost:
        """What `usage` costs in the tier that served it (`default`, `flex`, `priority`, `batch`, ...).

        A tier without a price of its own is charged at the default rates; the cost notes it, and its upper
        figure is the dearest tier's, or unknown where the list has no tiers at all.
        """
        if region is not None and (uplift := self.uplifts.of(region)) is not None:
            return self._at(uplift).cost_of(usage, service_tier=service_tier)
        sheet = self.variants.get(service_tier) if service_tier is not None else self.default
        if sheet is not None:
            return sheet.band(usage.input_tokens).cost(usage)
        band = self.default.band(usage.input_tokens)
        if service_tier in DEFAULT_TIERS:
            return band.cost(usage)
        note = f"service tier {service_tier!r} has no price of its own; the default rates were charged"
        cost = band.cost(usage, (note,))
        uppers = [cost.upper_nano] + [
            other.band(usage.input_tokens).cost(usage).upper_nano for other in self.variants.values()
        ]
        known = [upper for upper in uppers if upper is not None]
        upper = max(known) if self.variants and len(known) == len(uppers) else None
        return cost._replace(upper_nano=upper)

    def prices(self, unit: str) -> bool:
        """True where a count of this unit has a price, its own or the one it is billed as or falls back to.

        A request that can cause units without one (audio at a model listed without audio rates) has no
        ceiling, whatever `ceiling_rates` says of its text.
        """
        return all(sheet.bands()[0].prices(unit) for sheet in self._sheets("all", None))

    def ceiling_rates(
        self,
        tiers: Literal["all"] | Collection[str] = "all",
        *,
        input_tokens_max: int | None = None,
        media: bool = True,
        region: str | None = None,
    ) -> CeilingRates:
        """The dearest rates any token of a request can be charged at.

        tiers: which service tiers may serve it beside the default. input_tokens_max: leaves out long-context
        rates that so few input tokens cannot reach. media: False leaves out audio, image and video rates, for
        requests made only of text. region: where it is sent, as far as that is known.
        """
        uplift = None if self.uplifts is NO_UPLIFTS else self.uplifts.dearest(region)
        if tiers != "all":
            return _ceiling(self._sheets(tiers, uplift), input_tokens_max, media)
        # Every input bound between the same two thresholds has the same answer, so there are only a few.
        reached = self._thresholds
        if input_tokens_max is not None:
            reached = reached[: bisect_left(reached, input_tokens_max)]
        key = (len(reached), media, uplift)
        found = self._ceilings.get(key)
        if found is None:
            found = self._ceilings[key] = _ceiling(self._sheets("all", uplift), input_tokens_max, media)
        return found

    def ceiling_of(self, unit: str, region: str | None = None) -> int | None:
        """The dearest pico-USD that `Unit.per` of this unit can cost in any tier; None where it has no bound.

        For what is not counted in tokens: searches, images, seconds, characters, calls of tools.
        """
        uplift = self.uplifts.dearest(region)
        picos = [band.dearest_of(unit) for sheet in self._sheets("all", uplift) for band in sheet.bands()]
        known = [pico for pico in picos if pico is not None]
        return max(known) if known and len(known) == len(picos) else None

    def _sheets(self, tiers: Literal["all"] | Collection[str], uplift: int | None) -> list[RateSheet]:
        """Every sheet that may be charged: of these tiers, in that region or not, now or a little later."""
        price = self if uplift is None else self._at(uplift)
        sheets = [price.default]
        sheets += [sheet for name, sheet in price.variants.items() if tiers == "all" or name in tiers]
        for other in price.later:
            sheets += other._sheets(tiers, None)
        return sheets

    def _at(self, per_mille: int) -> ModelPrice:
        found = self._regional.get(per_mille)
        if found is None:
            found = self._regional[per_mille] = replace(
                self,
                default=self.default.scaled(per_mille),
                variants={name: sheet.scaled(per_mille) for name, sheet in self.variants.items()},
                uplifts=NO_UPLIFTS,
                later=tuple(other._at(per_mille) for other in self.later),
            )
        return found


def _ceiling(sheets: Sequence[RateSheet], input_tokens_max: int | None, media: bool) -> CeilingRates:
    bands = [band for sheet in sheets for band in sheet.bands(input_tokens_max)]
    dearest: dict[str, int] = {}
    unpriced = []
    for direction in ("input", "output"):
        rates = [rate for band in bands if (rate := band.dearest(direction, media=media)) is not None]
        if not rates:
            unpriced.append(f"{direction}_tokens")
        dearest[direction] = max(rates, default=0)
    request = max((band.rates["requests"][0] for band in bands if "requests" in band.rates), default=0)
    return CeilingRates(dearest["input"], dearest["output"], request, tuple(unpriced))
