"""redis-py over simulated sockets: the product's blocking code uses it unchanged."""

from __future__ import annotations

from typing import Any

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.retry import Retry

from tests.simulation.network import Network, SimulatedSocket
from tests.simulation.threads import BlockingProcess


class _Connection(Connection):
    def __init__(self, *, network: Network, process: BlockingProcess, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._network = network
        self._process = process

    def _connect(self) -> Any:
        return SimulatedSocket(self._network, self._process)

    def can_read(self, timeout: float | None = 0) -> bool:
        # redis-py asks the operating system, by file number.
        found: Any = self._sock
        return found is not None and bool(found.readable)


def blocking_client(network: Network, process: BlockingProcess, *, timeout_s: float = 1.0) -> Redis:
    """A client of the process, which repeats nothing by itself. Only for calls from inside its thread."""
    pool = ConnectionPool(
        connection_class=_Connection,
        network=network,
        process=process,
        protocol=2,
        driver_info=None,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
    )
    return Redis(connection_pool=pool)
