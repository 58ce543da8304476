"""OpenAI's embeddings format. Usage has the chat format's shape without completion tokens."""

from __future__ import annotations

from typing import Any

from gateway.dialects.exchange import TokenExchange, is_token, read_model, wrong_type
from gateway.dialects.openai_fields import read_input
from gateway.errors import BadRequest


def read_call(body: dict[str, Any]) -> TokenExchange:
    """Understand one embeddings request; BadRequest names the field that is wrong."""
    call = TokenExchange("embeddings", body, read_model(body), produces_tokens=False)
    given = read_input(body)
    if not given:
        raise BadRequest("'input' must not be empty.", param="input", code="invalid_value")
    call.messages = 1
    if isinstance(given, list):
        if all(map(is_token, given)):
            call.given_tokens = len(given)
            return call
        call.messages = len(given)
        for n, item in enumerate(given):
            if isinstance(item, list) and all(map(is_token, item)):
                call.given_tokens += len(item)
            elif not isinstance(item, str):
                raise wrong_type(f"input[{n}]", item, "a string, an integer or an array of integers")
    return call
