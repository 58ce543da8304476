"""Endpoint: one method and path of the read and management API, written down whole in one place.

From the table of endpoints come the routes, the checks before a handler, and the OpenAPI document; a handler
is a plain function that is given a `Call` and gives an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from accounts.key import KeyRecord

if TYPE_CHECKING:
    from gateway.api.parts import ApiParts

ANY = "any"
"""The scope of an endpoint that every usable key may ask, whatever its scopes."""
BODY_BYTES_MAX = 64 * 1024
"""Of most bodies; an endpoint that takes more says so."""
PLATFORM = "/api/v1/"
"""Below it answers are {"success", "data"}; elsewhere below /api they are bare."""

Bound = Literal["own", "refused", "open"]
"""What a key that is bound to a customer or a feature may have of an endpoint: what is its own, as the
handler sees to; nothing, 403; all, since nothing there is anybody's."""


@dataclass(frozen=True, slots=True)
class Call:
    """One question to an endpoint, checked: the key has the scope, query and body are as declared.

    path: the values of the path's places. query, body: of the endpoint's models, None where it has none.
    headers: names in lower case. address: whom the connection came from, "" where that is not known.
    """

    parts: ApiParts
    request_id: str
    path: Mapping[str, str]
    query: Any
    body: Any
    headers: Mapping[str, str]
    address: str
    caller: KeyRecord | None

    @property
    def key(self) -> KeyRecord:
        """The key that asks; not at endpoints without a scope."""
        assert self.caller is not None, "an endpoint without a scope has no key"
        return self.caller

    @property
    def account_id(self) -> str:
        """Whose data is asked for: no store is asked without it."""
        return self.key.account_id

    @property
    def bound_customer(self) -> str | None:
        """The only customer of whom this key may know; None: any."""
        return self.key.customer

    @property
    def bound_feature(self) -> str | None:
        """The only feature of which this key may know; None: any."""
        return self.key.feature


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is more than its model: another status, headers, or a body that is no JSON.

    stream: parts of the body, asked for in a thread; then `media` is its type and there is no model.
    body: the whole body as it is sent, in place of a model.
    """

    model: BaseModel | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None
    media: str = "application/json"
    body: bytes | None = None


Handler = Callable[[Call], BaseModel | Answer | Future[Answer] | None]
"""May give an answer that is not there yet: then its thread is free for others meanwhile."""


def in_a_worker(_call: Call) -> None:
    """In place of the handler of an endpoint that workers answer themselves: the api process has none."""
    raise AssertionError("workers answer this themselves and do not relay it")


def never(_call: Call) -> bool:
    """Of no call."""
    return False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path, and everything that is known of them.

    scope: what a key needs there; ANY: any key; None: no key is asked for. answer: of success, None for one
    without a body. status: of success. writes: its handler runs in the one thread that writes. quick: of
    which calls the handler waits for nothing and takes no longer than handing it to a thread, so that it runs
    in the loop. bound: see Bound. refusals: statuses beyond the usual ones -> when they come. more: other
    statuses of success -> their models, None without a body. media: types of answers that are no JSON.
    headers: those that it reads beside the key's -> what they say. beside: fields of the data that are told
    beside it, too.
    """

    method: str
    path: str
    scope: str | None
    summary: str
    tag: str
    handler: Handler
    answer: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    status: int = 200
    description: str = ""
    bound: Bound = "refused"
    writes: bool = False
    quick: Callable[[Call], bool] = never
    body_bytes_max: int = BODY_BYTES_MAX
    refusals: Mapping[int, str] = field(default_factory=dict)
    more: Mapping[int, type[BaseModel] | None] = field(default_factory=dict)
    media: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()

    @property
    def platform(self) -> bool:
        """Whether its answers are {"success", "data"}."""
        return self.path.startswith(PLATFORM)

    @property
    def by_worker(self) -> bool:
        """Whether the worker that is asked answers, and the api process is not."""
        return self.handler is in_a_worker
