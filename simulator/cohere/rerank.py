"""`POST /v2/rerank` and `/v1/rerank`: documents in the order of what they have in common with a query.

Billed are search units: a query with up to 100 documents. A document longer than 500 tokens, the query's
included, is split, and each part counts as a document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from simulator import tokens
from simulator.cohere.models import DOCUMENTS_PER_SEARCH, KNOWN, PER_SEARCH, TOKENS_PER_DOCUMENT, read_model
from simulator.dialect import Asked, Whole
from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal
from simulator.models import FREE, Model
from simulator.wire import Reply

DOCUMENTS_MAX = 10_000
QUERY_MAX = 2_048
USUAL_TOKENS_PER_DOCUMENT = 4_096
USUAL_CHUNKS_PER_DOCUMENT = 10


@dataclass(frozen=True, slots=True)
class RerankCall:
    """One checked request. `shown` are the documents to be returned, `searches` the units that it costs."""

    model: Model
    version: str
    query: str
    documents: list[str]
    shown: list[dict[str, Any]] | None
    top: int
    searches: int
    directive: Directive

    def document(self, answer_id: str, *, usage: bool) -> bytes:
        """The answer's body: the best documents first."""
        wanted = _words(self.query)
        scores = [_score(wanted, text) for text in self.documents]
        order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[: self.top]
        results: list[dict[str, Any]] = [
            {"index": index, "relevance_score": scores[index]} for index in order
        ]
        if self.shown is not None:
            results = [{"document": self.shown[each["index"]], **each} for each in results]
        meta: dict[str, Any] = {"api_version": {"version": self.version}}
        if usage:
            meta["billed_units"] = {"search_units": self.searches}
        return orjson.dumps({"id": answer_id, "results": results, "meta": meta})


def read_rerank(asked: Asked) -> RerankCall:
    """Read a request. Raises Refusal on what Cohere would refuse."""
    body = asked.body
    version = asked.request.path[2]
    model = read_model(body, "rerank")
    query = body.get("query")
    if not isinstance(query, str) or not query:
        raise Refusal(400, "invalid request: query must not be empty")
    given = body.get("documents")
    if not isinstance(given, list) or not given:
        raise Refusal(400, "invalid request: list of documents must not be empty")
    if len(given) > DOCUMENTS_MAX:
        raise Refusal(400, f"invalid request: too many documents: at most {DOCUMENTS_MAX} are allowed")
    documents = [_text(each, number, version) for number, each in enumerate(given)]
    top = body.get("top_n")
    if top is not None and (type(top) is not int or top < 1):
        raise Refusal(400, "invalid request: top_n must be a whole number above 0")
    longest, most_parts = _bounds(body, version)
    of_query = tokens.count(query)
    if of_query > QUERY_MAX:
        raise Refusal(400, f"invalid request: the query is longer than {QUERY_MAX} tokens")
    parts = sum(min(most_parts, parts_of(min(longest, tokens.count(text)), of_query)) for text in documents)
    return RerankCall(
        model=model,
        version=version,
        query=query,
        documents=documents,
        shown=_shown(given) if version == "1" and body.get("return_documents") else None,
        top=min(len(documents), top or len(documents)),
        searches=-(-parts // DOCUMENTS_PER_SEARCH),
        directive=wished(query) if asked.may_direct else NONE,
    )


def _bounds(body: dict[str, Any], version: str) -> tuple[int, int]:
    """The tokens of a document that are read, and the parts it is split into, at most: one for each API."""
    name = "max_chunks_per_doc" if version == "1" else "max_tokens_per_doc"
    bound = body.get(name)
    if bound is not None and (type(bound) is not int or bound < 1):
        raise Refusal(400, f"invalid request: {name} must be a whole number above 0")
    if version == "1":
        parts = bound or USUAL_CHUNKS_PER_DOCUMENT
        return parts * TOKENS_PER_DOCUMENT, parts
    return bound or USUAL_TOKENS_PER_DOCUMENT, DOCUMENTS_MAX


def parts_of(of_document: int, of_query: int) -> int:
    """How many documents one of so many tokens counts as; a query that fills a part leaves one free."""
    room = max(1, TOKENS_PER_DOCUMENT - of_query)
    return max(1, -(-of_document // room))


def _text(document: Any, number: int, version: str) -> str:
    """A document's text. Objects, of which the fields are read, are known to the first version only."""
    if isinstance(document, str):
        return document
    if version == "1" and isinstance(document, dict):
        return "\n".join(str(value) for value in document.values())
    raise Refusal(400, f"invalid request: documents[{number}] must be a string")


def _shown(given: list[Any]) -> list[dict[str, Any]]:
    return [{"text": each} if isinstance(each, str) else each for each in given]


def _words(text: str) -> set[str]:
    return {piece.strip() for piece in tokens.split(text.lower())}


def _score(wanted: set[str], text: str) -> float:
    """The share of the query's pieces that a document has, and a little of its own, so that few are equal."""
    shared = len(wanted & _words(text)) / max(1, len(wanted))
    return round(0.9 * shared + crc32(text.encode()) % 1_000 / 20_000, 8)


def say_rerank(asked: Asked, call: RerankCall, wish: Directive) -> Whole:
    """The order, for the price of the searches."""
    model = wish.serving(KNOWN, call.model)
    asked.charge.begin(model.snapshot, FREE, 0)
    asked.charge.searches = call.searches
    asked.charge.fees = call.searches * PER_SEARCH
    return Whole(Reply(200, call.document(asked.request_id, usage=not wish.no_usage)))
