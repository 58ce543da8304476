"""A key with a hard budget for each of the demo's customers, and what the ledger says of it later."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from accounts.key import KeyLimit
from accounts.keyring import ACCOUNT, Keyring, NewLimit
from budgets.usage import LimitUsage, read_usage
from gateway.demo.traffic import CUSTOMERS, FEATURES, Call, Customer
from metering.database import open_database
from metering.money import NANO_PER_USD
from metering.pricebook import PriceBook
from metering.usage import Usage

PRICE_LIST = "openai"
SHORT = (2, 5)
"""The budget that is meant to run out, as a part of what the customer's requests are likely to cost."""
AMPLE = 4
"""All others can pay for so many times their likely cost, however long the demo is."""


@dataclass(frozen=True, slots=True)
class DemoKey:
    """One customer's key. `short`: its budget is meant to run out."""

    customer: str
    secret: str
    key_id: str
    limit: KeyLimit
    short: bool


def make_keys(database: Path, calls: Sequence[Call]) -> list[DemoKey]:
    """Make the keys in a database that no server uses yet; `serve` publishes them when it starts.

    Each is bound to its customer and may speak for the demo's features. Raises
    metering.database.DatabaseError.
    """
    prices, now_ms = PriceBook.load(), time.time_ns() // 1_000_000
    engine = open_database(database)
    try:
        keyring = Keyring(engine, None)
        made = []
        for customer in CUSTOMERS:
            likely_nano = sum(
                _likely(call, prices, now_ms) for call in calls if call.customer == customer.name
            )
            secret, record = keyring.create(
                f"demo {customer.name}",
                customer=customer.name,
                features=FEATURES,
                limits=[NewLimit(customer.window, _budget(customer, likely_nano))],
            )
            short = customer.budget_usd is None
            made.append(DemoKey(customer.name, secret, record.id, record.limits[0], short))
        return made
    finally:
        engine.dispose()


def budgets(redis: Redis, keys: Sequence[DemoKey]) -> list[LimitUsage]:
    """Each key's budget as the ledger counts it now. Raises redis.RedisError."""
    return read_usage(redis, ACCOUNT, [key.limit for key in keys])


def _likely(call: Call, prices: PriceBook, now_ms: int) -> int:
    """What the request would cost undisturbed, about, in nano-USD."""
    price = prices.find(PRICE_LIST, call.body["model"], now_ms)
    usage = Usage(input_tokens=call.input_tokens, output_tokens=call.output_tokens)
    return (price.cost_of(usage).nano or 0) if price is not None else 0


def _budget(customer: Customer, likely_nano: int) -> int:
    """Nano-USD."""
    if customer.budget_usd is None:
        part, whole = SHORT
        return max(1, likely_nano * part // whole)
    ample_usd = -(-AMPLE * likely_nano // NANO_PER_USD)
    return max(customer.budget_usd, ample_usd) * NANO_PER_USD
