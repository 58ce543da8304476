"""Is this head one request, read in one way only? Pure.

The parser (llhttp, strict) has refused what breaks HTTP's grammar: two lengths, a length beside chunks, bare
CR or LF, folded lines, whitespace before a colon. Here is refused what it lets pass and what another reader
before or behind us may read differently (RFC 9112, sections 3.2, 6.1, 7.1.2; RFC 9110, section 7.8).
"""

from __future__ import annotations

from urllib.parse import unquote

from gateway.errors import BadRequest

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
VERSIONS = frozenset({"1.1", "1.0"})

Headers = list[tuple[bytes, bytes]]


class Malformed(BadRequest):
    """The HTTP request is malformed."""

    default_code = "malformed_http"


def check_head(method: str, version: str, target: bytes, headers: Headers) -> bool:
    """Whether the client waits for `100 Continue`. Raises Malformed; header names are in lower case."""
    if version not in VERSIONS:
        raise Malformed(f"HTTP/{version} is not spoken here; send HTTP/1.1.")
    if method not in METHODS:
        raise Malformed(f"{method} is no method of this gateway.")
    if not target.startswith(b"/") or b"#" in target:
        raise Malformed("The request target must be a path; this gateway is no forward proxy.")
    hosts, expects = 0, False
    for name, value in headers:
        if name in _WATCHED:
            if name == b"host":
                hosts += 1
            elif name == b"expect":
                expects = value.lower() == b"100-continue"
            elif name == b"upgrade":
                raise Malformed("Upgrade is not supported; send the request without it.")
            else:
                _check_coding(version, value)
    if hosts != 1 and (hosts or version == "1.1"):
        raise Malformed(f"A request has one Host header; this one has {hosts or 'none'}.")
    return expects


_WATCHED = frozenset({b"host", b"expect", b"upgrade", b"transfer-encoding"})


def _check_coding(version: str, coding: bytes) -> None:
    if version == "1.0":
        raise Malformed("HTTP/1.0 has no Transfer-Encoding.")
    if coding.lower() != b"chunked":
        raise Malformed("The only Transfer-Encoding accepted is `chunked`.")


def split_target(target: bytes) -> tuple[str, bytes, bytes]:
    """(path as text, path as it came, query). Raises Malformed."""
    raw, _, query = target.partition(b"?")
    try:
        path = raw.decode("ascii")
        return (unquote(path, errors="strict") if "%" in path else path), raw, query
    except UnicodeDecodeError:
        raise Malformed("The request target is not valid UTF-8.") from None
