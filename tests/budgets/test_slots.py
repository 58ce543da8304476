"""Slots as the server counts them, and what nodes say of them."""

from __future__ import annotations

import pytest

from budgets.names import all_shards, names_on
from budgets.slots import (
    SHARD_SLOTS,
    Redirection,
    SlotRange,
    key_of,
    read_redirection,
    read_slots,
    slot_of,
)
from tests.budgets.cluster import Cluster

KEYS = ["", "a", "foo", "123456789", "{}a", "{a", "a}{b}", "{a}{b}", "{{a}}", "é", "x{é}y", "t2:key:0f"]


def test_a_slot_is_the_same_for_us_as_for_the_server(cluster: Cluster) -> None:
    keys = KEYS + [names_on(shard).outbox for shard in all_shards()]
    asked = [cluster.nodes[0].client.execute_command("CLUSTER KEYSLOT", key) for key in keys]
    assert [slot_of(key) for key in keys] == asked


def test_all_of_a_shard_is_in_one_slot_and_the_shards_are_spread() -> None:
    names = names_on("07")
    assert len({slot_of(name) for name in (names.meta, names.open + "{x}", names.window + "2026-11")}) == 1
    assert len(SHARD_SLOTS) == 64


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "a"), "a"),
        ((b"get", b"\xff"), "\udcff"),
        (("EVALSHA", "0" * 40, 2, "a", "b", 1), "a"),
        (("EVAL", "return 1", 0), None),
        (("XINFO", "STREAM", "s"), "s"),
        (("XREADGROUP", "GROUP", "g", "me", "COUNT", 5, "STREAMS", "s", ">"), "s"),
        (("TIME",), None),
        (("SCRIPT", "FLUSH"), None),
    ],
)
def test_the_key_of_a_command_is_found(command: tuple[str, ...], key: str | None) -> None:
    assert key_of(command) == key


def test_a_map_is_read_with_the_asked_host_where_a_node_does_not_know_its_own() -> None:
    reply = [
        [0, 99, [b"", 7000, b"id1"], [b"h2", 7001, b"id2", []]],
        [100, 199, [b"?", 7002, b"id3"]],
        [200, 200, [b"h4", 7003, b"id4", [b"hostname", b"x"]], [None, 7004, b"id5"]],
    ]
    assert read_slots(reply, "seed") == [
        SlotRange(0, 99, ("seed", 7000), (("h2", 7001),)),
        SlotRange(200, 200, ("h4", 7003), (("seed", 7004),)),
    ]


def test_redirections_are_read() -> None:
    assert read_redirection("MOVED 3999 127.0.0.1:6381") == Redirection(3999, "127.0.0.1", 6381)
    assert read_redirection("ASK 1 ::1:6381").address("h") == ("::1", 6381)
    assert read_redirection("MOVED 1 :6381").address("answering") == ("answering", 6381)
