"""Gemini's embeddings, of one text or of many, and Vertex AI's `predict` for them.

Only `predict` says how many tokens there were, as at Google.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator import tokens
from simulator.dialect import Asked, Whole
from simulator.directive import NONE, Directive, wished
from simulator.embeddings import vector
from simulator.gemini.dialect import JSON, part, unknown_model, wrong
from simulator.gemini.models import GEMINIS
from simulator.models import Model
from simulator.wire import Reply

BATCH_MAX = 100
PREDICT_MAX = 250


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """One checked request: each text with the size of its vector."""

    model: Model
    texts: list[tuple[str, int]]
    prompt_tokens: int
    batch: bool
    directive: Directive


def read_embed(asked: Asked) -> EmbedCall:
    """Read a request for one vector."""
    return _read(asked, [asked.body], batch=False)


def read_batch(asked: Asked) -> EmbedCall:
    """Read a request for several vectors."""
    requests = part(asked.body, "requests")
    if not isinstance(requests, list) or not 1 <= len(requests) <= BATCH_MAX:
        raise wrong(
            f"* BatchEmbedContentsRequest.requests: 1 to {BATCH_MAX} requests are expected", "requests"
        )
    for number, each in enumerate(requests):
        if part(each, "model") != f"models/{asked.names['model']}":
            raise wrong(
                f"* BatchEmbedContentsRequest.requests[{number}].model: the model does not match the model "
                "in the batch request.",
                f"requests[{number}].model",
            )
    return _read(asked, requests, batch=True)


def _read(asked: Asked, requests: list[Any], *, batch: bool) -> EmbedCall:
    gemini = GEMINIS.get(asked.names["model"])
    if gemini is None or gemini.model.kind != "embedding":
        raise unknown_model(asked.names["model"], "embedContent")
    texts = [_text(each, gemini.model) for each in requests]
    sizes = [tokens.count(text) for text, _ in texts]
    if max(sizes) > gemini.model.context:
        raise wrong(
            f"The input token count ({max(sizes)}) exceeds the maximum number of tokens allowed "
            f"({gemini.model.context})."
        )
    directive = wished(texts[-1][0]) if asked.may_direct else NONE
    return EmbedCall(gemini.model, texts, sum(sizes), batch, directive)


def _text(request: Any, model: Model) -> tuple[str, int]:
    content = part(request, "content")
    parts = part(content, "parts") if content is not None else None
    if not isinstance(parts, list) or not parts:
        raise wrong("* EmbedContentRequest.content: content is empty.", "content")
    text = "\n".join(str(part(each, "text") or "") for each in parts)
    dimensions = part(request, "outputDimensionality") or model.dimensions
    if not isinstance(dimensions, int) or not 1 <= dimensions <= model.dimensions:
        raise wrong(
            f"* EmbedContentRequest.output_dimensionality: must be between 1 and {model.dimensions}.",
            "output_dimensionality",
        )
    return text, dimensions


@dataclass(frozen=True, slots=True)
class PredictCall:
    """One checked request to Vertex AI's `predict`: as `EmbedCall`, with the tokens of each text."""

    embed: EmbedCall
    sizes: list[int]

    @property
    def directive(self) -> Directive:
        """The directive in the last text."""
        return self.embed.directive


def read_predict(asked: Asked) -> PredictCall:
    """Read a request for vectors as Vertex AI takes it: `{instances: [{content}], parameters}`."""
    instances = part(asked.body, "instances")
    if not isinstance(instances, list) or not 1 <= len(instances) <= PREDICT_MAX:
        raise wrong(f"{PREDICT_MAX} instance(s) is allowed per prediction, and at least one.", "instances")
    size = part(part(asked.body, "parameters") or {}, "outputDimensionality")
    requests = [
        {"content": {"parts": [{"text": part(each, "content")}]}, "outputDimensionality": size}
        for each in instances
    ]
    call = _read(asked, requests, batch=True)
    return PredictCall(call, [tokens.count(text) for text, _ in call.texts])


def say_predict(asked: Asked, call: PredictCall, wish: Directive) -> Whole:
    """The vectors, each with the tokens of its text."""
    model = call.embed.model
    asked.charge.begin(model.id, model.tiers["standard"], call.embed.prompt_tokens, tier="standard")
    predictions = []
    for (text, dimensions), size in zip(call.embed.texts, call.sizes, strict=True):
        counted = b"" if wish.no_usage else b'"statistics":{"truncated":false,"token_count":%d},' % size
        values = vector(text.encode(), dimensions, False)
        predictions.append(b'{"embeddings":{%b"values":%b}}' % (counted, values))
    characters = sum(len("".join(text.split())) for text, _ in call.embed.texts)
    metadata = b'"metadata":{"billableCharacterCount":%d}' % characters
    body = b'{"predictions":[%b],%b}' % (b",".join(predictions), metadata)
    return Whole(Reply(200, body, content_type=JSON))


def say_embed(asked: Asked, call: EmbedCall, wish: Directive) -> Whole:
    """The vector, or the vectors in order."""
    asked.charge.begin(call.model.id, call.model.tiers["standard"], call.prompt_tokens, tier="standard")
    vectors = [b'{"values":%b}' % vector(text.encode(), size, False) for text, size in call.texts]
    body = b'{"embeddings":[%b]}' % b",".join(vectors) if call.batch else b'{"embedding":%b}' % vectors[0]
    return Whole(Reply(200, body, content_type=JSON))
