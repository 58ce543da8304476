"""Fields that several formats have, OpenAI's and those made like them, read in one way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def objects(values: list[Any], path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The members of an array and their places; BadRequest names the first that is no object.

    One by one, so that what is wrong with one is said before what is wrong with a later one.
    """
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise wrong_type(f"{path}[{number}]", value, "an object")
        yield number, value


def blocks(
    content: Any, path: str, expected: str = "a string or an array"
) -> Iterable[tuple[int, dict[str, Any]]]:
    """The blocks that a content is made of, as `objects`; a text alone has none."""
    if content is None or isinstance(content, str):
        return ()
    if not isinstance(content, list):
        raise wrong_type(path, content, expected)
    return objects(content, path)


def read_image(part: dict[str, Any], path: str, call: Exchange) -> None:
    """Note the image of a part of the type `image_url`."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise wrong_type(f"{path}.image_url.url", url, "a string")
    add_image(call, len(url))


def add_image(call: Exchange, size: int) -> None:
    """Note an image that takes so many bytes of the body."""
    call.images += 1
    call.has_media = True
    call.media_bytes += size
