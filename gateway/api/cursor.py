"""Cursors: where the next page of a list begins, as an opaque text that only its own list takes.

A cursor holds the place in a list and a digest of what the list was: endpoint, account and filters. One that
was cut, changed, made for other filters or by another account is no cursor here. It is no secret and grants
nothing: the account always comes from the key.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b

import orjson

from gateway.errors import BadRequest

_DIGEST_BYTES = 9
Part = str | int | None


def encode_cursor(of: Sequence[Part], place: Sequence[Part]) -> str:
    """`of`: what the list is (its name, the account, every filter). `place`: where the next page begins."""
    told = orjson.dumps(list(place))
    return urlsafe_b64encode(_digest(of, told) + told).rstrip(b"=").decode()


def decode_cursor(of: Sequence[Part], cursor: str, kinds: Sequence[type]) -> list[Part]:
    """The place, whose parts are of these kinds. BadRequest where the cursor is of no such list."""
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        digest, told = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        place = orjson.loads(told)
    except (ValueError, UnicodeError):
        place, digest, told = None, b"", b""
    if (
        not isinstance(place, list)
        or digest != _digest(of, told)
        or len(place) != len(kinds)
        or any(type(part) is not kind for part, kind in zip(place, kinds, strict=True))
    ):
        raise BadRequest(
            "This cursor is of no such list: send `next_cursor` as it came, with the same filters.",
            code="invalid_cursor",
            param="cursor",
        )
    return place


def _digest(of: Sequence[Part], told: bytes) -> bytes:
    return blake2b(orjson.dumps(list(of)) + b"\0" + told, digest_size=_DIGEST_BYTES).digest()
