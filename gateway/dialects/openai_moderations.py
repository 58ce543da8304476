"""OpenAI's moderations format (`/v1/moderations`): is a text or an image harmful?

https://platform.openai.com/docs/api-reference/moderations. Answers report no usage: what a list prices is
estimated from the input, and what it calls free costs nothing.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.exchange import TokenExchange, read_model, wrong_type
from gateway.errors import BadRequest

DEFAULT_MODEL = "omni-moderation-latest"
"""What the format says applies where the client names no model; it is written into what is forwarded."""


def read_call(body: dict[str, Any]) -> TokenExchange:
    """Understand one moderations request; BadRequest names the field that is wrong."""
    if body.get("model") is None:
        body = {**body, "model": DEFAULT_MODEL}
    call = TokenExchange("moderations", body, read_model(body), produces_tokens=False)
    given = body.get("input")
    if given is None:
        raise BadRequest(
            "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
        )
    if not isinstance(given, (str, list)):
        raise wrong_type("input", given, "a string or an array")
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
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str):
            raise wrong_type(f"{path}.image_url.url", url, "a string")
        call.images += 1
        call.has_media = True
        call.media_bytes += len(url)
    elif kind != "text":
        # Whatever else may be looked at one day: its cost has no bound that we know of.
        call.unbounded = call.unbounded or path
