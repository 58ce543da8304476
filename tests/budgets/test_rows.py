"""What is published and read of limits, on a cluster: every command finds its one node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from budgets.client import connect_sync
from budgets.limit import Attribution, Limit
from budgets.names import names_of, shard_of
from budgets.rows import LedgerRows
from budgets.usage import read_each, read_usage
from tests.budgets.cluster import start_cluster
from tests.budgets.server import engine_binary
from tests.budgets.world import Published


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    cluster = start_cluster(engine_binary(), tmp_path_factory.mktemp("cluster"))
    client: Any = connect_sync(cluster.url, timeout_s=5)
    yield client
    client.close()
    cluster.stop()


def limit_on(account_id: str, scope_id: str = "acme", **terms: Any) -> Limit:
    return Limit(
        f"lim_{account_id}_{scope_id[:1]}", "customer", scope_id, "month", "money", "hard", 9, **terms
    )


def test_a_cluster_takes_everything_that_is_published(client: Any) -> None:
    rows = LedgerRows(client)
    accounts = [f"account-{number}" for number in range(12)]
    assert len({client.get_node_from_key(names_of(account).meta).name for account in accounts}) == 3
    for account in accounts:
        limit = limit_on(account)
        rows.put_limits(account, [limit])
        rows.put_key(account, Published(f"key_{account}", version=3, expires_ms=5))
        rows.put_keys(account, [Published(f"k{number}-{account}") for number in range(5)])
        rows.put_customers(account, [(f"c{number}", number, b"{}") for number in range(5)])
        rows.put_account(account, 7, b"[]")
        names = names_of(account)
        assert client.hgetall(f"{names.key}key_{account}") == {b"st": b"active", b"ver": b"3", b"exp": b"5"}
        assert client.hgetall(f"{names.key}k4-{account}") == {b"st": b"active", b"ver": b"1", b"exp": b""}
        for key_id in (f"key_{account}", f"k4-{account}"):
            assert client.get(f"t2:key:{key_id}") == b"{}"
        assert client.hgetall(f"{names.customer}{account}:c3") == {b"ver": b"3", b"doc": b"{}"}
        assert (client.get(names.account + account), client.hget(names.meta, f"ver:{account}")) == (
            b"[]",
            b"7",
        )
        assert rows.now_ms(account) > 0
        (usage,) = read_usage(client, account, [limit])
        assert (usage.published, usage.remaining) == (True, 9)
        rows.drop_limit(account, limit.id)
        assert not read_usage(client, account, [limit])[0].published


def test_limits_on_each_are_read_on_a_cluster(client: Any) -> None:
    rows = LedgerRows(client)
    each = limit_on("account-1", "*")
    traces = Limit("lim_trace", "trace", "*", "lifetime", "money", "hard", 9)
    rows.put_limits("account-1", [each, traces])
    names = names_of("account-1")
    for number in range(20):
        of = Attribution("account-1", "key_1", f"c{number}", trace_id=f"t{number}")
        row = number.to_bytes(8, "little") + bytes(16)
        (usage,) = read_usage(client, "account-1", [limit_on("account-1", of.customer or "")])
        client.hset(names.window + usage.window.id, f"{each.id}:{of.customer}", row)
        client.hset(f"{names.trace}account-1:{of.trace_id}", f"{traces.id}:{of.trace_id}", row)
    assert [row.key for row in read_each(client, "account-1", each, rows_max=2).rows] == ["c19", "c18"]
    assert [row.key for row in read_each(client, "account-1", traces, rows_max=2).rows] == ["t19", "t18"]


def test_values_that_nobody_names_are_found_on_every_node(client: Any) -> None:
    rows = LedgerRows(client)
    accounts = [f"account-{number}" for number in range(12)]
    for account in accounts:
        rows.put_limits(account, [limit_on(account), limit_on(account, "bolt")])
    kept = {account: [limit_on(account).id] for account in accounts}
    rows.keep_limits(kept)
    for account in accounts:
        neighbours = {one for one in accounts if shard_of(one) == shard_of(account)}
        expected = {limit_on(one).id.encode() for one in neighbours}
        assert set(client.hkeys(names_of(account).limits)) == expected
    assert rows.keep_limits(kept) == 0


def test_a_limit_that_could_not_be_counted_is_not_published(client: Any) -> None:
    limit = limit_on("account-2")
    object.__setattr__(limit, "time_zone", "Mars/Base")
    with pytest.raises(ValueError, match="limit lim_account-2_a: time zone 'Mars/Base' is unknown"):
        LedgerRows(client).put_limits("account-2", [limit_on("account-2", "bolt"), limit])
    assert not client.hexists(names_of("account-2").limits, limit_on("account-2", "bolt").id)
