"""Responses that a provider keeps: to look at, to cancel, to delete.

    GET    /v1/responses/{id}              `?stream=true` follows one that runs in the background
    GET    /v1/responses/{id}/input_items
    POST   /v1/responses/{id}/cancel
    DELETE /v1/responses/{id}

They cost nothing and hold nothing, so they are no requests of the ledger. They go to the provider's account
that has the response, and only for keys that it belongs to: for others it does not exist.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlencode

from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from accounts.key import KeyRecord
from budgets.ledger import LedgerUnavailable
from gateway.answers import passed_headers
from gateway.errors import LEDGER_AWAY, NotFound, Unavailable, UpstreamError, UpstreamTimeout
from gateway.forwarding.upstream import Endpoint, Upstream
from gateway.parts import Parts
from gateway.stored import Stored
from gateway.transport.errors import TransportError
from gateway.transport.errors import UpstreamTimeout as TransportTimeout
from gateway.transport.port import Answer
from metering.ids import new_id

OPERATION = "responses"
_OURS_ALONE = (401, 402, 403)
"""What a provider thinks of our credential is not the caller's affair."""
_QUERIES = (
    "stream",
    "starting_after",
    "include",
    "include[]",
    "include_obfuscation",
    "after",
    "limit",
    "order",
)


class ResponseEndpoints:
    """The endpoints, over a worker's parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def retrieve(self, request: HttpRequest, key: KeyRecord) -> Response:
        """The response as it stands."""
        return await self._pass_on(request, key, b"GET")

    async def input_items(self, request: HttpRequest, key: KeyRecord) -> Response:
        """What it was made of."""
        return await self._pass_on(request, key, b"GET", "input_items")

    async def cancel(self, request: HttpRequest, key: KeyRecord) -> Response:
        """End one that runs in the background; its request settles what it cost until then."""
        return await self._pass_on(request, key, b"POST", "cancel")

    async def delete(self, request: HttpRequest, key: KeyRecord) -> Response:
        """The provider shall keep it no longer."""
        answer = await self._pass_on(request, key, b"DELETE")
        if answer.status_code == 200:
            try:
                await self._parts.stored.forget(request.path_params["answer"])
            except LedgerUnavailable:
                pass  # it is found not to be there, at the provider
        return answer

    async def _pass_on(self, request: HttpRequest, key: KeyRecord, method: bytes, *below: str) -> Response:
        answer_id = request.path_params["answer"]
        stored = await self._find(answer_id, key)
        upstream, endpoint = self._place(stored, answer_id)
        asked = [pair for pair in request.query_params.multi_items() if pair[0] in _QUERIES]
        target = endpoint.path_below(
            OPERATION, stored.model, answer_id, *below, query=urlencode(asked).encode()
        )
        request_id = new_id()
        try:
            answer = await upstream.look(endpoint, method, target, request_id)
            if (answer.header(b"content-type") or b"").startswith(b"text/event-stream"):
                told: Response = StreamingResponse(_chunks(answer), answer.status)
            else:
                body = await answer.read(self._parts.answer_bytes_max)
                told = Response(endpoint.redacted(body) if answer.status >= 400 else body, answer.status)
        except TransportTimeout:
            raise UpstreamTimeout(f"Provider {stored.provider!r} did not answer in time.") from None
        except TransportError as error:
            raise UpstreamError(
                f"Provider {stored.provider!r} could not be reached or broke off ({type(error).__name__})."
            ) from None
        if answer.status in _OURS_ALONE:
            raise UpstreamError(f"Provider {stored.provider!r} failed with status {answer.status}.")
        told.raw_headers = [
            *passed_headers(answer.headers),
            *(pair for pair in told.raw_headers if pair[0] == b"content-length"),
            (b"x-request-id", request_id.encode()),
        ]
        return told

    async def _find(self, answer_id: str, key: KeyRecord) -> Stored:
        try:
            stored = await self._parts.stored.find(answer_id)
        except LedgerUnavailable:
            raise Unavailable(LEDGER_AWAY) from None
        if stored is None or not stored.belongs_to(key):
            raise _unknown(answer_id)
        return stored

    def _place(self, stored: Stored, answer_id: str) -> tuple[Upstream, Endpoint]:
        """Where it is kept; unknown where the provider or its credential is no longer configured."""
        upstream = self._parts.upstreams.get(stored.provider)
        endpoint = None if upstream is None else upstream.endpoint(stored.endpoint)
        if upstream is None or endpoint is None or OPERATION not in endpoint.paths:
            raise _unknown(answer_id)
        return upstream, endpoint


def _unknown(answer_id: str) -> NotFound:
    return NotFound(f"Response with id '{answer_id}' not found.", param="id")


async def _chunks(answer: Answer) -> AsyncIterator[bytes]:
    try:
        while data := await answer.chunk():
            yield data
    finally:
        answer.close()
