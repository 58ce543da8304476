"""The margin book: margins and profit and loss, worked out from the record for a span of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from accounts.profilebook import internal_customers
from billing.chargebook import charges_between
from billing.charges import Charge, Span, Used
from billing.margin import MarginView, margin_view
from billing.pnl import ProfitAndLoss, profit_and_loss
from metering.event import DEFAULT_ACCOUNT
from metering.eventstore import EventStore

FEW = 8
"""So many customers are asked for one by one; more, all together."""


class MarginBook:
    """Margins of one account. Raises what the store raises for reading.

    What is to come has not been earned: spans that end later end now, by `now_ms`.
    """

    def __init__(
        self,
        store: EventStore,
        account_id: str = DEFAULT_ACCOUNT,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._account = account_id
        self._now_ms = now_ms

    def margins(self, dimensions: Sequence[str], since_ms: int, until_ms: int) -> MarginView:
        """Revenue beside the cost of requests begun in [since_ms, until_ms), by any of metering.rollup's
        dimensions. ValueError for an unknown or repeated one."""
        rows = self._store.cost_by(dimensions, since_ms, until_ms, account_id=self._account)
        return margin_view(dimensions, rows, self.charges(since_ms, until_ms), self._internal())

    def profit_and_loss(self, customer: str, since_ms: int, until_ms: int) -> ProfitAndLoss:
        """One customer's, of the same span. A customer that nobody knows has none: all is 0 or None."""
        rows = self._store.cost_by(
            ("customer", "feature"),
            since_ms,
            until_ms,
            account_id=self._account,
            where={"customer": customer},
        )
        return profit_and_loss(
            customer, rows, self.charges(since_ms, until_ms, customer), self._internal((customer,))
        )

    def charges(self, since_ms: int, until_ms: int, customer: str | None = None) -> list[Charge]:
        """What all customers (or this one) owe beside their events for the span."""
        until_ms = min(until_ms, self._now_ms())
        if since_ms >= until_ms:
            return []
        with self._store.reading() as connection:
            return charges_between(connection, self._account, since_ms, until_ms, self._used_in, customer)

    def _used_in(self, spans: Sequence[Span]) -> Used:
        return used_in(self._store, self._account, spans)

    def _internal(self, among: Collection[str] | None = None) -> frozenset[str]:
        with self._store.reading() as connection:
            return internal_customers(connection, self._account, among)


def used_in(store: EventStore, account_id: str, spans: Sequence[Span]) -> Used:
    """Units of all events of each span, from rollups but for ends inside an hour; those with the same
    ends are asked for together."""
    asked: dict[tuple[int, int], list[Span]] = {}
    for span in spans:
        asked.setdefault((span.since_ms, span.until_ms), []).append(span)
    used = dict.fromkeys(spans, 0)
    for (since_ms, until_ms), same in asked.items():
        names = dict.fromkeys(span.customer for span in same)
        questions = [{"customer": name} for name in names] if len(names) <= FEW else [{}]
        for where in questions:
            for row in store.cost_by(
                ("customer", "feature"), since_ms, until_ms, account_id=account_id, where=where
            ):
                customer, feature = row.key
                span = Span(customer or "", feature or "", since_ms, until_ms)
                if span in used:
                    used[span] = row.units
    return used
