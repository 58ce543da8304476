"""An installation whose links lead through fault proxies: to the provider, to a Redis of the trial's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis import Redis

from simulator.process import Simulator
from tests.acceptance.installation import Installation, until

from .sockets import carried


@dataclass(frozen=True, slots=True)
class LinkedSimulator(Simulator):
    """A simulator whose clients are sent to `link` (`host:port`) instead; bill and figures come directly."""

    link: str = ""

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"http://{self.link or f'{self.host}:{self.port}'}/v1"


class Site(Installation):
    """`tollkeeper serve`, with the ledger in `redis_url` where that is given. The trial looks at `direct`."""

    direct: str | None = None

    @property
    def redis(self) -> Any:
        """A client of the ledger in force."""
        if self.direct is None:
            return super().redis
        if self._redis is None:
            self._redis = Redis.from_url(self.direct, socket_timeout=60)
        return self._redis

    async def workers(self, count: int) -> list[int]:
        """The workers' pids, once there are so many that listen."""
        found: list[int] = await until(lambda: len(pids := self.children("worker")) == count and pids)
        return found

    def busiest(self, ports: set[int], among: Iterable[int] | None = None) -> tuple[int, int]:
        """(streams, pid) of the worker that carries most of these clients' streams."""
        pids = self.children("worker") if among is None else among
        return max(((carried(pid, ports), pid) for pid in pids), default=(0, 0))
