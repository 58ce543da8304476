"""OpenAI's moderations format (`/v1/moderations`): is a text or an image harmful?

https://platform.openai.com/docs/api-reference/moderations. Answers report no usage: what a list prices is
estimated from the input, and what it calls free costs nothing.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.exchange import TokenExchange, read_model, wrong_type
from gateway.dialects.openai_fields import read_image, read_input
from gateway.errors import BadRequest

DEFAULT_MODEL = "omni-moderation-latest"
"""What the format says applies where the client names no model; it is written into what is forwarded."""


def read_call(body: dict[str, Any]) -> TokenExchange:
    """Understand one moderations request; BadRequest names the field that is wrong."""
    if body.get("model") is None:
        body = {**body, "model": DEFAULT_MODEL}
    call = TokenExchange("moderations", body, read_model(body), produces_tokens=False)
    given = read_input(body)
    if given == []:
        raise BadRequest("Invalid 'input': empty array.", param="input", code="empty_array")
    call.messages = 1
    if isinstance(given, list):
        call.messages = len(given)
        for number, part in enumerate(given):
            _read_part(part, f"input[{number}]", call)
    return call


def _read_part(part: Any, path: str, call: TokenExchange) -> None:
    if isinstance(part, str):
        return
    if not isinstance(part, dict):
        raise wrong_type(path, part, "a string or an object")
    kind = part.get("type")
    if kind == "image_url":
        read_image(part, path, call)
    elif kind != "text":
        # Whatever else may be looked at one day: its cost has no bound that we know of.
        call.unbounded = call.unbounded or path
