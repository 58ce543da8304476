"""What Prometheus scrapes. Every label comes from a closed set, so that no caller can grow the series.

`model` is a configured or offered model name, or `other`; customers, features and keys are never labels
(the event store answers for them). Children are bound once and kept: a look-up in a dict of ours costs a
tenth of `labels()`. What every request counts is added up here and told to Prometheus a few times a second:
one value file's update costs as much as twenty additions.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from budgets.limit import LimitTerms
from metering.event import CostEvent

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
_STATUS_CLASS = {1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

ACCEPTED = Counter("tollkeeper_accepted_requests", "Requests that were accepted: each has one cost event")
REQUESTS = Counter(
    "tollkeeper_requests",
    "Accepted requests that have ended",
    ["surface", "provider", "model", "status", "outcome"],
)
SECONDS = Histogram(
    "tollkeeper_request_seconds", "From the request's head to its end", ["surface"], buckets=_SECONDS
)
FIRST_TOKEN = Histogram(
    "tollkeeper_first_token_seconds",
    "From the request's head to the first byte of a stream",
    ["provider"],
    buckets=_SECONDS,
)
ATTEMPTS = Counter("tollkeeper_attempts", "Upstream tries", ["provider", "kind", "outcome"])
TOKENS = Counter("tollkeeper_tokens", "Tokens by kind", ["provider", "model", "kind"])
COST = Counter("tollkeeper_cost_nanousd", "Cost in nano-dollars (1e-9 USD)", ["provider", "model"])
WASTED = Counter(
    "tollkeeper_wasted_nanousd", "Cost of attempts that did not produce the answer", ["provider"]
)
DOUBTED = Counter("tollkeeper_doubted_nanousd", "Held money whose true cost is not known", ["provider"])
UNPRICED = Counter(
    "tollkeeper_unpriced_requests", "Requests whose cost is unknown for want of a price", ["provider"]
)
TRUNCATED = Counter(
    "tollkeeper_truncated_requests", "Answers that a maximum of the gateway's cut short", ["provider"]
)
DENIALS = Counter("tollkeeper_denials", "Requests refused before they were accepted", ["surface", "code"])
OVER = Counter(
    "tollkeeper_over_limit",
    "Accepted requests that a soft or shadow limit would have refused",
    ["scope", "kind", "enforcement"],
)
UNCOVERED = Counter(
    "tollkeeper_uncovered_nanousd", "Cost of requests that ran while the ledger was away", ["policy"]
)
UNCOVERED_REQUESTS = Counter(
    "tollkeeper_uncovered_requests", "Requests accepted while the ledger was away", ["policy"]
)
JOURNALLED = Counter("tollkeeper_journalled_closes", "Closes kept in the journal until the ledger took them")
RESTORED = Counter(
    "tollkeeper_restored_requests", "Running requests put back into a ledger that had lost them"
)
CLOSES_TOLD_AGAIN = Counter(
    "tollkeeper_closes_told_again", "Acknowledged closes put back into a ledger that had lost them"
)
OPEN = Gauge("tollkeeper_open_requests", "Accepted requests that are running", multiprocess_mode="livesum")
RESERVED = Gauge(
    "tollkeeper_reserved_nanousd", "Money that running requests hold (1e-9 USD)", multiprocess_mode="livesum"
)
CLOSE_RETRIES = Counter("tollkeeper_close_retries", "Closes that the ledger did not acknowledge at once")

_TOKEN_KINDS = {
    "input_tokens": "input",
    "cache_read_input_tokens": "cached",
    "cache_write_input_tokens": "cache_write",
    "cache_write_5m_input_tokens": "cache_write",
    "cache_write_1h_input_tokens": "cache_write",
    "output_tokens": "output",
    "reasoning_output_tokens": "reasoning",
}


MODELS_MAX = 100
"""Models with a label of their own: a price book may offer thousands, and each has up to forty series."""
REQUEST_SERIES_MAX = 1_800
"""Combinations of the labels of one worker's requests; what comes later is counted without its model."""


class _Series:
    """One series of a counter, and what it came to since Prometheus was told."""

    __slots__ = ("_child", "more")

    def __init__(self, child: Counter) -> None:
        self._child = child
        self.more = 0

    def tell(self) -> None:
        if self.more:
            self._child.inc(self.more)
            self.more = 0


class Metrics:
    """The worker's bound metric children. `models`: names that may be labels, the first ones first.

    `tell` must be called now and then, and when the worker ends.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._models = frozenset(models[:MODELS_MAX])
        self._accepted = _Series(ACCEPTED)
        self._told: list[_Series] = [self._accepted]
        self._requests: dict[tuple[str, str, str, str, str], _Series] = {}
        self._attempts: dict[tuple[str, str, str], _Series] = {}
        self._tokens: dict[tuple[str, str, str], _Series] = {}
        self._cost: dict[tuple[str, str], _Series] = {}
        self._seconds: dict[str, Histogram] = {}
        self._first: dict[str, Histogram] = {}
        self.close_retries = CLOSE_RETRIES
        self.journalled = JOURNALLED
        self.restored = RESTORED
        self.closes_told_again = CLOSES_TOLD_AGAIN

    def denied(self, surface: str, code: str) -> None:
        """Count a request that was not accepted. `code` is one of the gateway's own error codes."""
        DENIALS.labels(surface, code).inc()

    def accepted(self, over: Sequence[LimitTerms]) -> None:
        """Count an accepted request, and the soft and shadow limits that would have refused it."""
        self._accepted.more += 1
        for limit in over:
            OVER.labels(limit.scope, limit.kind, limit.enforcement).inc()

    def tell(self) -> None:
        """Tell Prometheus what was added up here."""
        for series in self._told:
            series.tell()

    def running(self, held_nano: Sequence[int]) -> None:
        """Tell how many requests run, and what each holds; cheaper now and then than for every request."""
        OPEN.set(len(held_nano))
        RESERVED.set(sum(held_nano))

    def uncovered(self, policy: str) -> None:
        """Count a request that runs without the ledger's grant."""
        UNCOVERED_REQUESTS.labels(policy).inc()

    def uncovered_cost(self, policy: str, nano: int) -> None:
        """Count what such a request came to."""
        UNCOVERED.labels(policy).inc(nano)

    def ended(self, event: CostEvent) -> None:
        """Count an accepted request by its cost event."""
        provider = event.provider or "none"
        route = event.route or "other"
        model = route if route in self._models else "other"
        surface = event.surface or "other"
        status = _STATUS_CLASS.get((event.http_status or 0) // 100, "none")
        names = (surface, provider, model, status, event.status)
        series = self._requests.get(names)
        if series is None:
            series = self._new_requests(names)
        series.more += 1
        self._count_attempts(event)
        self._count_tokens(event, provider, model)
        self._count_money(event, provider, model)
        self._time(event, surface, provider)

    def _new_requests(self, names: tuple[str, str, str, str, str]) -> _Series:
        if len(self._requests) >= REQUEST_SERIES_MAX and names[2] != "other":
            surface, provider, _, status, outcome = names
            others = (surface, provider, "other", status, outcome)
            return self._requests.get(others) or self._new_requests(others)
        series = self._requests[names] = self._new(REQUESTS.labels(*names))
        return series

    def _new(self, child: Counter) -> _Series:
        series = _Series(child)
        self._told.append(series)
        return series

    def _count_attempts(self, event: CostEvent) -> None:
        for attempt in event.attempts:
            names = (attempt.provider or "none", attempt.kind, attempt.status)
            series = self._attempts.get(names)
            if series is None:
                series = self._attempts[names] = self._new(ATTEMPTS.labels(*names))
            series.more += 1

    def _count_tokens(self, event: CostEvent, provider: str, model: str) -> None:
        for unit, quantity in (event.usage or {}).items():
            kind = _TOKEN_KINDS.get(unit)
            if kind is None:
                continue
            names = (provider, model, kind)
            series = self._tokens.get(names)
            if series is None:
                series = self._tokens[names] = self._new(TOKENS.labels(*names))
            series.more += quantity

    def _count_money(self, event: CostEvent, provider: str, model: str) -> None:
        if event.cost_nano is None:
            UNPRICED.labels(provider).inc()
        elif event.cost_nano:
            series = self._cost.get((provider, model))
            if series is None:
                series = self._cost[provider, model] = self._new(COST.labels(provider, model))
            series.more += event.cost_nano
        if event.wasted_nano:
            WASTED.labels(provider).inc(event.wasted_nano)
        if event.doubted_nano:
            DOUBTED.labels(provider).inc(event.doubted_nano)
        if event.truncated_by:
            TRUNCATED.labels(provider).inc()

    def _time(self, event: CostEvent, surface: str, provider: str) -> None:
        if event.ended_ms is not None:
            seconds = self._seconds.get(surface)
            if seconds is None:
                seconds = self._seconds[surface] = SECONDS.labels(surface)
            seconds.observe((event.ended_ms - event.started_ms) / 1_000)
        if event.stream and event.first_token_ms is not None:
            first = self._first.get(provider)
            if first is None:
                first = self._first[provider] = FIRST_TOKEN.labels(provider)
            first.observe((event.first_token_ms - event.started_ms) / 1_000)
