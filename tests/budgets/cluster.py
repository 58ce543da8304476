"""Several servers that are one ledger: a cluster whose slots can be moved, and a primary with its replica."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from tests.budgets.server import Server, free_ports, start_server

PATIENCE_S = 60.0
SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000
"""After so long without a word a node counts as failed, and a replica may take its place."""
PATIENT_MS = 30_000
"""The same where no node is to fail: on a busy machine one that is alive may say nothing for seconds."""


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """For what other processes do, and nobody announces."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


@dataclass
class Cluster:
    """Primaries with a third of the slots each. `add` brings one more, without slots."""

    binary: str
    folder: Path
    nodes: list[Server] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"redis://{','.join(node.address for node in self.nodes)}"

    def clear(self) -> None:
        for node in self.nodes:
            if node.client.info("replication")["role"] == "master":
                node.client.flushall()

    def owner(self, slot: int) -> Server:
        """Who serves this slot, as the node itself says it."""
        for node in self.nodes:
            for first, last, primary, *_ in node.client.execute_command("CLUSTER SLOTS"):
                if first <= slot <= last and primary[1] == node.port:
                    return node
        raise AssertionError(f"nobody serves slot {slot}")

    def add(self) -> Server:
        """One more node that the others know."""
        server = self._start()
        server.client.cluster("MEET", "127.0.0.1", self.nodes[0].port, _bus(self.nodes[0]))
        self.nodes.append(server)
        self._settled(len(self.nodes))
        return server

    def replicate(self, primary: Server) -> Server:
        """One more node that copies this one, and takes its place when it fails."""
        replica = self.add()
        replica.client.cluster("REPLICATE", node_id(primary))
        wait_until(lambda: linked(replica), "the replica is linked")
        return replica

    def begin_move(self, slot: int, target: Server) -> None:
        """From now on the slot is between two nodes: its owner asks for the keys it has no more."""
        source = self.owner(slot)
        target.client.cluster("SETSLOT", slot, "IMPORTING", node_id(source))
        source.client.cluster("SETSLOT", slot, "MIGRATING", node_id(target))

    def move_keys(self, slot: int, target: Server, count: int = 10) -> int:
        """Move up to so many keys of the slot, one by one; gives how many."""
        source = self.owner(slot)
        keys = source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, count)
        for key in keys:
            source.client.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5_000)
        return len(keys)

    def end_move(self, slot: int, target: Server) -> None:
        """The slot is the target's: it learns so first, then the others."""
        identity = node_id(target)
        for node in sorted(self.nodes, key=lambda one: one is not target):
            if node.client.info("replication")["role"] == "master":
                node.client.cluster("SETSLOT", slot, "NODE", identity)

    def move(self, slot: int, target: Server) -> None:
        """The whole way, at once."""
        self.begin_move(slot, target)
        while self.move_keys(slot, target):
            pass
        self.end_move(slot, target)

    def migrate(self, slot: int, target: Server) -> None:
        """The way of Valkey 9: the whole slot changes hands in one moment."""
        source = self.owner(slot)
        source.client.execute_command(
            "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", node_id(target)
        )
        wait_until(lambda: self.owner(slot) is target, "the slot has changed hands")

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def _start(self) -> Server:
        port, bus = free_ports(2)
        folder = self.folder / str(port)
        folder.mkdir()
        return start_server(
            self.binary,
            folder,
            port=port,
            cluster_enabled="yes",
            cluster_port=str(bus),
            cluster_node_timeout=str(NODE_TIMEOUT_MS),
            repl_diskless_sync="no",
        )

    def _settled(self, count: int) -> None:
        for node in self.nodes:
            wait_until(lambda node=node: knows(node, count), f"{node.address} knows {count} nodes")  # type: ignore[misc]


def start_cluster(binary: str, folder: Path, nodes: int = 3, *, timeout_ms: int = PATIENT_MS) -> Cluster:
    """A cluster whose every slot is served, in about two seconds (nodes greet one another once a second)."""
    cluster = Cluster(binary, folder)
    cluster.nodes = [cluster._start() for _ in range(nodes)]
    for place, node in enumerate(cluster.nodes):
        first, last = place * SLOTS // nodes, (place + 1) * SLOTS // nodes - 1
        node.client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
        node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", place + 1)
    for one in cluster.nodes:
        for other in cluster.nodes:
            if other is not one:
                one.client.cluster("MEET", "127.0.0.1", other.port, _bus(other))
    cluster._settled(nodes)
    for node in cluster.nodes:
        node.client.config_set("cluster-node-timeout", timeout_ms)
    return cluster


def node_id(server: Server) -> str:
    found: bytes = server.client.execute_command("CLUSTER MYID")
    return found.decode()


def knows(server: Server, count: int) -> bool:
    """True when it is connected to so many nodes, itself included, and every slot is served."""
    about = server.client.cluster("INFO")
    nodes = server.client.cluster("NODES").values()
    return (
        about["cluster_state"] == "ok"
        and about["cluster_slots_assigned"] == str(SLOTS)
        and len(nodes) == count
        and all(node["connected"] and "handshake" not in node["flags"] for node in nodes)
    )


@dataclass
class Pair:
    """A primary and its replica, on ports that stay."""

    binary: str
    folder: Path
    primary: Server
    replica: Server

    @property
    def url(self) -> str:
        return f"redis://{self.primary.address},{self.replica.address}"

    def promote(self) -> None:
        """The replica becomes a primary."""
        self.replica.client.execute_command("REPLICAOF", "NO", "ONE")

    def demote(self, server: Server, of: Server) -> None:
        server.client.execute_command("REPLICAOF", "127.0.0.1", of.port)
        wait_until(lambda: linked(server), "the replica is linked")

    def caught_up(self) -> None:
        """Wait until the replica has what the primary has."""
        assert self.primary.client.execute_command("WAIT", 1, 5_000) == 1

    def stop(self) -> None:
        self.primary.stop()
        self.replica.stop()


def start_pair(binary: str, folder: Path) -> Pair:
    """A primary with a replica that is in step with it."""
    servers = []
    for name, port in zip(("primary", "replica"), free_ports(2), strict=True):
        place = folder / name
        place.mkdir()
        servers.append(start_server(binary, place, port=port, repl_diskless_sync="no"))
    pair = Pair(binary, folder, *servers)
    pair.demote(pair.replica, of=pair.primary)
    return pair


def linked(replica: Server) -> bool:
    said: dict[str, Any] = replica.client.info("replication")
    return bool(said["role"] == "slave" and said["master_link_status"] == "up")


def _bus(server: Server) -> int:
    return int(server.command[server.command.index("--cluster-port") + 1])


def client_of(server: Server) -> Redis:
    """A client over TCP, as the product has it."""
    return Redis(host="127.0.0.1", port=server.port)
