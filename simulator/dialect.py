"""The nouns of answering: what is asked, how a family of APIs looks, and the row that ties a path to both.

A dialect is a file and a row in `table`: the file has a `Dialect` (ids, credentials, headers, errors) and,
for each of its paths, two functions: one reads the request, the other says the answer. Everything else is
common: the charge on the bill, the directive, the pace, the faults and the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

import orjson

from simulator.bill import Charge
from simulator.directive import Directive
from simulator.errors import Refusal
from simulator.events import Event
from simulator.wire import EVENT_STREAM, JSON, Reply, Request

T = TypeVar("T")


class Paid(Protocol):
    """What an answer costs in output tokens.

    `reasoning` of them come first; `hidden` of those are never seen: they pass as time before the first
    event. The other tokens are charged as the events that carry them leave.
    """

    @property
    def hidden(self) -> int: ...

    @property
    def reasoning(self) -> int: ...

    @property
    def completion_tokens(self) -> int: ...


class Answered(Paid, Protocol):
    """An answer that is one document where it is not told event by event."""

    def document(self, *, usage: bool) -> bytes:
        """The answer's body."""


@dataclass(frozen=True, slots=True)
class Whole:
    """One document. `paid` is None for what has no output tokens (embeddings, lists, counts).

    `times` are the seconds before the first byte and for each token, where they are not the call's own.
    """

    reply: Reply
    paid: Paid | None = None
    times: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer event by event. `opening` is sent at once, before the time of what is hidden.

    `times` are the seconds before the first byte and for each token, where they are not the call's own.
    """

    events: Iterator[Event]
    paid: Paid
    content_type: bytes = EVENT_STREAM
    opening: bytes = b""
    times: tuple[float, float] | None = None


Said = Whole | Stream


class Memory:
    """What the provider remembers between calls, one object of each kind, until the bill is deleted."""

    def __init__(self) -> None:
        self._kept: dict[type[Any], Any] = {}

    def of(self, kind: type[T]) -> T:
        """The one `kind`, made when it is first asked for."""
        found = self._kept.get(kind)
        if found is None:
            found = self._kept[kind] = kind()
        return cast(T, found)

    def forget(self) -> None:
        """Forget everything."""
        self._kept.clear()


@dataclass(slots=True)
class Asked:
    """One request on its way to an answer.

    `names` are the parts of its path that the row's template names, `tokens` the length of an answer without
    a directive, `times` the seconds before its first byte and for each token. `charge` is on the bill when
    the row is billed; who answers later than this request ends may keep it and leave another in its place.
    """

    request: Request
    request_id: str
    dialect: Dialect
    charge: Charge
    memory: Memory
    tokens: int
    names: dict[str, str] = field(default_factory=dict)
    credential: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    times: tuple[float, float] = (0.0, 0.0)

    @property
    def may_direct(self) -> bool:
        """False when the body's bytes hold no directive at all."""
        return b"simulate" in self.request.body


def whole(asked: Asked, answer: Answered, wish: Directive, content_type: bytes = JSON) -> Whole:
    """The answer as one document; or the fault that comes instead of it, paid all the same."""
    failed = wish.error_in_stream is not None
    body = asked.dialect.fault(asked.request_id) if failed else answer.document(usage=not wish.no_usage)
    return Whole(Reply(200, body, content_type=content_type), answer)


class Call(Protocol):
    """A request that was read and checked."""

    @property
    def directive(self) -> Directive: ...


C = TypeVar("C", bound=Call)


class Dialect:
    """How one family of APIs looks, whatever is asked. Here is what most have in common."""

    def claims(self, request: Request) -> bool:
        """Whether a request that no row serves is refused in this dialect."""
        return False

    def request_id(self, serial: str) -> str:
        """A new id in the dialect's form; `serial` is 32 hexadecimal digits, used once."""
        raise NotImplementedError

    def credential(self, request: Request) -> str:
        """What the request came with. Raises Refusal as the provider does."""
        raise NotImplementedError

    def document(self, request: Request) -> dict[str, Any]:
        """The request's JSON object. Raises Refusal when it is none."""
        try:
            document = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise self.unreadable()
        return document

    def unreadable(self) -> Refusal:
        """The body is no JSON object."""
        return Refusal(400, "The request's body is not a JSON object.")

    def headers(self, request_id: str, processing_ms: int) -> bytes:
        """The header lines that every answer has, beside those that HTTP needs."""
        raise NotImplementedError

    def refused(self, refusal: Refusal, request_id: str) -> Reply:
        """The answer that reports an error."""
        raise NotImplementedError

    def wanted(self, status: int, *, code: str | None, headers: tuple[tuple[str, str], ...]) -> Refusal:
        """The error of a directive `status=N`."""
        raise NotImplementedError

    def fault(self, request_id: str) -> bytes:
        """The document of an error in the middle of an answer whose status was 200 already."""
        raise NotImplementedError

    def no_such_path(self, request: Request, *, other_method: bool) -> Refusal:
        """404 for a path, or 405 for a method, that is not served."""
        status = 405 if other_method else 404
        return Refusal(status, f"Not served: {request.method} {request.path}")


@dataclass(frozen=True, slots=True)
class Row(Generic[C]):
    """One path and its two functions. `{name}` in a path stands for any text; see `table`.

    With `header`, or with `query` (such as "alt=sse"), the row serves only requests that have it, and goes
    before a row without. Rows that are not `billed` leave no line on the bill. Methods without a body (GET,
    DELETE) are not asked for one, and what is not billed may come without.
    """

    method: str
    path: str
    dialect: Dialect
    read: Callable[[Asked], C]
    say: Callable[[Asked, C, Directive], Said]
    header: bytes | None = None
    query: str | None = None
    billed: bool = True

    @property
    def particular(self) -> bool:
        """Whether it serves only some of the requests to its path."""
        return self.header is not None or self.query is not None

    def serves(self, request: Request, method: str) -> bool:
        """Whether the row answers a request that came to its path."""
        return (
            self.method == method
            and (self.header is None or request.header(self.header) is not None)
            and (self.query is None or self.query in request.query.split("&"))
        )
