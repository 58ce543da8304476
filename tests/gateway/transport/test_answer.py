"""The native pool's answer, for what its own form promises beyond the port."""

import asyncio

import pytest

from gateway.transport.answer import PooledAnswer
from gateway.transport.errors import ConnectionLost


class Closable:
    closed = False

    def drained(self) -> None:
        """Nobody waits for room here."""

    def close(self) -> None:
        self.closed = True


async def test_what_arrived_before_a_close_is_still_handed_out() -> None:
    source = Closable()
    answer = PooledAnswer(asyncio.get_running_loop(), source, reused=False)
    answer.begin(200, [], "chunked", None)
    answer.feed(b"arrived, ")
    answer.feed(b"not read")
    answer.close()
    assert source.closed
    assert await answer.chunk() == b"arrived, not read"
    with pytest.raises(ConnectionLost):
        await answer.chunk()
    assert not answer.complete
