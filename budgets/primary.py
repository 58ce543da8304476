"""A redis-py connection that finds the primary among several servers, each time it connects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError, ReadOnlyError, RedisError  # noqa: A004  # not the built-in one


class _PrimaryFirst:
    """A connection that looks for the primary among several places, each time it connects."""

    def __init__(self, *, places: Sequence[tuple[str, int]], **options: Any) -> None:
        self._places = list(places)
        self._found = False
        self._demoted = False
        super().__init__(host=places[0][0], port=places[0][1], **options)  # type: ignore[call-arg]

    def connect(self) -> None:
        """Connect to the first place whose server is a primary; ConnectionError when there is none."""
        this: Any = self
        if self._demoted:
            this.disconnect()
        if self._found:
            return
        fault: RedisError | None = None
        for place in list(self._places):
            this.host, this.port = place
            try:
                super().connect()  # type: ignore[misc]
                this.send_command("ROLE")
                role = this.read_response()[0]
                if role == b"master":
                    self._found = True
                    self._places.remove(place)
                    self._places.insert(0, place)  # most likely the one next time
                    return
                fault = ConnectionError(f"Redis at {place[0]}:{place[1]} is a replica")
            except RedisError as error:
                fault = error
            this.disconnect()
        assert fault is not None
        raise fault

    def disconnect(self, *args: Any, **options: Any) -> None:
        """Drop the socket, and what is known of the server behind it."""
        self._found = self._demoted = False
        super().disconnect(*args, **options)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """As the base class; a server that was demoted is left at the next use."""
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except ReadOnlyError:
            self._demoted = True
            raise


class PrimaryConnection(_PrimaryFirst, Connection):
    pass


class PrimarySSLConnection(_PrimaryFirst, SSLConnection):
    pass
