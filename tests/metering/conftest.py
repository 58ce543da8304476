"""What the tests of the price book share: one book over the shipped lists, and moments in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from metering.pricebook import ModelPrice, PriceBook


def moment(text: str) -> int:
    """2026-11-21 or 2026-11-21T18:30, UTC, in ms since the epoch."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="session")
def book() -> PriceBook:
    return PriceBook.load()


@pytest.fixture(scope="session")
def price_of(book: PriceBook) -> Callable[..., ModelPrice]:
    """The price of a provider's model that must be known."""

    def found(provider: str, model: str, at: str = "2026-11-21") -> ModelPrice:
        price = book.find(provider, model, moment(at))
        assert price is not None
        return price

    return found
