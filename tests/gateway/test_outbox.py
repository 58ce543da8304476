from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from budgets.client import clock_us, connect_sync
from budgets.names import all_shards, names_on
from gateway.recorder.entry import Entry
from gateway.recorder.outbox import GROUP, Outbox
from tests.budgets.cluster import Cluster, start_cluster
from tests.budgets.server import Server, engine_binary, start_server

SHARDS = [names_on(shard) for shard in all_shards()]
SHARD = names_on("07")


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(engine_binary(), tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = start_cluster(engine_binary(), tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


@pytest.fixture(params=["server", "cluster"])
def redis(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of one server, or of three."""
    if request.param == "server":
        server = request.getfixturevalue("shared_server")
        server.client.flushall()
        client: Any = connect_sync(server.url, timeout_s=5)
    else:
        cluster = request.getfixturevalue("shared_cluster")
        cluster.clear()
        client = connect_sync(cluster.url, timeout_s=5)
    yield client
    client.close()


def outbox(redis: Any, reader: str = "one", idle_ms: int = 60_000) -> Outbox:
    return Outbox(redis, reader=reader, idle_ms=idle_ms)


def readers(redis: Any, stream: str = SHARD.outbox) -> set[str]:
    return {reader["name"].decode() for reader in redis.xinfo_consumers(stream, GROUP)}


def test_entries_of_every_stream_are_read_once_and_settled(redis: Any) -> None:
    one, two = outbox(redis), outbox(redis, "two")
    assert one.fresh(None) == []
    for names in SHARDS:
        redis.xadd(names.outbox, {"e": names.shard})
        redis.xadd(names.notices, {"limit": names.shard})
    entries = one.fresh(500, 1_000)
    assert two.fresh(None) == []
    assert {entry.stream.decode() for entry in entries} == {
        stream for names in SHARDS for stream in (names.outbox, names.notices)
    }
    assert {entry.fields.get(b"e") for entry in entries} >= {names.shard.encode() for names in SHARDS}
    assert one.length() == len(SHARDS)
    assert sorted(one.pending(), key=repr) == sorted(entries, key=repr)
    one.settle(entries)
    assert one.pending() == []
    assert one.length() == 0


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_link_cut_in_the_midst_of_settling_leaves_nothing_behind(
    redis: Any, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """So many commands arrived; the reader begins anew with what is pending, stores it again, and settles."""
    one = outbox(redis)
    one.fresh(None)
    redis.xadd(SHARD.outbox, {"e": "1"})
    entries = one.fresh(None)
    with monkeypatch.context() as patch:
        patch.setattr(one, "_redis", Cut(redis, done))
        with pytest.raises(ConnectionError):
            one.settle(entries)
    one.settle(one.pending())
    assert one.length() == 0
    assert redis.xpending(SHARD.outbox, GROUP)["pending"] == 0


class Cut:
    """A client whose link is cut after so many commands of a pipeline."""

    def __init__(self, redis: Any, done: int) -> None:
        self._redis, self._left = redis, done

    def pipeline(self, *, transaction: bool) -> Cut:
        return self

    def execute_command(self, *words: Any) -> None:
        if self._left:
            self._left -= 1
            self._redis.execute_command(*words)

    def execute(self) -> None:
        raise ConnectionError


@pytest.mark.parametrize("streams", [1, 3, 64])
def test_a_reader_takes_about_as_much_as_it_asked_for(redis: Any, streams: int) -> None:
    one = outbox(redis)
    one.fresh(None)
    pipeline = redis.pipeline(transaction=False)
    for number in range(6_400):
        pipeline.xadd(SHARDS[number % streams].outbox, {"e": str(number)})
    pipeline.execute()
    taken = [one.fresh(None, 640) for _ in range(4)]
    assert all(640 <= len(entries) <= 640 + 64 * 8 for entries in taken), list(map(len, taken))
    numbers = [entry.fields[b"e"] for entries in taken for entry in entries]
    assert len(set(numbers)) == len(numbers)


def test_reading_waits_no_longer_than_asked_and_finds_what_comes_meanwhile(
    redis: Any,
) -> None:
    one = outbox(redis)
    assert one.fresh(1) == []
    redis.xadd(SHARD.outbox, {"e": "1"})
    assert len(one.fresh(1)) == 1


def test_groups_are_made_again_after_a_flush(redis: Any) -> None:
    one = outbox(redis)
    one.fresh(None)
    redis.flushall()
    redis.xadd(SHARD.outbox, {"e": "1"})
    assert [entry.fields for entry in one.fresh(None)] == [{b"e": b"1"}]


def test_what_a_reader_left_is_claimed_when_it_was_idle_long_enough(redis: Any) -> None:
    one, two = outbox(redis), outbox(redis, "two", idle_ms=0)
    one.fresh(None)
    redis.xadd(SHARD.outbox, {"e": "1"})
    entries = one.fresh(None)
    assert outbox(redis, "two").abandoned() == []
    assert two.abandoned() == entries
    assert one.pending() == []


def test_reader_without_entries_is_forgotten_and_one_with_entries_is_not(redis: Any) -> None:
    one, two, three = outbox(redis, idle_ms=0), outbox(redis, "two"), outbox(redis, "three")
    one.fresh(None)
    redis.xadd(SHARD.outbox, {"e": "1"})
    held = two.fresh(None)
    redis.xadd(SHARD.outbox, {"e": "2"})
    three.settle(three.fresh(None))
    assert readers(redis) == {"one", "two", "three"}
    assert outbox(redis).forget_idle_readers() == 0
    assert one.forget_idle_readers() > 0
    assert readers(redis) == {"one", "two"}
    assert two.pending() == held
    redis.xadd(SHARD.outbox, {"e": "3"})
    assert len(three.fresh(None)) == 1


def test_nobody_is_forgotten_where_there_are_no_streams(redis: Any) -> None:
    assert outbox(redis).forget_idle_readers() == 0


def test_entry_is_buried_once_with_all_its_fields(redis: Any) -> None:
    one = outbox(redis)
    one.fresh(None)
    redis.xadd(SHARD.notices, {"other": "field"})
    (entry,) = one.fresh(None)
    assert one.bury(entry, "why")
    assert not one.bury(entry, "why")
    ((_, letter),) = redis.xrange(SHARD.dead)
    assert letter == {b"entry": entry.id, b"reason": b"why", b"other": b"field"}
    assert redis.xlen(SHARD.notices) == 0


def test_spilled_entry_is_buried_once_though_it_is_in_redis_no_more(redis: Any) -> None:
    one = outbox(redis)
    for number in range(3):
        redis.xadd(SHARD.dead, {"entry": f"1-{number}"})
    now_ms = clock_us(redis, SHARD.dead) // 1_000
    entries = [Entry(SHARD.outbox.encode(), b"%d-%d" % (now_ms, n), {b"e": b"%d" % n}) for n in (1, 2)]
    for entry in entries:
        assert one.bury_spilled(entry, "why")
    for entry in entries:
        assert not one.bury_spilled(entry, "why")
    assert [letter[b"entry"] for _, letter in redis.xrange(SHARD.dead)][3:] == [each.id for each in entries]


def test_water_tells_entries_and_the_share_of_memory(redis: Any) -> None:
    one = outbox(redis)
    one.fresh(None)
    redis.xadd(SHARD.outbox, {"e": "1"})
    water = one.water()
    assert (water.entries, water.memory_percent) == (1, 0)


def test_water_is_that_of_the_fullest_node(shared_cluster: Cluster) -> None:
    client: Any = connect_sync(shared_cluster.url, timeout_s=5)
    node = shared_cluster.nodes[1].client
    node.config_set("maxmemory", 2 * int(node.info("memory")["used_memory"]))
    try:
        assert 40 <= Outbox(client).water().memory_percent <= 60
    finally:
        node.config_set("maxmemory", 0)
        client.close()


def test_slot_that_moves_to_another_node_is_read_there(shared_cluster: Cluster) -> None:
    shared_cluster.clear()
    client: Any = connect_sync(shared_cluster.url, timeout_s=5)
    one = Outbox(client)
    one.fresh(None)
    slot = client.keyslot(SHARD.outbox)
    owner = shared_cluster.owner(slot)
    target = next(node for node in shared_cluster.nodes if node is not owner)
    client.xadd(SHARD.outbox, {"e": "1"})
    shared_cluster.move(slot, target)
    target.client.xadd(SHARD.outbox, {"e": "2"})
    entries = one.fresh(None)
    assert [entry.fields[b"e"] for entry in entries] == [b"1", b"2"]
    one.settle(entries)
    assert target.client.xlen(SHARD.outbox) == 0
    client.close()
