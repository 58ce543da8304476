"""FrontDoor: uvicorn's httptools protocol, with refusals in the shape that OpenAI's clients read."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.answers import refusal
from gateway.errors import BadRequest
from metering.ids import new_id


class FrontDoor(HttpToolsProtocol):
    """What the parser cannot read (NUL or CR in a header, two lengths, no HTTP at all) is a clear 400."""

    def send_400_response(self, msg: str) -> None:
        """Answer and close: where the next request would begin is not known."""
        status, headers, body = refusal(
            BadRequest(f"The HTTP request is malformed. {msg}", code="malformed_http"), new_id()
        )
        lines = [b"HTTP/1.1 %d Bad Request\r\n" % status]
        lines += [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([*lines, b"connection: close\r\n\r\n", body]))
        self.transport.close()
