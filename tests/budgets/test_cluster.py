"""The connection to a cluster, against real nodes whose slots move and which die."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha1

import pytest

from budgets.cluster import ClusterConnection
from budgets.connecting import connect_ledger
from budgets.connection import LedgerUnavailable, RedisConnection
from budgets.names import all_shards, names_on
from budgets.scripts import OPEN, Script
from budgets.slots import slot_of
from budgets.wire import ShardMoved
from tests.budgets.cluster import Cluster, start_cluster
from tests.budgets.server import Server, engine_binary


def scripted(name: str, body: str) -> Script:
    source = f"#!lua\n{body}"
    return Script(name, source, sha1(source.encode()).hexdigest())


COUNT = scripted("count", "return redis.call('INCR', KEYS[1])")
COUNT_TWO = scripted("count two", "redis.call('INCR', KEYS[2]) return redis.call('INCR', KEYS[1])")
SLOT = slot_of(names_on("07").base)
HERE = names_on("07").base


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the tests of this file reshape, one after the other."""
    cluster = start_cluster(engine_binary(), tmp_path_factory.mktemp("shaped"))
    yield cluster
    cluster.stop()


@pytest.fixture
async def connection(shaped: Cluster) -> AsyncIterator[ClusterConnection]:
    shaped.clear()
    connection = await ClusterConnection.connect(shaped.url, scripts=(COUNT,))
    yield connection
    await connection.close()


def another(cluster: Cluster, slot: int = SLOT) -> Server:
    """A node that does not serve the slot."""
    owner = cluster.owner(slot)
    return next(node for node in cluster.nodes if node is not owner)


async def test_what_is_behind_the_url_decides_the_kind_of_connection(
    shaped: Cluster, own_server: Server
) -> None:
    for url, kind in (
        (f"redis://{shaped.nodes[1].address}", ClusterConnection),
        (f"redis://127.0.0.1:1,{shaped.nodes[2].address}", ClusterConnection),
        (f"unix://{shaped.nodes[0].socket}", ClusterConnection),
        (own_server.url, RedisConnection),
    ):
        connection = await connect_ledger(url)
        assert type(connection) is kind
        assert connection.connected
        await connection.close()
    with pytest.raises(LedgerUnavailable, match=r"127\.0\.0\.1:1 cannot be used"):
        await connect_ledger("redis://127.0.0.1:1", patience_s=0.1)


async def test_every_shard_is_asked_on_its_own_node(shaped: Cluster, connection: ClusterConnection) -> None:
    names = [names_on(shard).base + "n" for shard in all_shards()]
    assert await asyncio.gather(*(connection.script(COUNT, [name], []) for name in names)) == [1] * 64
    runs = {node.run_id for node in shaped.nodes}
    assert {connection.run_id_for(name) for name in names} == runs
    for name in names:
        owner = shaped.owner(slot_of(name))
        assert connection.run_id_for(name) == owner.run_id
        assert owner.client.get(name) == b"1"
        assert await connection.command("GET", name) == b"1"
    assert await connection.command("PING") == b"PONG"
    assert not connection.redirections


async def test_each_node_is_taught_a_script_that_it_forgot(
    shaped: Cluster, connection: ClusterConnection
) -> None:
    for node in shaped.nodes:
        node.client.script_flush()
    names = [names_on(shard).base + "n" for shard in all_shards()]
    assert await asyncio.gather(*(connection.script(COUNT, [name], []) for name in names)) == [1] * 64


async def test_a_slot_that_has_moved_is_followed_once_for_all(
    shaped: Cluster, connection: ClusterConnection
) -> None:
    await connection.script(COUNT, [HERE + "n"], [])
    target = another(shaped)
    shaped.move(SLOT, target)
    first = await asyncio.gather(*(connection.script(COUNT, [HERE + "n"], []) for _ in range(20)))
    assert sorted(first) == list(range(2, 22))
    assert connection.redirections == {"MOVED": 20}
    count = 21
    async with asyncio.timeout(60):
        # A map asked of a node that has not heard of the move yet names the former owner for a moment.
        while connection.run_id_for(HERE) != target.run_id:
            count += 1
            assert await connection.script(COUNT, [HERE + "n"], []) == count
            await asyncio.sleep(0.05)
    followed = dict(connection.redirections)
    assert await connection.script(COUNT, [HERE + "n"], []) == count + 1
    assert connection.redirections == followed


async def test_a_key_that_has_left_a_slot_on_the_move_is_asked_for_where_it_is(
    shaped: Cluster, connection: ClusterConnection
) -> None:
    await connection.script(COUNT, [HERE + "stays"], [])
    target = another(shaped)
    target.client.script_flush()
    shaped.begin_move(SLOT, target)
    asked = [connection.script(COUNT, [HERE + "new"], []) for _ in range(5)]
    assert await asyncio.gather(*asked) == [1, 2, 3, 4, 5]  # taught behind ASKING as well, and in order
    assert await connection.script(COUNT, [HERE + "stays"], []) == 2
    assert connection.redirections == {"ASK": 5}
    assert connection.run_id_for(HERE) != target.run_id
    while shaped.move_keys(SLOT, target):
        pass
    shaped.end_move(SLOT, target)
    assert await connection.script(COUNT, [HERE + "stays"], []) == 3


async def test_what_needs_keys_on_both_sides_waits_for_the_end_of_the_move(
    shaped: Cluster, connection: ClusterConnection
) -> None:
    await connection.script(COUNT, [HERE + "stays"], [])
    target = another(shaped)
    shaped.begin_move(SLOT, target)
    both = asyncio.ensure_future(connection.script(COUNT_TWO, [HERE + "stays", HERE + "new"], []))
    await until(lambda: connection.redirections["TRYAGAIN"] > 1)
    assert not both.done()
    while shaped.move_keys(SLOT, target):
        pass
    shaped.end_move(SLOT, target)
    assert await both == 2


async def test_the_patience_with_a_slot_on_the_move_ends_and_nothing_was_done(shaped: Cluster) -> None:
    connection = await ClusterConnection.connect(shaped.url, timeout_ms=100)
    await connection.script(COUNT, [HERE + "stays"], [])
    target = another(shaped)
    shaped.begin_move(SLOT, target)
    with pytest.raises(LedgerUnavailable, match="TRYAGAIN") as impatience:
        await connection.script(COUNT_TWO, [HERE + "stays", HERE + "never"], [])
    assert impatience.value.sent is False
    while shaped.move_keys(SLOT, target):
        pass
    shaped.end_move(SLOT, target)
    assert await connection.command("GET", HERE + "never") is None
    await connection.close()


async def test_an_open_is_never_sent_on_to_a_server_whose_run_it_does_not_name(
    shaped: Cluster, connection: ClusterConnection
) -> None:
    target = another(shaped)
    shaped.move(SLOT, target)
    with pytest.raises(ShardMoved) as moved:
        await connection.script(OPEN, [HERE + "open:x", HERE + "leases"], [connection.run_id_for(HERE)])
    assert moved.value.sent is False
    assert connection.run_id_for(HERE) == target.run_id


async def test_a_cancelled_call_is_not_sent_again(shaped: Cluster, connection: ClusterConnection) -> None:
    await connection.script(COUNT, [HERE + "stays"], [])
    target = another(shaped)
    shaped.begin_move(SLOT, target)
    both = connection.script(COUNT_TWO, [HERE + "stays", HERE + "new"], [])
    await until(lambda: connection.redirections["TRYAGAIN"] > 0)
    both.cancel()
    while shaped.move_keys(SLOT, target):
        pass
    shaped.end_move(SLOT, target)
    await asyncio.sleep(0.1)  # longer than the pause that was under way
    assert await connection.command("GET", HERE + "new") is None


async def test_calls_wait_for_a_node_that_joins_and_none_fails(
    shaped: Cluster, connection: ClusterConnection
) -> None:
    await connection.script(COUNT, [HERE + "n"], [])
    joined = await asyncio.to_thread(shaped.add)
    shaped.begin_move(SLOT, joined)
    assert await connection.script(COUNT, [HERE + "m"], []) == 1  # an ASK for a node never heard of
    while shaped.move_keys(SLOT, joined):
        pass
    shaped.end_move(SLOT, joined)
    assert await connection.script(COUNT, [HERE + "n"], []) == 2
    assert connection.run_id_for(HERE) == joined.run_id


async def test_closing_fails_what_waits(shaped: Cluster) -> None:
    connection = await ClusterConnection.connect(shaped.url)
    await connection.script(COUNT, [HERE + "stays"], [])
    target = another(shaped)
    shaped.begin_move(SLOT, target)
    both = connection.script(COUNT_TWO, [HERE + "stays", HERE + "new"], [])
    await until(lambda: connection.redirections["TRYAGAIN"] > 0)
    await connection.close()
    with pytest.raises(LedgerUnavailable):
        await asyncio.wait_for(both, 60)
    with pytest.raises(LedgerUnavailable):
        await connection.command("GET", HERE + "stays")
    while shaped.move_keys(SLOT, target):
        pass
    shaped.end_move(SLOT, target)


@pytest.mark.parametrize("way", ["key by key", "at once"])
async def test_no_call_is_lost_or_done_twice_while_busy_shards_move(
    shaped: Cluster, connection: ClusterConnection, way: str
) -> None:
    shards = ("07", "12", "33")
    done: Counter[str] = Counter()
    stop = asyncio.Event()

    async def call(number: int) -> None:
        turn = number
        while not stop.is_set():
            turn += 1
            name = f"{names_on(shards[turn % 3]).base}{turn // 3 % 60}"
            await connection.script(COUNT, [name], [])
            done[name] += 1

    def move_all() -> None:
        for shard in shards * 2:
            slot = slot_of(names_on(shard).base)
            target = another(shaped, slot)
            if way == "at once":
                shaped.migrate(slot, target)
                continue
            shaped.begin_move(slot, target)
            while shaped.move_keys(slot, target, 5):
                pass
            shaped.end_move(slot, target)

    callers = [asyncio.create_task(call(number)) for number in range(30)]
    await until(lambda: len(done) == 180)
    await asyncio.to_thread(move_all)
    stop.set()
    await asyncio.gather(*callers)  # none has failed
    counted = {name: int(await connection.command("GET", name)) for name in done}
    assert counted == done
    assert connection.redirections["MOVED"] >= 6
    assert (connection.redirections["ASK"] > 0) is (way == "key by key")


@pytest.mark.slow
async def test_a_dead_primary_is_replaced_while_the_other_shards_go_on(own_cluster: Cluster) -> None:
    victim = own_cluster.owner(SLOT)
    replica = await asyncio.to_thread(own_cluster.replicate, victim)
    connection = await ClusterConnection.connect(own_cluster.url)
    await connection.script(COUNT, [HERE + "n"], [])
    assert victim.client.execute_command("WAIT", 1, 5_000) == 1
    other = next(s for s in all_shards() if own_cluster.owner(slot_of(names_on(s).base)) is not victim)
    before = connection.run_id_for(HERE)
    victim.kill()
    loop = asyncio.get_running_loop()
    killed, failed, promoted = loop.time(), 0, 0.0
    while True:
        try:
            assert await connection.script(COUNT, [HERE + "n"], []) == 2
            break
        except LedgerUnavailable:
            failed += 1
        if not promoted and replica.client.info("replication")["role"] == "master":
            promoted = loop.time()
        await connection.script(COUNT, [names_on(other).base + "n"], [])
        assert loop.time() - killed < 60
        await asyncio.sleep(0.01)
    assert failed > 0
    promoted = promoted or loop.time()  # since the last look
    print(f"followed {loop.time() - promoted:.2f} s after the promotion")
    assert loop.time() - promoted < 10
    assert connection.run_id_for(HERE) == replica.run_id != before
    assert connection.connected
    await connection.close()


async def until(reached: Callable[[], bool]) -> None:
    """Until calls under way have come so far."""
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.001)
