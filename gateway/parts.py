"""Parts: what one worker holds while it serves, built once in `app.py` and handed down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accounts.keycache import KeyCache
from accounts.termscache import TermsCache
from budgets.ledger import Ledger
from gateway.attribution import HeaderTable
from gateway.entitlements import Entitlements
from gateway.metrics import Metrics
from gateway.waiting import WaitingRoom
from metering.pricebook import PriceBook
from routing.table import RouteTable

if TYPE_CHECKING:
    from gateway.closer import Closer
    from gateway.estimates import Estimates
    from gateway.forwarding.upstream import Upstream
    from gateway.repeats import Repeats
    from gateway.request import Request
    from gateway.standing import Standings
    from gateway.stored import StoredAnswers
    from gateway.uncovered import Uncovered


@dataclass(slots=True)
class Parts:
    """The worker's parts.

    `headers`: what each header means. `running`: accepted requests by id. `room`: where requests wait for
    money that others hold. `count_tokens`: (text, model) -> tokens, off the event loop, exact where the
    model's tokenizer is published; `estimates` where it is not. `ping`: asks whether the ledger's server
    answers; raises LedgerUnavailable. `scrape`: all metrics in Prometheus' text format.
    `standings`: the limits worked out for callers, which find_standing keeps.
    """

    routes: RouteTable
    upstreams: dict[str, Upstream]
    prices: PriceBook
    headers: HeaderTable
    keys: KeyCache
    terms: TermsCache
    entitlements: Entitlements
    ledger: Ledger
    uncovered: Uncovered
    closer: Closer
    repeats: Repeats
    stored: StoredAnswers
    metrics: Metrics
    count_tokens: Callable[[str, str], Awaitable[int]]
    estimates: Estimates
    ping: Callable[[], Awaitable[object]]
    scrape: Callable[[], Awaitable[bytes]]
    body_bytes_max: int
    answer_bytes_max: int = 64 * 1024 * 1024
    draining: bool = False
    running: dict[str, Request] = field(default_factory=dict)
    room: WaitingRoom = field(default_factory=WaitingRoom)
    standings: Standings = field(default_factory=dict)
