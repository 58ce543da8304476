"""What Prometheus hears of the api process: its questions by endpoint, never by who asked."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Histogram

from gateway.api.endpoint import Endpoint

QUESTIONS = Counter(
    "tollkeeper_api_requests",
    "Requests to endpoints of the read and management API",
    ["method", "path", "status"],
)
SECONDS = Histogram(
    "tollkeeper_api_request_seconds",
    "From a request's head to its answer, in the api process",
    ["tag"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
)


def told(endpoint: Endpoint, status: int, seconds: float) -> None:
    """One request was answered."""
    asked, took = _of(endpoint.method, endpoint.path, endpoint.tag, status // 100)
    asked.inc()
    took.observe(seconds)


@cache
def _of(method: str, path: str, tag: str, kind: int) -> tuple[Counter, Histogram]:
    """Finding a value by its labels takes longer than changing it, and of these there are a few hundred."""
    return QUESTIONS.labels(method, path, f"{kind}xx"), SECONDS.labels(tag)
