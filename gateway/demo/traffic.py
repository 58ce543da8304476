"""The plan of a demo's traffic: who asks for what, when, and what goes wrong on purpose. Pure.

Everything follows from seed, length and rate. Customers and features are drawn with weights that fall like
1/rank, moments are those of independent callers, and each kind of trouble happens to its share of the
requests, but at least once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from gateway.demo.texts import GUIDE, paragraph, question, search_text

CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"
FEATURES = ("chat_assistant", "search_embeddings", "ai_summarization", "report_writer")
"""The most used first."""


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer, and the budget of its key. `budget_usd` None: too small for its traffic, on purpose."""

    name: str
    window: str
    budget_usd: int | None


CUSTOMERS = (
    Customer("acme", "month", 25),
    Customer("globex", "month", 10),
    Customer("initech", "day", 5),
    Customer("umbrella", "lifetime", None),
)
"""The busiest first."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `at_s` is its moment after the start; `leaves_after` the events of the stream after which
    the client hangs up; `trouble` what the provider was asked to do wrong. The token counts are a guess at an
    undisturbed answer.
    """

    at_s: float
    customer: str
    feature: str
    path: str
    body: dict[str, Any]
    input_tokens: int
    output_tokens: int
    leaves_after: int | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong: for which share of the requests, with what words to the simulated provider,
    and whether only a chat or a streamed chat can meet it."""

    name: str
    share: float
    words: str
    needs: str = "any"


HANG_UP, CUT = "the client hangs up", "the provider cuts the stream"
TROUBLES = (
    Trouble(HANG_UP, 0.05, "", "stream"),
    Trouble(CUT, 0.02, "close_after_chunks={}", "stream"),
    Trouble("the provider sends no usage", 0.01, "no_usage", "chat"),
    Trouble("the provider drops the connection", 0.01, "reset_after_bytes=0", "chat"),
    Trouble("the provider answers 500", 0.02, "status=500"),
    Trouble("the provider answers 429", 0.01, "status=429 retry_after=1"),
)


@dataclass(frozen=True, slots=True)
class _Shape:
    at_s: float
    customer: str
    feature: str
    stream: bool

    def meets(self, trouble: Trouble) -> bool:
        """Can this request get into that trouble?"""
        if trouble.needs == "stream":
            return self.stream
        return trouble.needs == "any" or self.feature != "search_embeddings"


@dataclass(frozen=True, slots=True)
class _Draft:
    """A chat before its maximum and its pace are settled. `hidden` are its reasoning tokens, None for a model
    that does not reason."""

    body: dict[str, Any]
    tokens: int
    hidden: int | None = None
    tool: bool = False


def plan(seed: int, seconds: float, rate: float) -> list[Call]:
    """The requests in the order of their moments, about `rate` a second; the same for the same arguments."""
    chance = Random(f"tollkeeper demo {seed}")
    count = max(1, round(seconds * rate))
    names = [customer.name for customer in CUSTOMERS]
    shapes = []
    for at_s in sorted(chance.uniform(0, seconds) for _ in range(count)):
        customer, feature = _fall_off(chance, names), _fall_off(chance, FEATURES)
        stream = chance.random() < _STREAMED[feature]
        shapes.append(_Shape(at_s, customer, feature, stream))
    troubled = _troubled(chance, shapes)
    return [_call(chance, shape, troubled.get(number)) for number, shape in enumerate(shapes)]


_STREAMED = {"chat_assistant": 1.0, "search_embeddings": 0.0, "ai_summarization": 0.25, "report_writer": 0.5}


def _fall_off(chance: Random, choices: list[str] | tuple[str, ...]) -> str:
    """One of the choices, the first most often: weights 1, 1/2, 1/3, ..."""
    return chance.choices(choices, [1 / rank for rank in range(1, len(choices) + 1)])[0]


def _troubled(chance: Random, shapes: list[_Shape]) -> dict[int, Trouble]:
    """Which request gets into which trouble, by its number; at most one each."""
    found: dict[int, Trouble] = {}
    for trouble in TROUBLES:
        fit = [n for n, shape in enumerate(shapes) if n not in found and shape.meets(trouble)]
        wanted = max(1, round(trouble.share * len(shapes)))
        found |= dict.fromkeys(chance.sample(fit, min(wanted, len(fit))), trouble)
    return found


def _call(chance: Random, shape: _Shape, trouble: Trouble | None) -> Call:
    if shape.feature == "search_embeddings":
        return _embedding(chance, shape, trouble)
    draft = _DRAFTS[shape.feature](chance)
    body = draft.body
    words = [
        f"tokens={draft.tokens}",
        f"pace_ms={chance.randint(6, 14)}",
        f"first_ms={chance.randint(60, 300)}",
    ]
    hidden = draft.hidden or 0
    leaves_after = None
    if trouble is not None and trouble.name == HANG_UP:
        leaves_after = chance.randint(2, 10)
    elif trouble is not None:
        words.append(trouble.words.format(chance.randint(3, 12)))
    if shape.stream:
        body["stream"] = True
        if chance.random() < 0.3:
            body["stream_options"] = {"include_usage": True}
    if trouble is not None or chance.random() < 0.8:
        # What ends with an unknown cost is held in doubt up to its maximum: without one, up to the model's.
        # The rest leaves it to the gateway to write one where the budget is not ample.
        old = draft.hidden is None and chance.random() < 0.5
        body["max_tokens" if old else "max_completion_tokens"] = 50 * (2 + (draft.tokens + hidden) // 40)
    body["metadata"] = {"simulate": " ".join(words)}
    text = sum(len(message["content"]) for message in body["messages"])
    return Call(
        at_s=shape.at_s,
        customer=shape.customer,
        feature=shape.feature,
        path=CHAT,
        body=body,
        input_tokens=text // 5 + (60 if draft.tool else 0),
        output_tokens=hidden + (12 if draft.tool else draft.tokens),
        leaves_after=leaves_after,
        trouble=trouble.name if trouble is not None else None,
    )


def _embedding(chance: Random, shape: _Shape, trouble: Trouble | None) -> Call:
    texts = [search_text(chance) for _ in range(chance.choice((1, 1, 1, 4, 16)))]
    if trouble is not None:
        texts[-1] += f" [[simulate: {trouble.words}]]"
    model = chance.choices(("text-embedding-3-small", "text-embedding-3-large"), (4, 1))[0]
    body: dict[str, Any] = {"model": model, "input": texts if len(texts) > 1 else texts[0]}
    if chance.random() < 0.5:
        body["encoding_format"] = "base64"
    return Call(
        at_s=shape.at_s,
        customer=shape.customer,
        feature=shape.feature,
        path=EMBEDDINGS,
        body=body,
        input_tokens=sum(map(len, texts)) // 5,
        output_tokens=0,
        trouble=trouble.name if trouble is not None else None,
    )


def _chat_assistant(chance: Random) -> _Draft:
    """A conversation with some turns behind it, on anything from the cheapest model to a reasoning one."""
    messages = [{"role": "system", "content": "You are the friendly assistant of a small company."}]
    for _ in range(chance.randint(0, 3)):
        messages.append({"role": "user", "content": question(chance)})
        messages.append({"role": "assistant", "content": paragraph(chance, chance.randint(1, 3))})
    messages.append({"role": "user", "content": question(chance)})
    model = chance.choices(("gpt-4o-mini", "gpt-4o", "gpt-5-mini"), (4, 3, 3))[0]
    body: dict[str, Any] = {"model": model, "messages": messages}
    hidden: int | None = None
    if model == "gpt-5-mini":
        body["reasoning_effort"], hidden = chance.choice((("minimal", 0), ("low", 64)))
    elif model == "gpt-4o" and chance.random() < 0.2:
        body["service_tier"] = "priority"
    return _Draft(body, chance.randint(25, 120), hidden)


def _summarization(chance: Random) -> _Draft:
    """A long document behind a style guide that is the same each time, so that the provider caches it."""
    document = " ".join(paragraph(chance, 5) for _ in range(chance.randint(1, 5)))
    messages = [
        {"role": "system", "content": GUIDE},
        {"role": "user", "content": f"Summarize in three sentences.\n\n{document}"},
    ]
    model = chance.choices(("gpt-4o-mini", "gpt-4.1-mini"), (7, 3))[0]
    return _Draft({"model": model, "messages": messages}, chance.randint(40, 90))


def _report_writer(chance: Random) -> _Draft:
    """Tools, structured output and reasoning models, some at the cheaper tier."""
    messages = [
        {"role": "system", "content": "You write the weekly report from the figures of the warehouse."},
        {"role": "user", "content": f"{paragraph(chance, 4)}\n\n{question(chance)}"},
    ]
    model = chance.choices(("gpt-4.1", "o4-mini", "gpt-5"), (5, 3, 2))[0]
    body: dict[str, Any] = {"model": model, "messages": messages}
    hidden: int | None = None
    if model != "gpt-4.1":
        body["reasoning_effort"], hidden = "low", 64
        if chance.random() < 0.3:
            body["service_tier"] = "flex"
    kind = chance.choice(("tool", "schema", "text"))
    if kind == "tool":
        body["tools"] = [{"type": "function", "function": _QUERY}]
    elif kind == "schema":
        body["response_format"] = {"type": "json_schema", "json_schema": _REPORT}
    return _Draft(body, chance.randint(80, 160), hidden, tool=kind == "tool")


_QUERY = {
    "name": "query_warehouse",
    "description": "Reads one figure of the warehouse for a span of days.",
    "parameters": {
        "type": "object",
        "properties": {
            "figure": {"type": "string", "enum": ["orders", "returns", "revenue"]},
            "from_day": {"type": "string", "description": "YYYY-MM-DD"},
            "days": {"type": "integer", "minimum": 1, "maximum": 92},
        },
        "required": ["figure", "from_day", "days"],
    },
}
_REPORT = {
    "name": "weekly_report",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {
            "headline": {"type": "string"},
            "orders": {"type": "integer"},
            "findings": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["headline", "orders", "findings"],
        "additionalProperties": False,
    },
}
_DRAFTS: dict[str, Callable[[Random], _Draft]] = {
    "chat_assistant": _chat_assistant,
    "ai_summarization": _summarization,
    "report_writer": _report_writer,
}
