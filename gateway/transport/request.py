"""The head of a request as bytes, refused where it would not mean what the caller wrote."""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.transport.errors import MalformedRequest
from gateway.transport.port import Headers

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"/[!-~]*|\*")
_CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)
_OWN = frozenset({b"host", b"content-length", b"accept-encoding", b"connection", b"transfer-encoding"})
_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})


class RequestWriter:
    """Writes heads for one authority ("api.example.com" or "host:port")."""

    __slots__ = ("_after_target",)

    def __init__(self, authority: str) -> None:
        self._after_target = b" HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity" % authority.encode("ascii")

    def head(self, method: bytes, target: bytes, headers: Headers, body_bytes: int) -> bytes:
        """Everything up to the body. Raises MalformedRequest; header values are never shown in it."""
        if _TARGET.fullmatch(target) is None:
            raise MalformedRequest("the target must be an absolute path of visible ASCII characters")
        lines = [_method(method) + target + self._after_target]
        lines += [_name(name) + value for name, value in headers]
        if body_bytes or method in _BODY_EXPECTED:
            lines.append(b"Content-Length: %d" % body_bytes)
        lines.append(b"\r\n")
        head = b"\r\n".join(lines)
        # Ours are one CRLF for each join, two inside the first item, and the last item. Any control
        # character beyond those came in with a value. One pass in C.
        if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(lines) + 2):
            guilty = ", ".join(
                repr(name.decode("latin-1"))
                for name, value in headers
                if len(value) != len(value.translate(None, _CONTROLS))
            )
            raise MalformedRequest(f"control characters (CR, LF, NUL, ...) in the value of {guilty}")
        return head


@lru_cache(maxsize=64)
def _method(method: bytes) -> bytes:
    if _TOKEN.fullmatch(method) is None:
        raise MalformedRequest(f"not a method: {method!r}")
    return method + b" "


@lru_cache(maxsize=1024)
def _name(name: bytes) -> bytes:
    if _TOKEN.fullmatch(name) is None:
        raise MalformedRequest(f"not a header name: {name!r}")
    if name.lower() in _OWN:
        raise MalformedRequest(f"{name.decode('ascii')} is set by the transport, do not pass it")
    return name + b": "
