"""Contents made of blocks, in the formats that read them alike: what is wrong is named by its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from gateway.dialects.bedrock_converse import read_call as read_converse
from gateway.dialects.cohere_calls import read_chat, read_embed
from gateway.dialects.exchange import Exchange
from gateway.dialects.openai_responses import read_call as read_response
from gateway.errors import BadRequest

TEXT = {"type": "text", "text": "Hello"}
WRONG_IMAGE = {"type": "image_url", "image_url": 7}


def said(content: Any, name: str = "messages") -> dict[str, Any]:
    """A request whose second message has this content."""
    return {"model": "m", name: [{"role": "user", "content": [TEXT]}, {"role": "user", "content": content}]}


Read = Callable[[dict[str, Any]], Exchange]
converse: Read = partial(read_converse, model="m")


@pytest.mark.parametrize(
    ("read", "body", "param", "expected"),
    [
        (read_chat, said(7), "messages[1].content", "a string or an array of blocks"),
        (read_chat, said([TEXT, "Hello"]), "messages[1].content[1]", "an object"),
        (read_chat, said([TEXT, WRONG_IMAGE, 7]), "messages[1].content[1].image_url.url", "a string"),
        (read_chat, {"model": "m", "messages": ["Hello"]}, "messages[0]", "an object"),
        (read_embed, said({}, "inputs"), "inputs[1].content", "a string or an array of blocks"),
        (read_response, said(7, "input"), "input[1].content", "a string or an array"),
        (read_response, said(["Hello"], "input"), "input[1].content[0]", "an object"),
        (read_response, {"model": "m", "input": [{"content": "Hello"}, 7]}, "input[1]", "an object"),
        (read_response, {"model": "m", "input": "Hello", "tools": [7]}, "tools[0]", "an object"),
        (converse, said("Hello"), "messages[1].content", "an array of objects"),
        (converse, said([TEXT, None]), "messages[1].content[1]", "an object"),
        (
            converse,
            said([{"toolResult": {"content": [TEXT, 7]}}]),
            "messages[1].content[0].toolResult.content[1]",
            "an object",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_place(
    read: Read, body: dict[str, Any], param: str, expected: str
) -> None:
    with pytest.raises(BadRequest, match=f"expected {expected}, but got") as refused:
        read(body)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("read", "body", "size"),
    [
        (read_chat, said([TEXT, {"type": "image_url", "image_url": {"url": "data:abc"}}]), 8),
        (read_embed, {"model": "m", "images": ["data:abc"]}, 8),
        (read_response, said([{"type": "input_image", "image_url": "data:abc"}], "input"), 8),
        (converse, said([{"image": {"source": {"bytes": "abc"}}}]), 3),
    ],
)
def test_an_image_is_counted_by_itself(read: Read, body: dict[str, Any], size: int) -> None:
    call = read(body)
    assert (call.images, call.media_bytes, call.has_media) == (1, size, True)


def test_a_text_has_no_blocks() -> None:
    for read, body in ((read_chat, said("Hello")), (read_response, said("Hello", "input"))):
        call = read(body)
        assert (call.messages, call.has_media, call.fills_context) == (2, False, False)
