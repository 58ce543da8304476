"""Fields that several of OpenAI's formats have, read in one way."""

from __future__ import annotations

from typing import Any

from gateway.dialects.exchange import Exchange, wrong_type
from gateway.errors import BadRequest


def missing(param: str) -> BadRequest:
    """The complaint about a field that has to be there."""
    return BadRequest(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def read_input(body: dict[str, Any]) -> str | list[Any]:
    """What is to be embedded or judged: a text, or an array of whatever the format allows."""
    given = body.get("input")
    if given is None:
        raise missing("input")
    if not isinstance(given, (str, list)):
        raise wrong_type("input", given, "a string or an array")
    return given


def read_image(part: dict[str, Any], path: str, call: Exchange) -> None:
    """Note the image of a part of the type `image_url`."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise wrong_type(f"{path}.image_url.url", url, "a string")
    call.images += 1
    call.has_media = True
    call.media_bytes += len(url)
