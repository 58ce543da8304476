"""What a prompt in Google's format holds beside its texts, and how many tokens that can be at most.

    pictures            a published maximum, as everywhere (`Exchange.image_tokens`): Google's own figures,
                        258 for each tile of one or at most 2,240, are far below it
    sound in itself     its bytes: 32 tokens a second, and the leanest second of wav, mp3 or adts has more
    texts in base64     the bytes of the text, as it is or as a tokenizer may normalise it
    everything else     the model's context: films, documents, what is named by its address or not known

https://ai.google.dev/gemini-api/docs/tokens, https://ai.google.dev/gemini-api/docs/media-resolution
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from typing import Any
from unicodedata import normalize

from gateway.dialects.exchange import Exchange
from gateway.dialects.gemini_fields import read, read_object, read_objects, read_text, snake, wrong

_BOUND_BY_BYTES = frozenset(
    name
    for camel in (
        *("text", "thought", "thoughtSignature", "functionCall", "executableCode", "codeExecutionResult"),
        *("videoMetadata", "mediaResolution", "partMetadata"),
    )
    for name in (camel, snake(camel))
)
"""Members of a part that are read as they stand, or tell of another member."""
_READ_BELOW = frozenset({"inlineData", "inline_data", "functionResponse", "function_response"})
_HARMLESS = _BOUND_BY_BYTES | _READ_BELOW
_LEAN_SOUND = ("UklGR", "SUQz", "//")
"""How wav (RIFF), mp3 with a tag (ID3), and mp3 or adts frames begin in base64. Others can hold an hour of
silence in a few bytes (flac)."""


def read_contents(found: dict[str, Any], name: str, path: str, call: Exchange) -> None:
    """Contents: a list of messages, or one."""
    for number, content in enumerate(read_objects(found, name, path)):
        call.messages += 1
        read_parts(content, f"{path}{snake(name)}[{number}].", call)


def read_content(found: dict[str, Any], name: str, path: str, call: Exchange) -> None:
    """One message, if there is one."""
    content = read_object(found, name, path)
    if content is not None:
        call.messages += 1
        read_parts(content, f"{path}{snake(name)}.", call)


def read_parts(content: dict[str, Any], path: str, call: Exchange) -> None:
    """The parts of one message."""
    for number, part in enumerate(read_objects(content, "parts", path)):
        if part.keys() == {"text"}:
            if not isinstance(part["text"], str):
                raise wrong(f"{path}parts[{number}].text", "TYPE_STRING", part["text"])
        else:
            _read_part(part, f"{path}parts[{number}].", call)


def _read_part(part: dict[str, Any], path: str, call: Exchange) -> None:
    read_text(part, "text", path)
    inline = read_object(part, "inlineData", path)
    if inline is not None:
        _read_inline(inline, f"{path}inline_data.", call)
    answered = read_object(part, "functionResponse", path)
    if answered is not None:
        # What a function gives back may have media of its own.
        read_parts(answered, f"{path}function_response.", call)
    if not part.keys() <= _HARMLESS and any(part[name] is not None for name in part.keys() - _HARMLESS):
        call.fills_context = call.has_media = True


def _read_inline(inline: dict[str, Any], path: str, call: Exchange) -> None:
    kind = (read_text(inline, "mimeType", path) or "").lower()
    data = read(inline, "data")
    if not isinstance(data, str):
        raise wrong(f"{path}data", "TYPE_BYTES", data)
    if kind.startswith("image/"):
        call.images += 1
        call.has_media = True
        call.media_bytes += len(data)
    elif kind.startswith("audio/") and data.startswith(_LEAN_SOUND):
        call.has_media = True
    elif kind.startswith("text/"):
        call.repeated_bytes += max(0, _text_bytes(data) - len(data))
    else:
        call.fills_context = call.has_media = True


def _text_bytes(data: str) -> int:
    """Bytes of a text in base64; what is none will be refused, and counts as it stands."""
    try:
        decoded = b64decode(data)
    except (NotBase64, ValueError):
        return len(data)
    if decoded.isascii():
        return len(decoded)
    return max(len(decoded), len(normalize("NFKC", decoded.decode("utf-8", "replace")).encode()))
