"""An answer for an HTTP/1.0 client, which knows no chunks: without a length, its end is the connection's."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class OldDelivery(RequestResponseCycle):
    """uvicorn's cycle, without chunks; the connection ends with the answer anyway."""

    _endless = False

    async def send(self, message: Any) -> None:
        """See ASGI."""
        if not self.response_started:
            headers = message.get("headers", ())
            self._endless = all(name.lower() != b"content-length" for name, _ in headers)
            if self._endless:
                self.chunked_encoding = False  # decided, so that uvicorn does not
        elif self._endless:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
