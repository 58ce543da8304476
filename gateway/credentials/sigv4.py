"""Amazon's Signature Version 4, by botocore's signer."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.credentials.awskeys import AwsKeys
from gateway.credentials.credential import without
from gateway.credentials.lease import Leased
from gateway.transport.port import Headers

THREAD_BYTES = 256 * 1024
"""A longer body is hashed in a thread, where it does not hold up other requests."""


class SigV4Credential:
    """Signs requests to one service in one region. `keys` are shared by a provider's addresses.

    Signed are Host, Content-Type, every `x-amz...` header and the body. Other headers are left out, since
    what stands between us and Amazon may change them.
    """

    fixed = None

    def __init__(self, keys: Leased[AwsKeys], *, region: str, service: str, secure: bool) -> None:
        self._keys = keys
        self._region = region
        self._service = service
        self._scheme = "https://" if secure else "http://"
        self._signer: Any = None
        self._signs_with: AwsKeys | None = None

    def start(self) -> None:
        """Find the keys, and load the signer."""
        self._keys.start()

    async def headers(
        self, method: bytes, authority: str, target: bytes, headers: Headers, body: bytes
    ) -> Headers:
        """Authorization, X-Amz-Date, and the session token where the keys have one."""
        keys = await self._keys.get()
        if keys is not self._signs_with:
            from botocore.auth import SigV4Auth  # loaded by the thread that fetched the keys

            self._signer = SigV4Auth(keys, self._service, self._region)
            self._signs_with = keys
        if len(body) > THREAD_BYTES:
            return await asyncio.to_thread(self._sign, self._signer, method, authority, target, headers, body)
        return self._sign(self._signer, method, authority, target, headers, body)

    def _sign(
        self, signer: Any, method: bytes, authority: str, target: bytes, headers: Headers, body: bytes
    ) -> Headers:
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method.decode(), f"{self._scheme}{authority}{target.decode()}", data=body)
        request.headers["host"] = authority
        for name, value in headers:
            if name == b"content-type" or name.startswith(b"x-amz"):
                request.headers[name.decode()] = value.decode("latin-1")
        signer.add_auth(request)
        made = [
            (b"x-amz-date", request.headers["X-Amz-Date"].encode()),
            (b"authorization", request.headers["Authorization"].encode()),
        ]
        if signer.credentials.token:
            made.append((b"x-amz-security-token", signer.credentials.token.encode()))
        return made

    def rejected(self) -> None:
        """Look for the keys again."""
        self._keys.rejected()

    def redacted(self, words: bytes) -> bytes:
        """Amazon repeats the whole canonical request when a signature is wrong, the session token with it."""
        keys = self._keys.current
        if keys is None:
            return words
        return without(
            words, (keys.access_key.encode(), keys.secret_key.encode(), (keys.token or "").encode())
        )

    def close(self) -> None:
        """Look for keys no more."""
        self._keys.close()

    def __repr__(self) -> str:
        return f"SigV4Credential({self._service} in {self._region})"
