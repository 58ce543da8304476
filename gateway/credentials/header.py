"""A credential that is one header."""

from __future__ import annotations

from gateway.credentials.credential import without
from gateway.transport.port import Headers

_SCHEMES = {"bearer": b"Bearer ", "token": b"Token "}
"""Kinds that stand in `Authorization`; every other kind is a header's name."""


class HeaderCredential:
    """One header with a key, the same for every request; none at all without a key."""

    __slots__ = ("_secret", "fixed")

    def __init__(self, kind: str, secret: str | None) -> None:
        self._secret = (secret or "").encode()
        self.fixed: tuple[tuple[bytes, bytes], ...] = ()
        if secret and kind in _SCHEMES:
            self.fixed = ((b"authorization", _SCHEMES[kind] + self._secret),)
        elif secret and kind != "none":
            self.fixed = ((kind.encode(), self._secret),)

    def start(self) -> None:
        """There is nothing to fetch."""

    async def headers(
        self, method: bytes, authority: str, target: bytes, headers: Headers, body: bytes
    ) -> Headers:
        """The same as `fixed`."""
        return list(self.fixed)

    def rejected(self) -> None:
        """Another key there is not."""

    def redacted(self, words: bytes) -> bytes:
        """The words without the key."""
        return without(words, (self._secret,))

    def close(self) -> None:
        """There is nothing to end."""

    def __repr__(self) -> str:
        return f"HeaderCredential({', '.join(name.decode() for name, _ in self.fixed) or 'none'})"
