"""`POST /model/{id}/invoke` and `/invoke-with-response-stream`: Anthropic's bodies, carried by Bedrock.

The answer is Anthropic's own, at Bedrock's price. As one document it comes with token counts in headers; as a
stream each of its events is a chunk of base64, and the last one has the counts.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from simulator.anthropic.answer import Answer, say_messages
from simulator.anthropic.messages import MessagesCall, read_messages
from simulator.bedrock.dialect import stream_fault
from simulator.bedrock.frames import EVENT_STREAM, event, padded
from simulator.bedrock.models import KNOWN, nature_of, read_model
from simulator.dialect import Asked, Said, Stream, Whole
from simulator.directive import Directive
from simulator.errors import Refusal
from simulator.events import Event
from simulator.models import Model

VERSION = "bedrock-2023-05-31"
ELSEWHERE = ("model", "stream", "service_tier", "inference_geo", "speed", "betas")
"""Fields of Anthropic's own API that Bedrock does not have."""


@dataclass(frozen=True, slots=True)
class InvokeCall:
    """One checked request: Anthropic's, and the model that Bedrock bills."""

    model: Model
    asked: Asked
    messages: MessagesCall

    @property
    def directive(self) -> Directive:
        """What the request asks the simulator to do."""
        return self.messages.directive


def read_invoke(asked: Asked) -> InvokeCall:
    """Read a request. Raises Refusal on what Bedrock or Anthropic would refuse."""
    model = read_model(asked.names["model"])
    if not nature_of(model).anthropic:
        raise Refusal(400, "Malformed input request: only Anthropic's models are simulated here.")
    body = dict(asked.body)
    if body.get("anthropic_version") != VERSION:
        raise Refusal(400, f"anthropic_version: Input should be '{VERSION}'")
    for name in ELSEWHERE:
        if name in body:
            raise Refusal(400, f"{name}: Extra inputs are not permitted")
    if (betas := body.pop("anthropic_beta", None)) is not None:
        body["betas"] = betas
    inner = replace(asked, body=body, names={"model": _claude(model)})
    messages = read_messages(inner)
    if messages.may_search:
        raise Refusal(400, "tools: web_search is not supported here")
    return InvokeCall(model, inner, messages)


def say_invoke(asked: Asked, call: InvokeCall, wish: Directive) -> Said:
    """The answer as one document."""
    said, answer = _said(asked, call, wish, stream=False)
    if not isinstance(said, Whole) or wish.no_usage or wish.error_in_stream is not None:
        return said
    return Whole(replace(said.reply, headers=_counts(answer)), said.paid)


def say_invoke_stream(asked: Asked, call: InvokeCall, wish: Directive) -> Said:
    """The answer event by event."""
    said, answer = _said(asked, call, wish, stream=True)
    if not isinstance(said, Stream):
        return said
    return Stream(_chunks(said.events, answer, wish), said.paid, EVENT_STREAM)


def _said(asked: Asked, call: InvokeCall, wish: Directive, *, stream: bool) -> tuple[Said, Answer]:
    """What Anthropic answers, charged for at Bedrock's price for the model that served."""
    model = wish.serving(KNOWN, call.model)
    if not nature_of(model).anthropic:
        raise Refusal(400, f"simulate: served={model.id}: no model of Anthropic's", code="invalid_directive")
    inner = replace(call.asked, charge=asked.charge)
    served = None if wish.served is None else _claude(model)
    said = say_messages(inner, replace(call.messages, stream=stream), replace(wish, tier=None, served=served))
    asked.charge.model, asked.charge.tier = model.id, "default"
    asked.charge.rates = model.tiers["default"]
    answer = said.paid
    if not isinstance(answer, Answer):
        raise TypeError("what Anthropic's models say is paid for")
    return said, answer


def _claude(model: Model) -> str:
    """Anthropic's own name of a model on Bedrock."""
    return model.id.partition("anthropic.")[2].partition("-v1:")[0]


def _counts(answer: Answer) -> tuple[tuple[str, str], ...]:
    counts = {
        "input-token-count": answer.input_tokens,
        "output-token-count": answer.completion_tokens,
        "cache-read-input-token-count": answer.cached.read,
        "cache-write-input-token-count": answer.cached.written_5m + answer.cached.written_1h,
        "invocation-latency": _latency_ms(answer),
    }
    return tuple((f"x-amzn-bedrock-{name}", str(count)) for name, count in counts.items())


def _latency_ms(answer: Answer) -> int:
    """A millisecond for each token."""
    return max(1, answer.completion_tokens)


def _metrics(answer: Answer) -> dict[str, Any]:
    return {
        "inputTokenCount": answer.input_tokens,
        "outputTokenCount": answer.completion_tokens,
        "invocationLatency": _latency_ms(answer),
        "firstByteLatency": 1,
        "cacheReadInputTokenCount": answer.cached.read,
        "cacheWriteInputTokenCount": answer.cached.written_5m + answer.cached.written_1h,
    }


def _chunks(events: Iterator[Event], answer: Answer, wish: Directive) -> Iterator[Event]:
    """Anthropic's events as Bedrock frames them."""
    for payload, size in events:
        name, _, rest = payload.partition(b"\n")
        if name == b"event: error":
            yield stream_fault(wish.code), size
            return
        document = rest.removeprefix(b"data: ").rstrip(b"\n")
        if name == b"event: message_stop" and not wish.no_usage:
            document = orjson.dumps(
                {**orjson.loads(document), "amazon-bedrock-invocationMetrics": _metrics(answer)}
            )
        yield event("chunk", padded(b'{"bytes":"%b"}' % base64.b64encode(document))), size
