"""Lanes: the kinds of load, as data. A new lane is one more row of the table."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from benchmarks.setup import USUAL, Setup

FILLER = (
    "You are asked to summarise the following notes for a customer of a small company in plain words, "
    "keeping every number, and to say what is missing. "
)


@dataclass(frozen=True, slots=True)
class Lane:
    """One kind of load. Times in seconds.

    Closed loop: `connections` keep one request each in flight, for `window_s`, or until `requests` were
    sent. With `rate`, an open loop of so many requests per second over at most `connections`.
    `ramp_s` spreads the first requests, so that paced streams do not all tick at one moment.
    `gateways` are measured side by side. `peers`: other gateways take part; many open streams are too much
    for some. `direct`: measured without any proxy, too, because what a proxy adds is asked.
    """

    name: str
    model: str
    connections: int
    stream: bool = False
    window_s: float = 3.0
    requests: int | None = None
    rate: float = 0.0
    ramp_s: float = 0.0
    include_usage: bool = False
    body_bytes: int = 1024
    gateways: tuple[Setup, ...] = (USUAL,)
    peers: bool = False
    direct: bool = False

    @property
    def unit(self) -> str:
        """What CPU time is divided by: a delivered chunk of a stream, else a request."""
        return "chunk" if self.stream else "request"

    @property
    def warm_up_s(self) -> float:
        """How long each subject is run before the first round counts."""
        return 1.0

    def body(self, model: str | None = None) -> bytes:
        """The request body, `body_bytes` long where that is not less than its fixed parts."""
        document: dict[str, object] = {"model": model or self.model}
        if self.stream:
            document["stream"] = True
        if self.include_usage:
            document["stream_options"] = {"include_usage": True}
        document["temperature"] = 0.2
        messages = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": ""}]
        document["messages"] = messages
        missing = max(1, self.body_bytes - len(json.dumps(document)))
        messages[1]["content"] = (FILLER * (missing // len(FILLER) + 1))[:missing]
        return json.dumps(document).encode()

    def warm_body(self) -> bytes:
        """The same request without the pace: warming up 200 paced chunks would take four seconds."""
        return self.body("bench-unpaced-200" if self.stream else None)

    def briefly(self) -> Lane:
        """The lane as CI runs it: the same load for a shorter time, streams of half the length."""
        if self.requests is not None:
            return replace(self, model="bench-paced-100")
        # At a low rate a second holds too few requests for a quantile.
        return replace(self, window_s=min(self.window_s, 3.0 if self.rate else 1.0))


def _nonstream(connections: int, *, peers: bool = False) -> Lane:
    return Lane(f"nonstream-{connections}", "bench-1kb", connections, peers=peers)


def _beside(name: str, *others: Setup) -> Lane:
    """The usual gateway and others, side by side."""
    return Lane(name, "bench-1kb", 64, gateways=(USUAL, *others))


def _paced(streams: int, *, include_usage: bool = False, peers: bool = False) -> Lane:
    name = f"paced-{streams}" + ("-usage" if include_usage else "")
    return Lane(
        name,
        "bench-paced-200",
        streams,
        stream=True,
        requests=streams,
        ramp_s=0.4,
        include_usage=include_usage,
        peers=peers,
    )


def _unpaced(connections: int, *, include_usage: bool = False, peers: bool = False) -> Lane:
    return Lane(
        f"unpaced-{connections}" + ("-usage" if include_usage else ""),
        "bench-unpaced-200",
        connections,
        stream=True,
        window_s=2.0,
        include_usage=include_usage,
        peers=peers,
    )


LANES: dict[str, Lane] = {
    lane.name: lane
    for lane in (
        _nonstream(1),
        _nonstream(16, peers=True),
        _nonstream(64, peers=True),
        _nonstream(256),
        _paced(20, peers=True),
        _paced(60),
        _paced(60, include_usage=True),
        _paced(200),
        _paced(1000),
        _unpaced(32, peers=True),
        _unpaced(32, include_usage=True),
        Lane("burst-32", "bench-burst-200", 32, stream=True, window_s=2.0),
        Lane("body-1kb", "bench-1kb", 16),
        Lane("body-20kb", "bench-1kb", 16, body_bytes=20 * 1024),
        Lane("body-200kb", "bench-1kb", 16, body_bytes=200 * 1024),
        Lane("latency-50rps", "bench-1kb", 32, rate=50.0, window_s=5.0, peers=True, direct=True),
        _beside("limits", Setup(limits=0), Setup(limits=16)),
        _beside("tcp-redis", Setup(redis="tcp")),
        _beside("tls-upstream", Setup(tls=True)),
        _beside("workers", Setup(workers=2)),
    )
}
IDLE_MODEL = "bench-paced-1"
"""For streams that say nothing for long, which are no lane."""
DEFAULT_LANES = ("nonstream-16", "nonstream-64", "paced-60", "unpaced-32")
MODELS = sorted(
    {lane.model for lane in LANES.values()}
    | {lane.briefly().model for lane in LANES.values()}
    | {"bench-unpaced-200", IDLE_MODEL}
)
