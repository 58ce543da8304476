"""A running request's second hold, when the ledger goes away just then."""

from __future__ import annotations

from dataclasses import replace

from budgets.connection import RedisConnection
from budgets.ledger import Lease, Ledger
from budgets.rowset import NO_ROWS
from gateway.dialects import SURFACES
from gateway.dialects.exchange import parse_object
from gateway.forwarding.candidates import Need
from gateway.request import Request
from metering.event import CostEvent
from routing.table import Route
from tests.stack import running_valkey


async def test_nothing_is_held_again_and_nothing_raised_when_the_ledger_cannot_be_asked() -> None:
    with running_valkey() as path:
        connection = await RedisConnection.connect(f"unix://{path}")
        rows = replace(NO_ROWS, meters="m", hard_meters=frozenset("m"))
        lease = Lease("r1", "default", rows, {"m": 5}, at_ms=0)
        body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}]}'
        request = Request(
            event=CostEvent(id="r1"),
            call=SURFACES["chat.completions"].call(parse_object(body)),
            candidates=[],
            lease=lease,
            ledger=Ledger(connection, owner="test", lease_ms=1_000),
            route=Route("r", ()),
            room=Need(5, 0, 0),
            step="full",
            bounded=True,
        )
        await connection.close()
        assert not await request.hold_again()
        assert lease.held_nano == 5
