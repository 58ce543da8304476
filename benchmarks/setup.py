"""Set-ups: what a gateway under measurement is given, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CUSTOMER, FEATURE, PLAN = "acme", "ai_summarization", "bench"
ALLOWANCES = (
    *(("key", "day"), ("key", "month"), ("account", "month"), ("plan", "month")),
    *(("key", "week"), ("key", "lifetime")),
    *(("account", "day"), ("account", "week"), ("account", "lifetime")),
    *((f"customer:{CUSTOMER}", window) for window in ("day", "week", "month", "lifetime")),
    *((f"feature:{FEATURE}", window) for window in ("day", "week", "month")),
)
"""What a request can count on, first what it counts on usually; "plan" is that of its customer."""
USUAL_LIMITS = 4


@dataclass(frozen=True, slots=True)
class Setup:
    """A gateway with the first `limits` of ALLOWANCES, its own Redis on a unix socket or one over TCP,
    so many `workers`, and a provider that is reached by TLS or not."""

    limits: int = USUAL_LIMITS
    redis: Literal["embedded", "tcp"] = "embedded"
    tls: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.limits <= len(ALLOWANCES):
            raise ValueError(f"a request can count on 0 to {len(ALLOWANCES)} limits, not {self.limits}")

    @property
    def name(self) -> str:
        """The subject's name: "gateway", and behind it what is not as usual."""
        parts = [
            f"{self.limits}-limits" if self.limits != USUAL_LIMITS else "",
            "tcp-redis" if self.redis == "tcp" else "",
            "tls" if self.tls else "",
            f"{self.workers}-workers" if self.workers != 1 else "",
        ]
        return "-".join(["gateway", *filter(None, parts)])

    @property
    def allowances(self) -> tuple[tuple[str, str], ...]:
        """(on what, in which window) of each limit."""
        return ALLOWANCES[: self.limits]

    def windows_on(self, what: str) -> list[str]:
        """The windows of the limits on the key, or on the plan."""
        return [window for on, window in self.allowances if on == what]


USUAL = Setup()
