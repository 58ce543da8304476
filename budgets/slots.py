"""Which slot of a cluster a key lies in, and which node serves it. Pure."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from budgets.names import all_shards, names_on

SLOTS = 16_384

NodeAddress = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Slots `first` to `last`, both included, with the node that serves them and its replicas."""

    first: int
    last: int
    primary: NodeAddress
    replicas: tuple[NodeAddress, ...]


@dataclass(frozen=True, slots=True)
class Redirection:
    """A node's word that a slot is served elsewhere. `host` as it wrote it: '' is its own."""

    slot: int
    host: str
    port: int

    def address(self, answering: str) -> NodeAddress:
        """Where to go, when the node at host `answering` has said so."""
        return self.host or answering, self.port


_TAGGED: dict[str, int] = {}


def slot_of(key: str) -> int:
    """The slot of a key: CRC16 (XMODEM) of what stands in its first braces, or of the whole key."""
    opening = key.find("{")
    if opening >= 0:
        closing = key.find("}", opening + 1)
        if closing > opening + 1:
            tag = key[opening + 1 : closing]
            slot = _TAGGED.get(tag)
            return crc_hqx(_bytes(tag), 0) % SLOTS if slot is None else slot
    return crc_hqx(_bytes(key), 0) % SLOTS


def read_slots(reply: Any, asked: str) -> list[SlotRange]:
    """The answer of CLUSTER SLOTS; `asked` is the host of the node that gave it.

    A node that does not know its own host leaves it empty; one that knows no name for another says `?`,
    and such a range is left out.
    """
    ranges: list[SlotRange] = []
    for first, last, primary, *replicas in reply:
        served = _address(primary, asked)
        if served is not None:
            others = (_address(replica, asked) for replica in replicas)
            ranges.append(SlotRange(first, last, served, tuple(each for each in others if each)))
    return ranges


def read_redirection(error: str) -> Redirection:
    """Read `MOVED 3999 127.0.0.1:6381` or `ASK ...`. Raises ValueError."""
    _, slot, address = error.split()[:3]
    host, _, port = address.rpartition(":")
    return Redirection(int(slot), host.strip("[]"), int(port))


def _address(node: Any, asked: str) -> NodeAddress | None:
    host, port = node[0], int(node[1])
    name = host.decode() if isinstance(host, bytes) else host
    return None if name == "?" else (name or asked, port)


_KEYLESS = frozenset({"PING", "ECHO", "TIME", "INFO", "DBSIZE", "CONFIG", "CLIENT", "SCRIPT", "CLUSTER"})
_KEY_IS_THIRD = frozenset({"XGROUP", "XINFO", "OBJECT", "MEMORY"})
_SCRIPTS = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"})


def key_of(command: Sequence[bytes | str | int]) -> str | None:
    """The key that decides where a command goes; None: any node will do."""
    name = _text(command[0]).upper()
    if name in _KEYLESS:
        return None
    if name in _SCRIPTS:
        return _text(command[3]) if int(command[2]) > 0 else None
    if name in ("XREAD", "XREADGROUP"):
        words = [_text(word).upper() for word in command]
        return _text(command[words.index("STREAMS") + 1])
    place = 2 if name in _KEY_IS_THIRD else 1
    return _text(command[place]) if len(command) > place else None


def _bytes(key: str) -> bytes:
    return key.encode(errors="surrogateescape")


def _text(word: bytes | str | int) -> str:
    return word.decode(errors="surrogateescape") if isinstance(word, bytes) else str(word)


_TAGGED.update({shard: slot_of(names_on(shard).base) for shard in all_shards()})

SHARD_SLOTS = frozenset(_TAGGED.values())
"""The slots that the ledger uses."""
