"""A worker's metrics in a process that is killed in the end. Arguments: directory, owner, requests, seed.

It counts ended requests of random models, most of them unknown, on every surface with every kind of end.
"""

from __future__ import annotations

import os
import random
import signal
import sys

from gateway.metrics_files import use_value_files

SURFACES = ("chat.completions", "completions", "embeddings", "moderations")
ENDS = (
    (200, "succeeded"),
    (200, "cut"),
    (200, "cancelled"),
    (429, "failed"),
    (502, "failed"),
    (503, "drained"),
)
CODES = ("model_not_found", "invalid_api_key", "budget_exceeded", "rate_limit_exceeded", "malformed_http")
CONFIGURED = [f"model-{number}" for number in range(300)]


def count(requests: int, seed: int) -> None:
    """Count so many requests of random models."""
    from gateway.metrics import Metrics
    from metering.event import Attempt, CostEvent

    chance = random.Random(seed)
    metrics = Metrics(CONFIGURED)
    for number in range(requests):
        event = CostEvent(id=str(number), surface=chance.choice(SURFACES), started_ms=0, ended_ms=1)
        known = chance.random() < 0.3
        event.route = f"model-{chance.randrange(300)}" if known else f"m-{chance.getrandbits(64):x}"
        event.provider = f"provider-{sum(event.route.encode()) % 4}"
        event.http_status, event.status = chance.choice(ENDS)
        event.stream, event.first_token_ms = True, 1
        event.cost_nano = chance.choice((None, 0, 5))
        event.wasted_nano = event.doubted_nano = 1
        event.truncated_by = "gateway"
        event.usage = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 1}
        event.attempts.append(Attempt(kind="primary", provider=event.provider, model="m", started_ms=0))
        event.attempts[0].status = "succeeded"
        metrics.accepted([])
        metrics.ended(event)
        metrics.denied(event.surface, chance.choice(CODES))
    metrics.tell()


if __name__ == "__main__":
    directory, owner, requests, seed = sys.argv[1:]
    use_value_files(directory, owner)
    count(int(requests), int(seed))
    os.kill(os.getpid(), signal.SIGKILL)
