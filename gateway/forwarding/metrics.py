"""What routing tells Prometheus. Labels are configured names and words of closed sets."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CIRCUIT = Gauge(
    "tollkeeper_circuit_state",
    "0 closed, 1 warming, 2 half-open, 3 open; by target of a configured route",
    ["target"],
    multiprocess_mode="livemax",
)
OPENED = Counter("tollkeeper_circuit_opened", "Circuits that opened", ["provider"])
DENIED = Counter(
    "tollkeeper_retries_denied",
    "Attempts that were not repeated: budget (the provider's retry budget), deadline (the wait is too long)",
    ["provider", "reason"],
)
PASSED_OVER = Counter(
    "tollkeeper_targets_passed_over",
    "Targets that were not asked in their turn: circuit, money, window, retry_budget, policy",
    ["provider", "reason"],
)
SET_ASIDE = Counter(
    "tollkeeper_credentials_set_aside",
    "Credentials left alone for a while: rate_limited or credential (refused)",
    ["provider", "reason"],
)
STATES = {"closed": 0, "warming": 1, "half-open": 2, "open": 3}
