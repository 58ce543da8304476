"""Which answer a request gets: its row in the table, its credential, its directive, its charge."""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from simulator.bill import Bill, Charge
from simulator.delivery import Delivery, StreamDelivery, WholeDelivery
from simulator.dialect import Asked, Dialect, Memory, Row, Stream, Whole
from simulator.directive import NONE, Directive
from simulator.errors import Refusal
from simulator.openai import OPENAI
from simulator.replies import json_reply, shown, wanted_reply
from simulator.table import dialect_of, find
from simulator.wire import Reply, Request

if TYPE_CHECKING:
    from simulator.connection import Connection

RECEIVED_MAX = 64
RECEIVED_BODY_BYTES = 64 * 1024
DIRECTIVES_MAX = 10_000
WITH_BODY = ("POST", "PUT", "PATCH")


@dataclass(frozen=True, slots=True)
class Habits:
    """How calls without a directive are answered.

    `pace_ms` for each token, `first_ms` before the first byte, `tokens` visible output tokens.
    """

    pace_ms: float = 0.0
    first_ms: float = 0.0
    tokens: int = 40
    bill_full_on_hangup: bool = False


class Service:
    """Decides answers. Holds the bill, what the provider remembers and what was received."""

    def __init__(self, habits: Habits, connections: set[Connection]) -> None:
        self.habits = habits
        self.bill = Bill()
        self._connections = connections
        self._memory = Memory()
        self._received: deque[Request] = deque(maxlen=RECEIVED_MAX)
        self._misbehaved: OrderedDict[str, int] = OrderedDict()
        self._boot = os.urandom(8).hex()
        self._serial = count(1)

    def serial(self) -> str:
        """32 hexadecimal digits that no other request has."""
        return f"{self._boot}{next(self._serial):016x}"

    def deliver(self, request: Request, connection: Connection) -> Delivery:
        """The delivery that answers `request`; the connection begins it."""
        if request.path.startswith("/_simulator/"):
            own = self._asked(request, OPENAI, {})
            return WholeDelivery(connection, own, NONE, self.bill, Whole(self._own(own, connection)))
        self._remember(request)
        row, names, other_method = find(request)
        asked = self._asked(request, row.dialect if row else dialect_of(request), names)
        if row is not None and row.billed:
            asked.charge = self.bill.open(request.header(b"x-client-request-id") or asked.request_id)
        try:
            asked.credential = asked.dialect.credential(request)
            if row is None:
                raise asked.dialect.no_such_path(request, other_method=other_method)
            return self._answer(connection, asked, row)
        except Refusal as refusal:
            return self._refuse(connection, asked, row, refusal)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            # A body whose inner parts have types that nobody foresaw, such as a schema with minItems "many".
            wrong = Refusal(400, f"The request's body holds a value of the wrong type: {error}")
            return self._refuse(connection, asked, row, wrong)

    def _asked(self, request: Request, dialect: Dialect, names: dict[str, str]) -> Asked:
        return Asked(
            request,
            dialect.request_id(self.serial()),
            dialect,
            Charge(),
            self._memory,
            self.habits.tokens,
            names,
        )

    def _answer(self, connection: Connection, asked: Asked, row: Row[Any]) -> Delivery:
        """What every path has in common: read, heed the directive, say, and let it leave at its pace."""
        if row.method in WITH_BODY and (row.billed or asked.request.body):
            asked.body = asked.dialect.document(asked.request)
            asked.charge.model = asked.names.get("model") or str(asked.body.get("model") or "")
        call = row.read(asked)
        wish = self._in_force(call.directive)
        asked.times = self._times(row, wish)
        wanted = wanted_reply(asked, wish)
        said = row.say(asked, call, wish) if wanted is None else Whole(wanted)
        first_s, pace_s = said.times or asked.times
        bill_full = wish.bill_full or self.habits.bill_full_on_hangup
        if isinstance(said, Stream):
            return StreamDelivery(
                connection, asked, wish, self.bill, said,
                first_s=first_s, pace_s=pace_s, bill_full=bill_full,
            )  # fmt: skip
        return WholeDelivery(
            connection, asked, wish, self.bill, said, first_s=first_s, pace_s=pace_s, bill_full=bill_full
        )

    def _refuse(self, connection: Connection, asked: Asked, row: Row[Any] | None, why: Refusal) -> Delivery:
        said = Whole(asked.dialect.refused(why, asked.request_id))
        first_s = self._times(row, NONE)[0]
        return WholeDelivery(connection, asked, NONE, self.bill, said, first_s=first_s)

    def _times(self, row: Row[Any] | None, wish: Directive) -> tuple[float, float]:
        """Seconds before the first byte and for each token; what no model answers comes at once."""
        if row is None or not row.billed:
            return 0.0, 0.0
        first_ms = self.habits.first_ms if wish.first_ms is None else wish.first_ms
        pace_ms = self.habits.pace_ms if wish.pace_ms is None else wish.pace_ms
        return first_ms / 1000, pace_ms / 1000

    def _in_force(self, wish: Directive) -> Directive:
        """The directive, without its misbehaviour once it has misbehaved as often as it may."""
        if wish.times is None or wish.id is None:
            return wish
        done = self._misbehaved.get(wish.id, 0)
        if done >= wish.times:
            return wish.settled()
        self._misbehaved[wish.id] = done + 1
        if len(self._misbehaved) > DIRECTIVES_MAX:
            self._misbehaved.popitem(last=False)
        return wish

    def _remember(self, request: Request) -> None:
        if len(request.body) > RECEIVED_BODY_BYTES:
            request = replace(request, body=request.body[:RECEIVED_BODY_BYTES])
        self._received.append(request)

    def _own(self, asked: Asked, connection: Connection) -> Reply:
        """The simulator's own paths."""
        request = asked.request
        what = request.path.removeprefix("/_simulator/")
        if what == "bill" and request.method == "GET":
            query = parse_qs(request.query)
            return json_reply(self.bill.document(query.get("id", [None])[0], summary="summary" in query))
        if what == "bill" and request.method == "DELETE":
            self.bill.reset()
            self._memory.forget()
            self._received.clear()
            self._misbehaved.clear()
            return json_reply({"total_nano": 0})
        if what == "open" and request.method == "GET":
            others = [each for each in self._connections if each is not connection]
            running = [each.delivery for each in others if each.delivery is not None]
            return json_reply(
                {
                    "connections": len(others),
                    "requests": len(running),
                    "streams": sum(delivery.streams for delivery in running),
                }
            )
        if what == "received" and request.method == "GET":
            return json_reply({"received": [shown(each) for each in self._received]})
        missing = OPENAI.no_such_path(request, other_method=what in ("bill", "open", "received"))
        return OPENAI.refused(missing, asked.request_id)
