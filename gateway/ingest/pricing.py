"""What a reported event cost: as the caller says, else by the price book, else not known.

A report names no service of a provider that was asked for, only a model and perhaps who served it. Where it
names nobody, the maker of the model is taken if its price list knows the name; a model that only resellers
list may have been bought from any of them, and stays without a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.ingest.fields import Refused
from gateway.ingest.reported import Reported
from metering.bill import bill
from metering.cost import Cost, Line
from metering.event import AMOUNT_MAX
from metering.money import PICO_PER_NANO
from metering.pricebook import PriceBook
from metering.usage import Usage
from metering.usage.reading import Reading

GIVEN = "reported_amount"
"""The unit of a row that is an amount the caller gave, and not a count."""
MAKERS = (
    *("openai", "anthropic", "mistral", "cohere", "deepseek", "x-ai", "moonshotai", "minimax", "perplexity"),
    *("voyageai", "zhipuai", "zai", "arcee", "elevenlabs", "google"),
)
"""Providers whose lists are of models of their own; in this order, since some also resell those of others."""
NAMES = {
    "anthropic-vertex": "google",
    "aws-bedrock": "aws",
    "azure-openai": "azure",
    "azure-ai": "azure",
    "bedrock": "aws",
    "amazon": "aws",
    "amazon-bedrock": "aws",
    "claude": "anthropic",
    "fireworks-ai": "fireworks",
    "gemini": "google",
    "google-genai": "google",
    "google-vertex": "google",
    "grok": "x-ai",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "open-router": "openrouter",
    "together-ai": "together",
    "togetherai": "together",
    "vertex": "google",
    "vertex-ai": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}
"""What providers are called elsewhere, in lower case and with `-` for `_`, blanks and dots."""
FOUND_MAX = 10_000


class Priced(NamedTuple):
    """What one report cost; a named tuple, because one is made for each report.

    provider: who is taken to have served it, None where nobody is known. status: override (the caller's
    amount, or negotiated rates), priced, unpriced (`nano` is None) or free, which is said of events that
    tell of no call of a model.
    """

    nano: int | None
    status: str
    provider: str | None
    lines: tuple[Line, ...] = ()
    entry_ids: tuple[str, ...] = ()
    upper_nano: int | None = None


class Pricer:
    """Prices reports by one book. `lists`: configured providers' names -> the price lists that they have."""

    def __init__(self, book: PriceBook, lists: Mapping[str, str] | None = None) -> None:
        self._book = book
        self._lists = {name.lower(): listed for name, listed in (lists or {}).items()}
        self._known = set(book.providers())
        self._makers: dict[tuple[str, str], tuple[str, str] | None] = {}

    def price(self, reported: Reported, usage: Usage | None, at_ms: int, account_id: str) -> Priced:
        """The cost of an event that happened then; `usage` is its own. Raises Refused where it is beyond what
        can be counted."""
        provider, model = self._served(reported, at_ms, account_id)
        if reported.cost_nano is not None:
            row = Line(GIVEN, 1, reported.cost_nano * PICO_PER_NANO, reported.cost_nano)
            return Priced(reported.cost_nano, "override", provider, (row,), (), reported.cost_nano)
        if model is None:
            return Priced(0, "free", provider) if usage is None else Priced(None, "unpriced", provider)
        listed = self._list(provider) if provider is not None else None
        if listed is None or usage is None:
            return Priced(None, "unpriced", provider)
        reading = Reading(usage, service_tier=reported.service_tier)
        cost = bill(self._book, listed, model, reading, at_ms, account=account_id)
        if cost.nano is not None and cost.nano > AMOUNT_MAX:
            raise Refused("the event costs more than can be counted", field="inputTokens")
        return Priced(cost.nano, _status(cost), provider, cost.lines, cost.entry_ids, cost.upper_nano)

    def _served(self, reported: Reported, at_ms: int, account_id: str) -> tuple[str | None, str | None]:
        """(provider, model as its list calls it)."""
        model = reported.model
        if reported.provider is not None or model is None:
            return reported.provider, model
        key = (model, account_id)
        if key not in self._makers:
            if len(self._makers) >= FOUND_MAX:
                self._makers.clear()
            self._makers[key] = self._maker(model, at_ms, account_id)
        return self._makers[key] or (None, model)

    def _maker(self, model: str, at_ms: int, account_id: str) -> tuple[str, str] | None:
        prefix, slash, rest = model.partition("/")
        if slash and rest:
            listed = self._list(prefix)
            if listed is not None and self._book.find(listed, rest, at_ms, account_id) is not None:
                return prefix.lower(), rest
        for maker in MAKERS:
            if self._book.find(maker, model, at_ms, account_id) is not None:
                return maker, model
        return None

    def _list(self, provider: str) -> str | None:
        """The price list of a provider, however it is called; None for one without."""
        if provider in self._known and provider not in self._lists:
            return provider
        name = provider.lower()
        found = self._lists.get(name, name)
        if found in self._known:
            return found
        plain = "-".join(name.replace("_", " ").replace(".", " ").replace("-", " ").split())
        found = NAMES.get(plain, plain)
        return found if found in self._known else None


def _status(cost: Cost) -> str:
    if cost.nano is None:
        return "unpriced"
    negotiated = any(entry.startswith("override:") for entry in cost.entry_ids)
    return "override" if negotiated else cost.status
