"""Which answer a request gets: paths, credentials, directives, and the charge that is opened for it."""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from simulator import completions
from simulator.answer import Answer, compose
from simulator.bill import Bill, Charge
from simulator.cache import PromptCache
from simulator.chat import read_chat
from simulator.completions import Completion
from simulator.delivery import Delivery, Paid, StreamDelivery, WholeDelivery
from simulator.directive import NONE, Directive
from simulator.embeddings import read_embedding
from simulator.errors import Refusal, error_document
from simulator.events import Event, events
from simulator.moderations import read_moderation
from simulator.replies import json_reply, masked, models_reply, no_such_path, refused, shown, wanted_reply
from simulator.wire import Reply, Request

if TYPE_CHECKING:
    from simulator.connection import Connection

RECEIVED_MAX = 64
RECEIVED_BODY_BYTES = 64 * 1024
DIRECTIVES_MAX = 10_000


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
    """Decides answers. Holds the bill, the prompt cache and what was received."""

    def __init__(self, habits: Habits, connections: set[Connection]) -> None:
        self.habits = habits
        self.bill = Bill()
        self._connections = connections
        self._cache = PromptCache()
        self._received: deque[Request] = deque(maxlen=RECEIVED_MAX)
        self._misbehaved: OrderedDict[str, int] = OrderedDict()
        self._boot = os.urandom(8).hex()
        self._serial = count(1)
        self._answering = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._complete,
            "/v1/embeddings": self._embed,
            "/v1/moderations": self._moderate,
        }

    def request_id(self) -> str:
        """A new id in OpenAI's form."""
        return f"req_{self._boot}{next(self._serial):016x}"

    def deliver(self, request: Request, connection: Connection) -> Delivery:
        """The delivery that answers `request`; the connection begins it."""
        request_id = self.request_id()
        if request.path.startswith("/_simulator/"):
            return self._plain(connection, request, request_id, self._own(request, connection))
        self._remember(request)
        charge: Charge | None = None
        answering = self._answering.get(request.path) if request.method == "POST" else None
        if answering is not None:
            charge = self.bill.open(request.header(b"x-client-request-id") or request_id)
        try:
            credential = _credential(request)
            if charge is None or answering is None:
                return self._plain(connection, request, request_id, models_reply(request))
            body = _document(request.body)
            charge.model = str(body.get("model") or "")
            return answering(connection, request, request_id, charge, body, credential)
        except Refusal as refusal:
            return self._plain(connection, request, request_id, refused(refusal), charge=charge)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            # A body whose inner parts have types that nobody foresaw, such as a schema with minItems "many".
            wrong = Refusal(400, f"The request's body holds a value of the wrong type: {error}")
            return self._plain(connection, request, request_id, refused(wrong), charge=charge)

    def _chat(
        self,
        connection: Connection,
        request: Request,
        request_id: str,
        charge: Charge,
        body: dict[str, Any],
        credential: str,
    ) -> Delivery:
        call = read_chat(body, may_direct=b"simulate" in request.body)
        wish = self._in_force(call.directive)
        if (wanted := wanted_reply(wish, credential)) is not None:
            return self._plain(connection, request, request_id, wanted, charge=charge, wish=wish)
        answer = compose(
            call,
            wish,
            answer_id=f"chatcmpl-{request_id[-28:]}",
            created=int(time.time()),
            cached=self._cache.lookup(call.prompt, f"{credential} {call.model.id}"),
            tokens_wanted=self.habits.tokens,
        )
        charge.model = answer.name
        charge.tier = answer.tier
        charge.rates = answer.rates
        charge.prompt_tokens = answer.prompt_tokens
        charge.cached = answer.cached
        said: Reply | Iterator[Event]
        if call.stream:
            said = events(answer, wish, include_usage=call.include_usage, obfuscate=call.obfuscate)
        else:
            said = _whole(answer, wish)
        return self._spoken(connection, request, request_id, charge, wish, answer, said)

    def _complete(
        self,
        connection: Connection,
        request: Request,
        request_id: str,
        charge: Charge,
        body: dict[str, Any],
        credential: str,
    ) -> Delivery:
        call = completions.read_completion(body, may_direct=b"simulate" in request.body)
        wish = self._in_force(call.directive)
        if (wanted := wanted_reply(wish, credential)) is not None:
            return self._plain(connection, request, request_id, wanted, charge=charge, wish=wish)
        answer = completions.compose(
            call,
            wish,
            answer_id=f"cmpl-{request_id[-28:]}",
            created=int(time.time()),
            tokens_wanted=self.habits.tokens,
        )
        charge.model, charge.rates = call.model.snapshot, answer.rates
        charge.prompt_tokens = call.prompt_tokens
        said = answer.events(wish) if call.stream else _whole(answer, wish)
        return self._spoken(connection, request, request_id, charge, wish, answer, said)

    def _spoken(
        self,
        connection: Connection,
        request: Request,
        request_id: str,
        charge: Charge,
        wish: Directive,
        answer: Paid,
        said: Reply | Iterator[Event],
    ) -> Delivery:
        """An answer at the pace of its tokens: whole, or as a stream of events."""
        first_s, pace_s = self._times(wish)
        bill_full = wish.bill_full or self.habits.bill_full_on_hangup
        if isinstance(said, Reply):
            return WholeDelivery(
                connection,
                request,
                request_id,
                wish,
                self.bill,
                charge,
                reply=said,
                first_s=first_s,
                pace_s=pace_s,
                answer=answer,
                bill_full=bill_full,
            )
        return StreamDelivery(
            connection,
            request,
            request_id,
            wish,
            self.bill,
            charge,
            answer=answer,
            events=said,
            first_s=first_s,
            pace_s=pace_s,
            bill_full=bill_full,
        )

    def _moderate(
        self,
        connection: Connection,
        request: Request,
        request_id: str,
        charge: Charge,
        body: dict[str, Any],
        credential: str,
    ) -> Delivery:
        call = read_moderation(body, may_direct=b"simulate" in request.body)
        wish = self._in_force(call.directive)
        if (wanted := wanted_reply(wish, credential)) is not None:
            return self._plain(connection, request, request_id, wanted, charge=charge, wish=wish)
        charge.model, charge.rates = call.model.snapshot, call.model.tiers["default"]
        charge.prompt_tokens = call.prompt_tokens
        reply = Reply(200, call.document(f"modr-{request_id[-28:]}"))
        return self._plain(connection, request, request_id, reply, charge=charge, wish=wish)

    def _embed(
        self,
        connection: Connection,
        request: Request,
        request_id: str,
        charge: Charge,
        body: dict[str, Any],
        credential: str,
    ) -> Delivery:
        call = read_embedding(body, may_direct=b"simulate" in request.body)
        wish = self._in_force(call.directive)
        if (wanted := wanted_reply(wish, credential)) is not None:
            return self._plain(connection, request, request_id, wanted, charge=charge, wish=wish)
        charge.rates = call.model.tiers["default"]
        charge.prompt_tokens = call.prompt_tokens
        reply = Reply(200, call.document(usage=not wish.no_usage))
        return self._plain(connection, request, request_id, reply, charge=charge, wish=wish)

    def _plain(
        self,
        connection: Connection,
        request: Request,
        request_id: str,
        reply: Reply,
        *,
        charge: Charge | None = None,
        wish: Directive = NONE,
    ) -> Delivery:
        first_s = 0.0 if charge is None else self._times(wish)[0]
        return WholeDelivery(
            connection, request, request_id, wish, self.bill, charge, reply=reply, first_s=first_s
        )

    def _times(self, wish: Directive) -> tuple[float, float]:
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

    def _own(self, request: Request, connection: Connection) -> Reply:
        """The simulator's own paths."""
        what = request.path.removeprefix("/_simulator/")
        if what == "bill" and request.method == "GET":
            query = parse_qs(request.query)
            return json_reply(self.bill.document(query.get("id", [None])[0], summary="summary" in query))
        if what == "bill" and request.method == "DELETE":
            self.bill.reset()
            self._cache.clear()
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
        return refused(no_such_path(request))


def _whole(answer: Answer | Completion, wish: Directive) -> Reply:
    """The answer as one document, or the error that stands in its place."""
    if wish.error_in_stream is not None:
        fault = "The server had an error while processing your request."
        return Reply(200, error_document(fault, kind="server_error"))
    return Reply(200, answer.document(usage=not wish.no_usage))


def _credential(request: Request) -> str:
    """The bearer key. Raises Refusal (401) as OpenAI does."""
    given = request.header(b"authorization") or ""
    scheme, _, key = given.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise Refusal(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        )
    if key.startswith(("obs_", "sk-invalid")):
        raise Refusal(401, f"Incorrect API key provided: {masked(key)}.", code="invalid_api_key")
    return key


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise Refusal(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
            "your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not "
            "valid JSON.)",
        )
    return document
