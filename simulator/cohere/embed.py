"""`POST /v2/embed`: vectors of length one, of texts and of images, made from a digest of the input.

Every component is plus or minus 1/sqrt(dimensions), its sign a bit of the digest, whatever the type it is
returned as. Every image counts as 1,610 tokens, which have a price of their own.
"""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import dataclass
from hashlib import shake_128
from typing import Any

import orjson

from simulator import tokens
from simulator.cohere.models import KNOWN, PER_IMAGE_TOKEN, read_model
from simulator.dialect import Asked, Whole
from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal
from simulator.models import Model
from simulator.wire import Reply

INPUTS_MAX = 96
DIMENSIONS = (256, 512, 1_024, 1_536)
INPUT_TYPES = ("search_document", "search_query", "classification", "clustering", "image")
TYPES = ("float", "int8", "uint8", "binary", "ubinary", "base64")


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """One checked request. `inputs` are what each vector is made of, `texts` those that are texts alone."""

    model: Model
    inputs: list[str]
    texts: list[str]
    images: int
    text_tokens: int
    dimensions: int
    types: list[str]
    directive: Directive

    @property
    def image_tokens(self) -> int:
        """Tokens of all images."""
        return self.images * self.model.image_high

    def document(self, answer_id: str, *, usage: bool) -> bytes:
        """The answer's body."""
        signs = [_signs(each, self.dimensions) for each in self.inputs]
        meta: dict[str, Any] = {"api_version": {"version": "2"}}
        if usage:
            meta["billed_units"] = {"input_tokens": self.text_tokens, "image_tokens": self.image_tokens}
        return orjson.dumps(
            {
                "id": answer_id,
                "texts": self.texts,
                "embeddings": {kind: [_as(kind, each) for each in signs] for kind in self.types},
                "meta": meta,
                "response_type": "embeddings_by_type",
            }
        )


def read_embed(asked: Asked) -> EmbedCall:
    """Read a request. Raises Refusal on what Cohere would refuse."""
    body = asked.body
    model = read_model(body, "embedding")
    if body.get("input_type") not in INPUT_TYPES:
        raise Refusal(400, f"invalid request: input_type must be one of {', '.join(INPUT_TYPES)}")
    types = body.get("embedding_types") or ["float"]
    for kind in types:
        if kind not in TYPES:
            raise Refusal(400, f"invalid request: embedding_types must be of {', '.join(TYPES)}")
    dimensions = body.get("output_dimension") or model.dimensions
    if dimensions not in DIMENSIONS:
        raise Refusal(400, f"invalid request: output_dimension must be one of {DIMENSIONS}")
    inputs, texts, images = _inputs(body)
    sizes = [tokens.count(text) for text in texts]
    if body.get("truncate") == "NONE" and max(sizes, default=0) > model.context:
        raise Refusal(400, f"invalid request: a text is longer than {model.context} tokens")
    return EmbedCall(
        model=model,
        inputs=inputs,
        texts=texts,
        images=images,
        text_tokens=sum(min(size, model.context) for size in sizes),
        dimensions=dimensions,
        types=list(types),
        directive=wished(texts[-1]) if texts and asked.may_direct else NONE,
    )


def _inputs(body: dict[str, Any]) -> tuple[list[str], list[str], int]:
    """What every vector is of, all texts, and the number of images: from `texts`, `images` or `inputs`."""
    given = [(name, body[name]) for name in ("texts", "images", "inputs") if body.get(name) is not None]
    if len(given) != 1:
        raise Refusal(400, "invalid request: exactly one of texts, images and inputs must be provided")
    name, values = given[0]
    if not isinstance(values, list) or not 1 <= len(values) <= INPUTS_MAX:
        raise Refusal(400, f"invalid request: {name} must hold 1 to {INPUTS_MAX} elements")
    if name != "inputs":
        if not all(isinstance(value, str) for value in values):
            raise Refusal(400, f"invalid request: {name} must be strings")
        return values, values if name == "texts" else [], 0 if name == "texts" else len(values)
    inputs: list[str] = []
    texts: list[str] = []
    images = 0
    for number, value in enumerate(values):
        parts = []
        for part in value["content"]:
            if part.get("type") == "text":
                texts.append(str(part["text"]))
                parts.append(texts[-1])
            elif part.get("type") == "image_url":
                images += 1
                parts.append(str(part["image_url"]["url"]))
            else:
                raise Refusal(400, f"invalid request: inputs[{number}]: a text or an image_url is expected")
        inputs.append("\x1f".join(parts))
    return inputs, texts, images


def _signs(source: str, dimensions: int) -> bytes:
    """The vector as bits: 1 stands for a positive component."""
    return shake_128(source.encode()).digest(dimensions // 8)


def _as(kind: str, signs: bytes) -> Any:
    """A vector in one of Cohere's types. Bits are packed into bytes, the first one highest."""
    if kind == "ubinary":
        return list(signs)
    if kind == "binary":
        return [byte - 128 for byte in signs]
    bits = [byte >> place & 1 for byte in signs for place in range(7, -1, -1)]
    if kind == "uint8":
        return [255 * bit for bit in bits]
    if kind == "int8":
        return [127 if bit else -127 for bit in bits]
    size = 1 / math.sqrt(len(bits))
    numbers = [size if bit else -size for bit in bits]
    return base64.b64encode(struct.pack(f"<{len(bits)}f", *numbers)).decode() if kind == "base64" else numbers


def say_embed(asked: Asked, call: EmbedCall, wish: Directive) -> Whole:
    """The vectors, for the price of the input."""
    model = wish.serving(KNOWN, call.model)
    asked.charge.begin(model.snapshot, model.tiers["default"], call.text_tokens)
    asked.charge.fees = call.image_tokens * PER_IMAGE_TOKEN
    return Whole(Reply(200, call.document(asked.request_id, usage=not wish.no_usage)))
