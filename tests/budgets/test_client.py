"""redis-py clients of one server, of a primary among several, and of a cluster: alike where it matters."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from budgets.client import clock_us, connect_sync, every_server, read_groups, run_id_of
from budgets.names import all_shards, names_on
from budgets.shardpipeline import LedgerCluster
from budgets.slots import slot_of
from tests.budgets.cluster import Cluster, Pair, start_cluster
from tests.budgets.server import Server, engine_binary, running_server

NAMES = [names_on(shard).base + "n" for shard in all_shards()]
STREAMS = [names_on(shard).outbox for shard in all_shards()]
HERE = names_on("07").base
SLOT = slot_of(HERE)
ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
SLOW = "redis.call('INCR', KEYS[1]) local till = os.clock() + 0.3 while os.clock() < till do end"


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the tests of this file reshape, one after the other."""
    cluster = start_cluster(engine_binary(), tmp_path_factory.mktemp("shaped"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(engine_binary(), tmp_path_factory.mktemp("alone")) as server:
        yield server


@pytest.fixture(params=["one server", "a cluster"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "one server":
        server: Server = request.getfixturevalue("alone")
        server.client.flushall()
        return server.url
    cluster: Cluster = request.getfixturevalue("shaped")
    cluster.clear()
    return cluster.url


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    client = connect_sync(url, timeout_s=5)
    yield client
    client.close()


def test_what_is_behind_the_url_decides_the_kind_of_client(alone: Server, shaped: Cluster) -> None:
    for url, kind in (
        (alone.url, Redis),
        (shaped.url, LedgerCluster),
        (f"redis://127.0.0.1:1,{shaped.nodes[2].address}", LedgerCluster),
        (f"unix://{shaped.nodes[0].socket}", LedgerCluster),
    ):
        client: Any = connect_sync(url, timeout_s=5)
        assert type(client) is kind
        assert client.set(HERE + "a", b"\xff")
        assert client.get(HERE + "a") == b"\xff"
        client.close()
    with pytest.raises(RedisConnectionError):
        connect_sync("redis://127.0.0.1:1", timeout_s=1)


def test_one_pipeline_reaches_every_shard_and_answers_in_order(client: Any) -> None:
    pipeline = client.pipeline(transaction=False)
    for number, name in enumerate(NAMES):
        pipeline.set(name, number)
        pipeline.incr(name)
    assert pipeline.execute() == [answer for number in range(64) for answer in (True, number + 1)]
    assert pipeline.execute() == []
    assert client.get(NAMES[5]) == b"6"


def test_a_pipeline_takes_scripts_and_keeps_errors_in_their_places(client: Any) -> None:
    sha = sha1(ADD.encode()).hexdigest()
    assert client.eval(ADD, 1, NAMES[0], 1) == 1
    client.set(NAMES[1], "text")
    pipeline = client.pipeline(transaction=False)
    pipeline.evalsha(sha, 1, NAMES[0], 2)
    pipeline.incr(NAMES[1])
    pipeline.eval(ADD, 1, NAMES[2], 3)
    pipeline.zrangebyscore(NAMES[3], "-inf", 1, start=0, num=10)
    first, wrong, third, none = pipeline.execute(raise_on_error=False)
    assert (first, third, none) == (3, 3, [])
    assert isinstance(wrong, ResponseError)
    pipeline.get(NAMES[0])
    pipeline.incr(NAMES[1])
    with pytest.raises(ResponseError, match="not an integer"):
        pipeline.execute()


def test_a_transaction_is_one_step_on_one_shard(client: Any) -> None:
    client.set(HERE + "text", "a")
    pipeline = client.pipeline(transaction=True)
    pipeline.incr(HERE + "n")
    pipeline.hset(HERE + "h", mapping={"a": 1})
    assert pipeline.execute() == [1, 1]


def test_a_transaction_over_several_shards_is_refused_on_a_cluster(shaped: Cluster) -> None:
    client: Any = connect_sync(shaped.url, timeout_s=5)
    pipeline = client.pipeline(transaction=True)
    pipeline.incr(NAMES[0])
    pipeline.incr(NAMES[1])
    with pytest.raises(ValueError, match="keys of one shard"):
        pipeline.execute()
    with pytest.raises(ValueError, match="names no key"):
        client.pipeline().time()
    client.close()


def test_what_belongs_to_a_server_is_asked_of_the_server_that_holds_the_name(
    client: Any, alone: Server, shaped: Cluster
) -> None:
    before_s = time.time()
    assert before_s - 1 < clock_us(client, HERE + "meta") / 1e6 < time.time() + 1
    if isinstance(client, LedgerCluster):
        assert run_id_of(client, HERE + "meta") == shaped.owner(SLOT).run_id
        assert len(every_server(client)) == 3
    else:
        assert run_id_of(client, HERE + "meta") == alone.run_id
        assert every_server(client) == [client]
    assert all(server.info("memory") for server in every_server(client))


def test_many_streams_are_read_as_one(client: Any) -> None:
    def read(start: str, wait_ms: int | None) -> dict[bytes, list[dict[bytes, bytes]]]:
        found = read_groups(client, "g", "me", dict.fromkeys(STREAMS, start), count=10, wait_ms=wait_ms)
        return {stream: [fields for _, fields in entries] for stream, entries in found}

    with pytest.raises(ResponseError, match="NOGROUP"):
        read(">", None)
    pipeline = client.pipeline(transaction=False)
    for stream in STREAMS:
        pipeline.xgroup_create(stream, "g", id="0", mkstream=True)
    pipeline.execute()
    assert read(">", None) == {}
    for place in (3, 3, 40):
        client.xadd(STREAMS[place], {"e": place})
    expected = {STREAMS[3].encode(): [{b"e": b"3"}] * 2, STREAMS[40].encode(): [{b"e": b"40"}]}
    assert read(">", None) == expected
    assert {stream: each for stream, each in read("0", None).items() if each} == expected
    began = time.monotonic()
    assert read(">", 120) == {}
    assert time.monotonic() - began > 0.06
    later = threading.Timer(0.05, lambda: client.xadd(STREAMS[9], {"e": "late"}))
    later.start()
    assert read(">", 60_000) == {STREAMS[9].encode(): [{b"e": b"late"}]}
    later.join()


@pytest.mark.parametrize("piped", [False, True])
def test_nothing_is_repeated_whose_answer_was_lost(url: str, piped: bool) -> None:
    hasty: Any = connect_sync(url, timeout_s=0.1)
    call = hasty.pipeline(transaction=False).eval(SLOW, 1, HERE + "n").execute if piped else hasty.eval
    with pytest.raises((RedisTimeoutError, RedisConnectionError)):
        call(*(() if piped else (SLOW, 1, HERE + "n")))
    hasty.close()
    patient: Any = connect_sync(url, timeout_s=5)
    assert patient.get(HERE + "n") == b"1"
    patient.close()


@pytest.mark.slow  # nodes that a busy machine starves call the cluster down, which no pipeline survives
def test_pipelines_follow_slots_that_have_moved_or_are_moving(shaped: Cluster) -> None:
    shaped.clear()
    client: Any = connect_sync(shaped.url, timeout_s=5)
    client.set(HERE + "stays", 1)

    def both(transaction: bool) -> list[Any]:
        pipeline = client.pipeline(transaction=transaction)
        pipeline.incr(HERE + "stays")
        pipeline.incr(HERE + "new")
        return list(pipeline.execute())

    target = another(shaped)
    shaped.begin_move(SLOT, target)
    assert both(False) == [2, 1]  # the second on the other side
    moved = threading.Timer(0.1, lambda: finish(shaped, target))
    moved.start()
    assert both(True) == [3, 2]  # not before both are on one side
    moved.join()
    shaped.move(SLOT, another(shaped))
    assert both(False) == [4, 3]
    shaped.move(SLOT, another(shaped))
    assert both(True) == [5, 4]
    client.close()


def test_no_command_is_lost_or_done_twice_while_slots_move(shaped: Cluster) -> None:
    shaped.clear()
    done: Counter[str] = Counter()
    stop = threading.Event()
    faults: list[BaseException] = []
    names = [names_on(shard).base + str(number) for shard in ("07", "12", "33") for number in range(40)]

    def count() -> None:
        client: Any = connect_sync(shaped.url, timeout_s=5)
        try:
            while not stop.is_set():
                pipeline = client.pipeline(transaction=False)
                for name in names:
                    pipeline.incr(name)
                pipeline.execute()
                done.update(names)
        except BaseException as fault:
            faults.append(fault)
            raise
        finally:
            client.close()

    counting = threading.Thread(target=count)
    counting.start()
    for shard in ("07", "12", "33") * 2:
        slot = slot_of(names_on(shard).base)
        target = another(shaped, slot)
        shaped.begin_move(slot, target)
        while shaped.move_keys(slot, target, 5):
            pass
        shaped.end_move(slot, target)
    stop.set()
    counting.join()
    assert not faults
    client: Any = connect_sync(shaped.url, timeout_s=5)
    assert {name: int(client.get(name)) for name in names} == done
    client.close()


@pytest.mark.slow
def test_the_shards_of_a_dead_node_fail_alone(own_cluster: Cluster) -> None:
    client: Any = connect_sync(own_cluster.url, timeout_s=2)
    for node in own_cluster.nodes:
        node.client.config_set("cluster-require-full-coverage", "no")
    victim = own_cluster.owner(SLOT)
    held = {name for name in NAMES if own_cluster.owner(slot_of(name)) is victim}
    victim.kill()
    pipeline = client.pipeline(transaction=False)
    for name in NAMES:
        pipeline.incr(name)
    for name, answer in zip(NAMES, pipeline.execute(raise_on_error=False), strict=True):
        assert isinstance(answer, RedisError) if name in held else answer == 1
    for node in own_cluster.nodes:
        if node is not victim:
            node.kill()
    pipeline.get(NAMES[0])
    with pytest.raises(RedisError):
        pipeline.execute(raise_on_error=False)
    with pytest.raises(RedisError):
        client.get(NAMES[0])
    client.close()


def test_the_primary_is_found_among_several_and_again_after_a_failover(pair: Pair) -> None:
    turned = f"redis://{pair.replica.address},{pair.primary.address}"
    for url in (pair.url, turned):
        client: Any = connect_sync(url, timeout_s=2)
        assert client.incr("n") > 0
        assert run_id_of(client, "n") == pair.primary.run_id
        client.close()
    client = connect_sync(pair.url, timeout_s=2)
    client.incr("n")
    pair.caught_up()
    pair.primary.kill()
    with pytest.raises(RedisConnectionError):
        client.incr("n")
    with pytest.raises(RedisConnectionError, match="is a replica"):
        client.incr("n")
    pair.promote()
    assert client.incr("n") == 4
    assert run_id_of(client, "n") == pair.replica.run_id
    client.close()


def test_a_demoted_server_is_left_with_the_next_command(pair: Pair, tmp_path: Path) -> None:
    client: Any = connect_sync(pair.url, timeout_s=2)
    client.set("n", 1)
    pair.caught_up()
    pair.promote()
    pair.demote(pair.primary, of=pair.replica)
    pipeline = client.pipeline(transaction=False)
    pipeline.incr("n")
    pipeline.incr("n")
    assert [type(error) for error in pipeline.execute(raise_on_error=False)] == [ReadOnlyError] * 2
    assert client.incr("n") == 2
    client.close()


def another(cluster: Cluster, slot: int = SLOT) -> Server:
    """A node that does not serve the slot."""
    owner = cluster.owner(slot)
    return next(node for node in cluster.nodes if node is not owner)


def finish(cluster: Cluster, target: Server) -> None:
    while cluster.move_keys(SLOT, target):
        pass
    cluster.end_move(SLOT, target)
