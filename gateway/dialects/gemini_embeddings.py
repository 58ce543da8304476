"""Google's embeddings: `embedContent`, `batchEmbedContents`, and Vertex AI's `predict` for its older models.

Shapes: https://ai.google.dev/api/embeddings, and the text embeddings API in Vertex AI's model reference. The
Gemini API does not count them: where an answer tells no usage, it is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gateway.dialects.exchange import Exchange
from gateway.dialects.gemini_fields import read_objects, read_text
from gateway.dialects.gemini_generate import GeminiExchange, read_model, renamed
from gateway.dialects.gemini_parts import read_content
from gateway.errors import BadRequest


@dataclass(slots=True)
class EmbedExchange(GeminiExchange):
    """One request for embeddings, of one text or of many."""

    prompt_fields: ClassVar[tuple[str, ...]] = ("content", "requests", "instances", "title")
    schema_fields: ClassVar[tuple[str, ...]] = ()

    def _write_model(self, body: dict[str, Any], model: str) -> None:
        renamed(body, model)
        requests = body.get("requests")
        if isinstance(requests, dict):
            requests = [requests]
        if isinstance(requests, list):  # whatever else it is, where it is not asked for, Google refuses it
            body["requests"] = [_renamed_copy(each, model) for each in requests]


def read_embed(body: dict[str, Any], *, model: str, **_: str) -> Exchange:
    """One text, or one thing of several parts."""
    call = EmbedExchange("embedContent", body, read_model(model), produces_tokens=False)
    read_content(body, "content", "", call)
    _require(call, "content")
    return call


def read_batch(body: dict[str, Any], *, model: str, **_: str) -> Exchange:
    """Many of them."""
    call = EmbedExchange("batchEmbedContents", body, read_model(model), produces_tokens=False)
    for number, each in enumerate(read_objects(body, "requests")):
        read_content(each, "content", f"requests[{number}].", call)
    _require(call, "requests")
    return call


def read_predict(body: dict[str, Any], *, model: str, **_: str) -> Exchange:
    """Texts for a model that embeds them; other models of `predict` (pictures, say) are not served."""
    call = EmbedExchange("predict", body, read_model(model), produces_tokens=False)
    for number, each in enumerate(read_objects(body, "instances")):
        call.messages += 1
        if read_text(each, "content", f"instances[{number}].") is None:
            raise BadRequest(
                f"instances[{number}].content is missing: predict is served for embeddings of texts alone.",
                param=f"instances[{number}].content",
                code="missing_required_parameter",
            )
    _require(call, "instances")
    return call


def _renamed_copy(each: Any, model: str) -> Any:
    if not isinstance(each, dict):
        return each
    copy = dict(each)
    renamed(copy, model)
    return copy


def _require(call: Exchange, name: str) -> None:
    if not call.messages:
        raise BadRequest(f"'{name}' is empty or missing.", param=name, code="missing_required_parameter")
