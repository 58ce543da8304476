"""What the front door grants a client, in one worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class DoorSettings(Protocol):
    """The settings of the front door; see `gateway.settings.server`."""

    @property
    def head_s(self) -> float: ...
    @property
    def body_s(self) -> float: ...
    @property
    def body_bytes_per_s(self) -> int: ...
    @property
    def keep_alive_s(self) -> float: ...
    @property
    def reader_s(self) -> float: ...
    @property
    def head_bytes_max(self) -> int: ...
    @property
    def headers_max(self) -> int: ...
    @property
    def body_bytes_max(self) -> int: ...
    @property
    def connections_max(self) -> int: ...
    @property
    def connections_per_address(self) -> int: ...


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Seconds, bytes and numbers.

    head_s: for the head, from the connection's or the request's first moment. body_s: for the body; a longer
    one has one second more for every `body_bytes_per_s` that came. reader_s: how long a client may take
    nothing of an answer that waits for it. body_wire_bytes_max: the body as it travels, chunk sizes and all.
    """

    head_s: float
    body_s: float
    body_bytes_per_s: int
    keep_alive_s: float
    reader_s: float
    head_bytes_max: int
    headers_max: int
    body_wire_bytes_max: int
    connections_max: int
    connections_per_address: int

    @classmethod
    def of(cls, settings: DoorSettings) -> DoorLimits:
        """The limits that these settings describe."""
        return cls(
            head_s=settings.head_s,
            body_s=settings.body_s,
            body_bytes_per_s=settings.body_bytes_per_s,
            keep_alive_s=settings.keep_alive_s,
            reader_s=settings.reader_s,
            head_bytes_max=settings.head_bytes_max,
            headers_max=settings.headers_max,
            # Chunks of sixteen bytes or more never double a body; smaller ones are no client's.
            body_wire_bytes_max=2 * settings.body_bytes_max + 64 * 1024,
            connections_max=settings.connections_max,
            connections_per_address=settings.connections_per_address,
        )
