"""A client of a cluster whose pipelines reach every shard and repeat nothing that may have been done."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis
from redis.cluster import RedisCluster
from redis.commands import CoreCommands
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  # not the built-in one
    MovedError,
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004  # not the built-in one
    TryAgainError,
)

from budgets.slots import key_of, slot_of

ROUNDS_MAX = 24
PAUSE_FIRST_S = 0.005
PAUSE_MAX_S = 0.1
"""Between repetitions of what a node cannot take just now: about two seconds in all."""
_LOST = (ConnectionError, TimeoutError)


class LedgerCluster(RedisCluster):
    """redis-py's client of a cluster, with pipelines that repeat nothing, and with errors of one family."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As redis-py's, but what it raises is always a redis.RedisError."""
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error

    def pipeline(self, transaction: Any = False, shard_hint: Any = None) -> Any:
        """A ShardPipeline; redis-py's own refuses scripts and repeats what may have been done."""
        return ShardPipeline(self, transaction=bool(transaction))

    def node_of(self, slot: int) -> Redis:
        """A plain client of the node that serves this slot. Raises ConnectionError when nobody does."""
        try:
            client: Redis = self.get_redis_connection(self.nodes_manager.get_node_from_slot(slot))
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error
        return client

    def node_at(self, host: str, port: int) -> Redis | None:
        """A plain client of the node with this address, if it is known."""
        node = self.get_node(host=host, port=port)  # type: ignore[no-untyped-call]
        return None if node is None else self.get_redis_connection(node)

    def read_map(self) -> None:
        """Learn anew who serves what. Raises ConnectionError when no node tells."""
        try:
            self.nodes_manager.initialize()
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error


class _Command:
    """One queued command, and what became of it."""

    __slots__ = ("args", "asks", "options", "reply", "slot")

    def __init__(self, args: tuple[Any, ...], options: dict[str, Any], slot: int) -> None:
        self.args = args
        self.options = options
        self.slot = slot
        self.asks: tuple[str, int] | None = None
        self.reply: Any = None


class ShardPipeline(CoreCommands):
    """Commands for any shards of a cluster, sent together to each node, in the order given.

    What a node turns away because a slot has moved, or is moving, was not executed there and is sent again
    where it belongs. While a slot moves, its commands may be carried out in another order than given.
    """

    def __init__(self, client: LedgerCluster, *, transaction: bool) -> None:
        self._client = client
        self._event_dispatcher: Any = None  # redis-py's mixin of commands wants one
        self._transaction = transaction
        self._queued: list[_Command] = []

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Queue a command."""
        words = [*args[0].split(), *args[1:]] if isinstance(args[0], str) else args
        key = key_of(words)
        if key is None:
            raise ValueError(
                f"{args[0]} names no key, so no node of a cluster: use budgets.client's functions"
            )
        self._queued.append(_Command(args, options, slot_of(key)))
        return self

    def __len__(self) -> int:
        return len(self._queued)

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The replies, in order. Without `raise_on_error` errors are among them; a node that cannot be
        reached is a ConnectionError for each of its commands, and raised only when none could be.
        """
        queued, self._queued = self._queued, []
        if self._transaction:
            return self._in_one_step(queued)
        todo, pause_s = queued, PAUSE_FIRST_S
        for _ in range(ROUNDS_MAX):
            if not todo:
                break
            todo, wait = self._round(todo)
            if todo and wait:
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MAX_S)
        replies = [command.reply for command in queued]
        errors = [reply for reply in replies if isinstance(reply, RedisError)]
        if errors and (raise_on_error or all(isinstance(reply, _LOST) for reply in replies)):
            raise errors[0]
        return replies

    def _round(self, todo: Sequence[_Command]) -> tuple[list[_Command], bool]:
        """Send all once; gives those that have to be sent again, and whether to pause before."""
        again: list[_Command] = []
        wait = stale = False
        for node, commands in self._by_node(todo):
            for command in self._send(node, commands):
                reply, command.asks = command.reply, None
                if isinstance(reply, MovedError):
                    stale = True
                elif isinstance(reply, AskError):
                    command.asks = (reply.host, reply.port)
                elif isinstance(reply, (TryAgainError, ClusterDownError)):
                    wait = True
                    stale = stale or isinstance(reply, ClusterDownError)
                else:
                    stale = stale or isinstance(reply, _LOST)
                    continue
                again.append(command)
        if stale:
            try:
                self._client.read_map()
            except RedisError:
                wait = True
        return again, wait

    def _by_node(self, todo: Sequence[_Command]) -> Iterable[tuple[Redis | None, list[_Command]]]:
        groups: dict[int, tuple[Redis | None, list[_Command]]] = {}
        for command in todo:
            try:
                asked = self._client.node_at(*command.asks) if command.asks else None
                if asked is None:
                    command.asks = None
                node = asked or self._client.node_of(command.slot)
            except ConnectionError as error:
                node, command.reply = None, error
            groups.setdefault(id(node), (node, []))[1].append(command)
        return groups.values()

    def _send(self, node: Redis | None, commands: list[_Command]) -> list[_Command]:
        if node is None:
            return commands
        pipeline: Any = node.pipeline(transaction=False)
        for command in commands:
            if command.asks:
                pipeline.execute_command("ASKING")
            pipeline.execute_command(*command.args, **command.options)
        try:
            replies = iter(pipeline.execute(raise_on_error=False))
        except _LOST as error:
            for command in commands:
                command.reply = error
            return commands
        for command in commands:
            if command.asks:
                next(replies)
            command.reply = next(replies)
        return commands

    def _in_one_step(self, queued: Sequence[_Command]) -> list[Any]:
        """MULTI and EXEC, on one shard."""
        if not queued:
            return []
        slots = {command.slot for command in queued}
        if len(slots) > 1:
            raise ValueError("a transaction needs keys of one shard")
        pause_s = PAUSE_FIRST_S
        for attempt in range(1, ROUNDS_MAX + 1):
            pipeline: Any = self._client.node_of(queued[0].slot).pipeline(transaction=True)
            for command in queued:
                pipeline.execute_command(*command.args, **command.options)
            try:
                replies: list[Any] = pipeline.execute()
                return replies
            except (AskError, TryAgainError, ClusterDownError) as error:
                # One of them was turned away, so none was done. In a slot that moves, keys may lie on both
                # sides; that ends with the move.
                if attempt == ROUNDS_MAX:
                    raise
                if not isinstance(error, MovedError):
                    time.sleep(pause_s)
                    pause_s = min(pause_s * 2, PAUSE_MAX_S)
                self._client.read_map()
        raise AssertionError("the last attempt returns or raises")
