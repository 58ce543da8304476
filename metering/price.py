"""What one model costs at one time: its rates per service tier and context length, and the dearest of them.

A sheet holds one variant's rates (default, flex, priority, batch, ...), cut into bands by the length of the
input; `metering.charge` does the sums inside a band.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from metering.charge import Band, Cost, Line
from metering.usage import Usage

__all__ = ["DEFAULT_TIERS", "CeilingRates", "Cost", "Line", "ModelPrice", "Rate", "RateSheet"]

# What providers call the tier that the list prices are for.
DEFAULT_TIERS = ("default", "standard", "auto", "on_demand")


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
    """One unit's price: (above, pico) steps by the request's input tokens, the first above -1.

    The step that applies is the last whose `above` the input exceeds, and it applies to every token of the
    request (a cliff, as all providers with long-context prices bill).
    """

    steps: tuple[tuple[int, int], ...]
    entry_id: str

    def at(self, input_tokens: int) -> int:
        """Pico-USD per unit in a request of this many input tokens."""
        return next((pico for above, pico in reversed(self.steps) if input_tokens > above), self.steps[0][1])


class RateSheet:
    """The rates of one variant (default, flex, ...) at one time, cut into context bands."""

    __slots__ = ("_bands", "_first")

    def __init__(
        self, rates: Mapping[str, Rate], billed_as: Mapping[str, str], minimums: Mapping[str, int]
    ) -> None:
        thresholds = sorted({above for rate in rates.values() for above, _ in rate.steps} | {-1})
        bands = [
            (
                above,
                Band(
                    {unit: (rate.at(above + 1), rate.entry_id) for unit, rate in rates.items()},
                    billed_as,
                    minimums,
                ),
            )
            for above in thresholds
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


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What one model costs at one time, in every service tier. Found by `PriceBook.find`.

    `model` is the canonical id of the price list; `max_output_tokens` and `context_window` are None where not
    known; `reasoning` says that the model may spend output on reasoning unasked.
    """

    provider: str
    model: str
    context_window: int | None
    max_output_tokens: int | None
    reasoning: bool
    default: RateSheet = field(repr=False)
    variants: Mapping[str, RateSheet] = field(repr=False)
    _thresholds: tuple[int, ...] = field(default=(), init=False, repr=False, compare=False)
    _ceilings: dict[tuple[int, bool], CeilingRates] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        sheets = (self.default, *self.variants.values())
        thresholds = {threshold for sheet in sheets for threshold in sheet.thresholds}
        object.__setattr__(self, "_thresholds", tuple(sorted(thresholds)))

    def cost_of(self, usage: Usage, *, service_tier: str | None = None) -> Cost:
        """What `usage` costs in the tier that served it (`default`, `flex`, `priority`, `batch`, ...).

        A tier without a price of its own is charged at the default rates; the cost notes it, and its upper
        figure is the dearest tier's, or unknown where the list has no tiers at all.
        """
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
        return Cost(
            cost.nano, cost.status, cost.lines, cost.entry_ids, upper, cost.unpriced_units, cost.notes
        )

    def prices(self, unit: str) -> bool:
        """True where a count of this unit has a price, its own or the one it is billed as or falls back to.

        A request that can cause units without one (audio at a model listed without audio rates) has no
        ceiling, whatever `ceiling_rates` says of its text.
        """
        return all(sheet.bands()[0].prices(unit) for sheet in (self.default, *self.variants.values()))

    def ceiling_rates(
        self,
        tiers: Literal["all"] | Collection[str] = "all",
        *,
        input_tokens_max: int | None = None,
        media: bool = True,
    ) -> CeilingRates:
        """The dearest rates any token of a request can be charged at.

        tiers: which service tiers may serve it beside the default. input_tokens_max: leaves out long-context
        rates that so few input tokens cannot reach. media: False leaves out audio, image and video rates, for
        requests made only of text.
        """
        if tiers != "all":
            sheets = [sheet for name, sheet in self.variants.items() if name in tiers]
            return _ceiling([self.default, *sheets], input_tokens_max, media)
        # Every input bound between the same two thresholds has the same answer, so there are only a few.
        reached = self._thresholds
        if input_tokens_max is not None:
            reached = reached[: bisect_left(reached, input_tokens_max)]
        key = (len(reached), media)
        found = self._ceilings.get(key)
        if found is None:
            found = _ceiling([self.default, *self.variants.values()], input_tokens_max, media)
            self._ceilings[key] = found
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
