"""Embeddings: vectors of length one, made from a digest of the input.

Every component is plus or minus 1/sqrt(dimensions), its sign a bit of the digest. So equal inputs give equal
vectors, different ones nearly orthogonal vectors, and a vector costs no arithmetic to make.
"""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from hashlib import shake_128
from typing import Any

import orjson

from simulator import tokens
from simulator.chat import read_model
from simulator.dialect import Asked, Whole
from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal, missing, wrong_type
from simulator.models import Model
from simulator.wire import Reply

INPUTS_MAX = 2_048
TOKENS_MAX = 300_000


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """One checked request: each input as bytes to digest, and the tokens of all."""

    model: Model
    inputs: list[bytes]
    prompt_tokens: int
    dimensions: int
    as_base64: bool
    directive: Directive

    def document(self, *, usage: bool = True) -> bytes:
        """The answer's body."""
        vectors = [vector(each, self.dimensions, self.as_base64) for each in self.inputs]
        data = b",".join(
            b'{"object":"embedding","index":%d,"embedding":%b}' % (number, vector)
            for number, vector in enumerate(vectors)
        )
        counted = b""
        if usage:
            counted = b',"usage":{"prompt_tokens":%d,"total_tokens":%d}' % (
                self.prompt_tokens,
                self.prompt_tokens,
            )
        name = orjson.dumps(self.model.id)
        return b'{"object":"list","data":[' + data + b'],"model":' + name + counted + b"}"


def read_embedding_call(asked: Asked) -> EmbeddingCall:
    """Read what was asked."""
    return read_embedding(asked.body, may_direct=asked.may_direct)


def say_embedding(asked: Asked, call: EmbeddingCall, wish: Directive) -> Whole:
    """The vectors."""
    asked.charge.begin(call.model.id, call.model.tiers["default"], call.prompt_tokens)
    return Whole(Reply(200, call.document(usage=not wish.no_usage)))


def read_embedding(body: dict[str, Any], *, may_direct: bool) -> EmbeddingCall:
    """Read a request body. Raises Refusal on what OpenAI would refuse."""
    model = read_model(body, "embedding")
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise Refusal(400, f"Invalid value: '{form}'.", code="invalid_value", param="encoding_format")
    dimensions = body.get("dimensions")
    if dimensions is None:
        dimensions = model.dimensions
    if not isinstance(dimensions, int) or isinstance(dimensions, bool):
        raise wrong_type("dimensions", "an integer", dimensions)
    if not 1 <= dimensions <= model.dimensions:
        raise Refusal(
            400,
            f"Invalid 'dimensions': expected a value between 1 and {model.dimensions}, but got {dimensions}.",
            code="invalid_value",
            param="dimensions",
        )
    texts, sizes = _inputs(body)
    for number, size in enumerate(sizes):
        if size > model.context:
            raise Refusal(
                400,
                f"Invalid 'input[{number}]': maximum input length is {model.context} tokens.",
                param="input",
            )
    if sum(sizes) > TOKENS_MAX:
        raise Refusal(400, f"Invalid 'input': maximum request size is {TOKENS_MAX} tokens.", param="input")
    return EmbeddingCall(
        model=model,
        inputs=texts,
        prompt_tokens=sum(sizes),
        dimensions=dimensions,
        as_base64=form == "base64",
        directive=wished(texts[-1].decode()) if may_direct else NONE,
    )


def _inputs(body: dict[str, Any]) -> tuple[list[bytes], list[int]]:
    """The inputs and their tokens: a text, texts, a token array, or token arrays."""
    given = body.get("input")
    if given is None:
        raise missing("input")
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array", given)
    if not 1 <= len(given) <= INPUTS_MAX:
        raise Refusal(400, f"Invalid 'input': expected 1 to {INPUTS_MAX} inputs.", param="input")
    texts: list[bytes] = []
    sizes: list[int] = []
    for number, each in enumerate(given):
        if isinstance(each, str) and each:
            texts.append(each.encode())
            sizes.append(tokens.count(each))
        elif isinstance(each, list) and each and all(type(token) is int and token >= 0 for token in each):
            texts.append(orjson.dumps(each))
            sizes.append(len(each))
        else:
            raise Refusal(400, f"'$.input[{number}]' is invalid: expected a text or tokens.", param="input")
    return texts, sizes


def vector(source: bytes, dimensions: int, as_base64: bool) -> bytes:
    """One vector as JSON: an array of numbers, or a string of base64 of little-endian float32."""
    whole, rest = divmod(dimensions, 8)
    digest = shake_128(source).digest(whole + 1)
    numbers, packed = _components(dimensions)
    if as_base64:
        raw = b"".join([packed[byte] for byte in digest])[: dimensions * 4]
        return b'"' + base64.b64encode(raw) + b'"'
    parts = [numbers[byte] for byte in digest[:whole]]
    if rest:
        parts.append(b",".join(numbers[digest[whole]].split(b",")[:rest]))
    return b"[" + b",".join(parts) + b"]"


@lru_cache(maxsize=64)
def _components(dimensions: int) -> tuple[list[bytes], list[bytes]]:
    """For each byte its eight components: as JSON numbers and as float32."""
    size = struct.unpack("<f", struct.pack("<f", 1 / math.sqrt(dimensions)))[0]
    octets = [[size if byte >> bit & 1 else -size for bit in range(8)] for byte in range(256)]
    texts = [orjson.dumps(octet)[1:-1] for octet in octets]
    return texts, [struct.pack("<8f", *octet) for octet in octets]
