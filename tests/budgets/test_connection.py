"""The pipelined connection, against real servers and against one that misbehaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop
from hiredis import ReplyError

from budgets.address import Address, addresses_of
from budgets.connection import LedgerUnavailable, RedisConnection, newest
from budgets.greeting import Server as Greeted
from budgets.greeting import server_of
from budgets.ledger import Closed
from budgets.scripts import ON_EVERY_REQUEST
from tests.budgets.cluster import Pair
from tests.budgets.server import Server
from tests.budgets.world import World

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def fake_redis(talk: Talk) -> AsyncIterator[str]:
    """A server that says what the test wants; gives its URL."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await reader.readuntil(b"cluster\r\n")  # the end of what a connection asks first
        except asyncio.IncompleteReadError:
            return
        for said in (b"run_id:fake\r\n", b"role:master\r\n", b"cluster_enabled:0\r\n"):
            writer.write(b"$%d\r\n%b\r\n" % (len(said), said))
        await talk(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()


async def test_commands_of_one_turn_leave_in_one_write() -> None:
    chunks: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            chunks.append(data)
            writer.write(b"+PONG\r\n" * data.count(b"PING"))

    async with fake_redis(talk) as url:
        connection = await RedisConnection.connect(url, scripts=())
        replies = await asyncio.gather(*(connection.command("PING") for _ in range(100)))
        assert replies == [b"PONG"] * 100
        assert len(chunks) == 1
        await connection.close()


async def test_replies_are_matched_in_order_and_errors_stay_with_their_command(
    connection: RedisConnection,
) -> None:
    connection.command("SET", "a", "text")
    first, wrong, last = (
        connection.command("GET", "a"),
        connection.command("INCR", "a"),
        connection.command("ECHO", b"\x00\xff"),
    )
    assert await first == b"text"
    with pytest.raises(ReplyError, match="not an integer"):
        await wrong
    assert await last == b"\x00\xff"
    assert await connection.command("MGET", "a", "b") == [b"text", None]


async def test_a_cancelled_caller_does_not_disturb_the_others(connection: RedisConnection) -> None:
    one, two, three = (connection.command("ECHO", str(number)) for number in range(3))
    two.cancel()
    assert [await one, await three] == [b"0", b"2"]


async def test_a_server_that_forgot_the_scripts_is_taught_them_and_asked_again(world: World) -> None:
    limit = world.limit(1_000)
    world.redis.script_flush()
    opened = await asyncio.gather(*(world.granted(100) for _ in range(5)))
    assert world.counters(limit) == (0, 500, 0)
    world.redis.script_flush()
    assert {await world.close(each.lease, 10) for each in opened} == {Closed.OK}
    assert world.counters(limit) == (50, 0, 0)


async def test_what_was_sent_when_the_connection_is_lost_says_so_and_what_was_not_as_well() -> None:
    asked = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        asked.set()
        writer.write(b"+PONG\r\n")
        await writer.drain()
        writer.transport.abort()

    async with fake_redis(talk) as url:
        connection = await RedisConnection.connect(url, scripts=())
        answered, *lost = [connection.command("PING") for _ in range(3)]
        assert await answered == b"PONG"
        for future in lost:
            with pytest.raises(LedgerUnavailable) as loss:
                await future
            assert loss.value.sent is True
        await connection.close()
        with pytest.raises(LedgerUnavailable) as unsent:
            await connection.command("PING")
        assert unsent.value.sent is False


async def test_a_server_that_does_not_answer_is_given_up_after_the_timeout() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with fake_redis(talk) as url:
        connection = await RedisConnection.connect(url, scripts=(), timeout_ms=50)
        with pytest.raises(LedgerUnavailable, match="did not answer within") as silence:
            await connection.command("PING")
        assert silence.value.sent is True
        await connection.close()


async def test_an_answer_that_is_not_redis_ends_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with fake_redis(talk) as url:
        connection = await RedisConnection.connect(url, scripts=())
        with pytest.raises(LedgerUnavailable, match="protocol does not allow"):
            await connection.command("PING")
        await connection.close()


async def test_a_killed_server_is_found_again_when_it_returns(own_server: Server) -> None:
    # While the fsync of a second is slow, Redis answers before it writes to its file, for up to two seconds.
    own_server.client.config_set("appendfsync", "always")
    connection = await RedisConnection.connect(own_server.url)
    world = World(own_server.client, connection)
    world.make_whole()
    world.put_key()
    limit = world.limit(1_000)
    before = await world.granted(400)
    running = [asyncio.ensure_future(world.open(1, now_ms=before.at_ms)) for _ in range(10)]
    own_server.kill()
    losses = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(loss, LedgerUnavailable) for loss in losses)
    with pytest.raises(LedgerUnavailable):
        await world.close(before.lease, 300)
    own_server.start()
    await connection.ready(10)
    # The append-only file kept everything, and its restarted server knows no script.
    assert await world.close(before.lease, 300) is Closed.OK
    assert world.counters(limit) == (300, 0, 0)
    assert (await world.refused(700)).reason == "COLD"  # whether it did keep everything is not for it to say
    world.make_whole()
    assert (await world.granted(700)).remaining_nano == 0
    await connection.close()


async def test_an_open_whose_connection_broke_is_told_by_asking_again(own_server: Server) -> None:
    connection = await RedisConnection.connect(own_server.url)
    world = World(own_server.client, connection)
    world.make_whole()
    world.put_key()
    limit = world.limit(1_000)
    now_ms = world.now_ms
    pending = asyncio.ensure_future(world.open(100, request_id="cut", now_ms=now_ms))
    await asyncio.sleep(0)  # the command is queued for this turn's write
    await asyncio.sleep(0)  # and written
    world.redis.client_kill_filter(_type="normal", skipme=True)
    (opened,) = await asyncio.gather(pending, return_exceptions=True)
    if isinstance(opened, LedgerUnavailable):
        assert opened.sent is True
        await connection.ready(10)
        opened = await world.open(100, request_id="cut", now_ms=now_ms, again=True)
    assert opened.lease.held_nano == 100  # type: ignore[union-attr]
    assert world.counters(limit) == (0, 100, 0)
    await connection.close()


async def test_nobody_listening_is_told_with_the_address_after_the_patience() -> None:
    with pytest.raises(LedgerUnavailable, match=r"/nowhere/redis\.sock cannot be used") as absence:
        await RedisConnection.connect("unix:///nowhere/redis.sock", patience_s=0.1)
    assert absence.value.sent is False


async def test_password_and_database_of_the_url_are_used(server: Server) -> None:
    server.client.config_set("requirepass", "s3cret/#")
    try:
        with pytest.raises(LedgerUnavailable, match="Authentication required"):
            await RedisConnection.connect(server.url, patience_s=0.1)
        url = f"unix://default:s3cret%2F%23@{server.socket}?db=3"
        connection = await RedisConnection.connect(url)
        await connection.command("SET", "where", "three")
        assert await connection.command("CLIENT", "LIST") is not None
        await connection.close()
    finally:
        server.client.execute_command("AUTH", "s3cret/#")
        server.client.config_set("requirepass", "")
    server.client.execute_command("SELECT", 3)
    assert server.client.get("where") == b"three"
    server.client.execute_command("SELECT", 0)


def test_urls_are_read_and_faults_named_without_the_password() -> None:
    assert Address.of("redis://u:p%40@h:7000/2") == Address("h", 7000, None, "u", "p@", 2, False)
    assert Address.of("rediss://h").tls is True
    assert Address.of("redis://[::1]:1").host == "::1"
    assert Address.of("redis://:p@h").greeting() == [("AUTH", "p")]
    assert Address.of("unix:///a%20b/s.sock?db=1").path == "/a b/s.sock"
    for url, fault in (
        ("http://h", "expected redis://"),
        ("redis://:hunter2@", "no host"),
        ("unix://", "needs a path"),
        ("unix://run/redis.sock", "needs a path"),
        ("redis://:hunter2@h/x", "database must be a number"),
        ("redis://:hunter2@h:99999", "port must be a number"),
    ):
        with pytest.raises(ValueError, match=fault) as complaint:
            Address.of(url)
        assert "hunter2" not in str(complaint.value)


def test_the_connection_works_on_uvloop(server: Server) -> None:
    async def scenario() -> None:
        connection = await RedisConnection.connect(server.url)
        world = World(server.client, connection)
        world.make_whole()
        world.put_key()
        limit = world.limit(1_000)
        for opened in await asyncio.gather(*(world.granted(10) for _ in range(50))):
            await world.close(opened.lease, 10)
        assert world.counters(limit) == (500, 0, 0)
        await connection.close()

    uvloop.run(scenario())


async def test_every_script_is_loaded_before_the_first_command(server: Server) -> None:
    server.client.script_flush()
    connection = await RedisConnection.connect(server.url)
    assert server.client.script_exists(*(script.sha for script in ON_EVERY_REQUEST)) == [True] * len(
        ON_EVERY_REQUEST
    )
    await connection.close()


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_command_given_in_the_moment_of_a_loss_fails_at_once(
    server: Server, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scenario() -> None:
        connection = await RedisConnection.connect(server.url)
        wire = connection.wire
        assert wire is not None
        given: list[asyncio.Future[object]] = []
        wire.over.add_done_callback(lambda _: given.append(connection.command("PING")))
        queued = connection.command("PING")
        wire.close()
        late = connection.command("PING")
        results = await asyncio.wait_for(asyncio.gather(queued, late, return_exceptions=True), 60)
        assert all(isinstance(result, LedgerUnavailable) for result in results)
        with pytest.raises(LedgerUnavailable):
            await asyncio.wait_for(given[0], 60)
        await connection.ready(60)
        assert await connection.command("PING") == b"PONG"
        await connection.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())


async def test_the_run_of_the_server_is_known_while_connected(own_server: Server) -> None:
    connection = await RedisConnection.connect(own_server.url)
    before = connection.run_id
    assert before == own_server.run_id == connection.run_id_for("any")
    own_server.kill()
    await lost(connection)
    assert connection.run_id == ""
    own_server.start()
    await connection.ready(5)
    assert connection.run_id == own_server.run_id != before
    await connection.close()


@pytest.mark.parametrize("turned", [False, True])
async def test_of_several_addresses_the_primary_is_used(shared_pair: Pair, turned: bool) -> None:
    one, other = shared_pair.primary.address, shared_pair.replica.address
    connection = await RedisConnection.connect(
        f"redis://{other},{one}/0" if turned else f"redis://{one},{other}/0"
    )
    assert connection.run_id == shared_pair.primary.run_id
    assert await connection.command("SET", "a", 1) == b"OK"
    await connection.close()


async def test_a_promoted_replica_is_found_when_the_primary_dies(pair: Pair) -> None:
    connection = await RedisConnection.connect(pair.url)
    before = connection.run_id
    await connection.command("SET", "kept", "yes")
    pair.caught_up()
    pair.primary.kill()
    await lost(connection)
    began = time.monotonic()
    pair.promote()
    await connection.ready(60)
    print(f"found {time.monotonic() - began:.2f} s after the promotion")
    assert time.monotonic() - began < 10
    assert connection.run_id == pair.replica.run_id != before
    assert await connection.command("GET", "kept") == b"yes"
    await connection.close()


async def test_a_demoted_server_has_executed_nothing_and_is_left(pair: Pair) -> None:
    connection = await RedisConnection.connect(pair.url)
    pair.promote()
    pair.demote(pair.primary, of=pair.replica)
    refused = [connection.command("INCR", "n") for _ in range(50)]
    for future in refused:
        with pytest.raises(LedgerUnavailable, match="READONLY") as refusal:
            await future
        assert refusal.value.sent is False
    await connection.ready(60)
    assert connection.run_id == pair.replica.run_id
    assert await connection.command("INCR", "n") == 1
    await connection.close()


async def test_a_replica_alone_is_not_used(shared_pair: Pair) -> None:
    with pytest.raises(LedgerUnavailable, match=f"{shared_pair.replica.address} is a replica"):
        await RedisConnection.connect(f"redis://{shared_pair.replica.address}", patience_s=0.2)


async def test_all_addresses_are_named_when_none_can_be_used(pair: Pair) -> None:
    pair.primary.kill()
    with pytest.raises(LedgerUnavailable, match="cannot be used") as absence:
        await RedisConnection.connect(pair.url, patience_s=0.2)
    assert f"{pair.replica.address} is a replica" in str(absence.value)


async def test_a_server_that_hangs_does_not_hold_up_the_search(shared_pair: Pair) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = time.monotonic()
    connection = await RedisConnection.connect(
        f"redis://127.0.0.1:{port},{shared_pair.primary.address}", timeout_ms=60_000, patience_s=60
    )
    assert time.monotonic() - began < 30
    await connection.close()
    server.close()


@pytest.mark.parametrize("word", ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY"])
async def test_what_speaks_of_the_server_was_not_executed(word: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(b"-%b not now\r\n" % word.encode())

    async with fake_redis(talk) as url:
        connection = await RedisConnection.connect(url, scripts=())
        with pytest.raises(LedgerUnavailable, match=word) as refusal:
            await connection.command("SET", "a", 1)
        assert refusal.value.sent is False
        await connection.close()


@pytest.mark.parametrize("word", ["MISCONF", "OOM", "WRONGTYPE", "NOREPLICAS"])
async def test_what_speaks_of_the_command_goes_to_the_caller(word: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(b"-%b so it is\r\n" % word.encode())

    async with fake_redis(talk) as url:
        connection = await RedisConnection.connect(url, scripts=())
        with pytest.raises(ReplyError, match=word):
            await connection.command("SET", "a", 1)
        assert connection.connected
        await connection.close()


async def test_answers_that_are_on_their_way_are_taken_when_a_server_is_demoted() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(b"-READONLY you cannot\r\n")
        await writer.drain()
        await released.wait()
        writer.write(b"$3\r\nyes\r\n")
        await reader.read()

    released = asyncio.Event()
    async with fake_redis(talk) as url:
        connection = await RedisConnection.connect(url, scripts=())
        written, read = connection.command("SET", "a", 1), connection.command("GET", "b")
        with pytest.raises(LedgerUnavailable, match="READONLY"):
            await written
        released.set()
        assert await read == b"yes"
        await connection.close()


def test_several_addresses_share_what_surrounds_them() -> None:
    assert addresses_of("rediss://u:p%40@h1:7000,h2,[::1]:7002/3") == (
        Address("h1", 7000, None, "u", "p@", 3, True),
        Address("h2", 6379, None, "u", "p@", 3, True),
        Address("::1", 7002, None, "u", "p@", 3, True),
    )
    assert addresses_of("redis://h1, h1:6379,h2?db=1") == (
        Address("h1", 6379, None, None, None, 1, False),
        Address("h2", 6379, None, None, None, 1, False),
    )
    assert addresses_of("unix:///a,b.sock")[0].path == "/a,b.sock"
    for url, fault in (
        ("redis://h1,", "no host"),
        ("redis://:hunter2@h1,h2:x", "port must be a number"),
        ("h1,h2", "expected redis://"),
    ):
        with pytest.raises(ValueError, match=fault) as complaint:
            addresses_of(url)
        assert "hunter2" not in str(complaint.value)


def greeted(history: str, *, former: str = "0" * 40, offset: int = 0) -> Greeted:
    return Greeted("run", True, False, history, former, offset)


def test_of_two_primaries_the_one_that_took_the_others_place_is_used() -> None:
    old, new = greeted("a", offset=900), greeted("b", former="a", offset=500)
    for found in ([old, new], [new, old]):
        assert newest([(None, each) for each in found])[1] is new  # type: ignore[misc]


def test_of_two_primaries_without_that_relation_the_one_written_most_is_used() -> None:
    back, kept = greeted("c", offset=10), greeted("b", former="a", offset=500)
    for found in ([back, kept], [kept, back]):
        assert newest([(None, each) for each in found])[1] is kept  # type: ignore[misc]


def test_a_server_that_says_nothing_of_itself_is_no_ledger() -> None:
    with pytest.raises(LedgerUnavailable, match="neither run id nor role"):
        server_of(b"# Server\r\nhello:world\r\n")


async def lost(connection: RedisConnection) -> None:
    """Until the connection has noticed what happened to its server."""
    while connection.wire is not None:
        await asyncio.sleep(0)
