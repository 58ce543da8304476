"""What really happened, kept apart from the ledger, and what must be true of both.

The ledger's scripts are watched as the server carries them out, so that every grant is judged at its own
moment. What a request may cost is judged by the provider's bill and by what its worker was granted, never
by the ledger's counters; these are then compared with it.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from budgets.answers import Lease
from budgets.closing import AGAIN
from budgets.hold import Settled
from budgets.names import names_of
from budgets.opening import GRANTED
from budgets.scripts import CLOSE, EXTEND, HEARTBEAT, OPEN, RESTORE
from gateway.healing.recent_closes import KEEP_S
from metering.event import CostEvent, decode
from tests.simulation.commands import Reply
from tests.simulation.control import ACCOUNT
from tests.simulation.keyspace import Hash, SortedSet, Stream

if TYPE_CHECKING:
    from tests.simulation.world import World

NAMES = names_of(ACCOUNT)
BETWEEN = b"\x1e"
ROWS = re.compile(rb"(?:[0-?][a-z][hsw])+\x1e[0-9]+\x1e")
"""How the rows of an open record begin, among the arguments of an opening."""
DAY_MS = 86_400_000
LEDGER_SCRIPTS = {script.name: script for script in (OPEN, EXTEND, HEARTBEAT, RESTORE, CLOSE)}
Place = tuple[bytes, bytes]
"""A row: its hash and its name."""


class Broken(AssertionError):
    """An invariant does not hold; the text says which and how."""


@dataclass(frozen=True, slots=True)
class RowUse:
    """One row that a request counts on."""

    place: Place
    limit_id: str
    meter: str
    hard: bool


@dataclass(slots=True)
class Fact:
    """One request. Amounts in nano-USD.

    `granted`: the server granted it. `accepted`: a worker went on with it. `held`: what of money its worker
    believes is held for it. `forgotten`: the server lost it with its memory, and nobody told it since.
    `ends`: how the server ended it, as far as it remembers; `told_end`: it did, even if that was lost, and
    `ended_s` when it last did. `beyond`: when that was lost its worker had no reason to keep it any more.
    """

    request_id: str
    granted: bool = False
    accepted: bool = False
    refused: bool = False
    covered: bool = True
    worker: str = ""
    held: int = 0
    rows: tuple[RowUse, ...] = ()
    settled: Settled | None = None
    forgotten: bool = False
    told_end: bool = False
    ended_s: float = 0.0
    beyond: bool = False
    ended_at: int = 0
    beats: int = 0
    ends: list[str] = field(default_factory=list)


class Truth:
    """All facts of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.facts: dict[str, Fact] = {}
        self.store: dict[str, CostEvent] = {}
        self.duplicates = 0
        self.grants = 0
        self.forgotten_ever: set[str] = set()
        self._losses = 0
        self._names = {script.source.encode(): name for name, script in LEDGER_SCRIPTS.items()}

    # What workers and the recorder tell.

    def accepted(self, worker: str, lease: Lease, _unit: int) -> None:
        """A worker goes on with a request."""
        fact = self._fact(lease.request_id)
        fact.accepted, fact.worker = True, worker
        fact.covered = lease.covered
        fact.held = lease.held_nano
        if not lease.covered:
            fact.rows = _rows_of(lease.rows.record.encode())
            fact.forgotten = True
            self.forgotten_ever.add(fact.request_id)
        if fact.refused:
            raise Broken(f"{fact.request_id} was refused before it was accepted")

    def refused(self, request_id: str) -> None:
        """The client was told no."""
        self._fact(request_id).refused = True

    def extended(self, lease: Lease) -> None:
        """More is held for another attempt."""
        self._fact(lease.request_id).held = lease.held_nano

    def settled(self, request_id: str, settled: Settled) -> None:
        """A worker has worked out what a request came to."""
        self._fact(request_id).settled = settled

    def record(self, document: bytes) -> None:
        """The event store takes an event; one whose id it has changes nothing."""
        event = decode(document)
        if event.id in self.store:
            self.duplicates += 1
        else:
            self.store[event.id] = event

    # What the server does.

    def watch(self, source: bytes, keys: list[bytes], args: list[bytes], reply: Reply) -> None:
        """A script was carried out."""
        name = self._names.get(source)
        if name is None:
            return
        if name == "open":
            self._opened(keys[0], args, reply)
        elif name == "restore" and reply == b"OK":
            self._told(args[0])
        elif name == "extend" and reply == b"OK":
            self._extended(keys[0])
        elif name == "close":
            self._closed(args, reply)
        elif name == "heartbeat":
            self._beaten(args[2::2], reply)
            self._world.say("redis", f"heartbeat of {args[0].decode()} for {len(keys) - 1}: {_words(reply)}")
            return
        self._check_rows(name, keys, args)
        shown = args[0].decode() if name != "extend" else keys[0].rpartition(b":")[2].decode()
        told = GRANTED.unpack(reply) if name == "open" and isinstance(reply, bytes) else _words(reply)
        self._world.say("redis", f"{name} {shown}: {told}")

    def lost_memory(self) -> None:
        """The server's memory changed without a command: find out what it no longer knows."""
        self._losses += 1
        known = self._known_to_server()
        space = self._world.redis.space
        for fact in self.facts.values():
            if not fact.granted and not fact.accepted:
                continue
            if fact.request_id not in known:
                fact.forgotten = True
                self.forgotten_ever.add(fact.request_id)
                fact.beyond |= fact.told_end and self._world.loop.time() - fact.ended_s > KEEP_S
            record = space.values.get(f"{NAMES.open}{fact.request_id}".encode())
            if isinstance(record, Hash):
                fact.beats = int(record.get(b"hb", b"0"))
                if fact.ends:  # its end was lost, and it is open once more: it will end again
                    fact.ends.clear()
                    self.forgotten_ever.add(fact.request_id)

    def _known_to_server(self) -> set[str]:
        space = self._world.redis.space
        prefix = NAMES.open.encode()
        known = {name.removeprefix(prefix).decode() for name in space.values if name.startswith(prefix)}
        known.update(event.id for event in self._outbox())
        known.update(self.store)
        return known

    def _outbox(self) -> list[CostEvent]:
        stream = self._world.redis.space.values.get(NAMES.outbox.encode())
        if not isinstance(stream, Stream):
            return []
        entries = (dict(zip(each[::2], each[1::2], strict=True)) for each in stream.entries.values())
        return [decode(entry[b"e"]) for entry in entries if b"e" in entry]

    def _opened(self, name: bytes, args: list[bytes], reply: Reply) -> None:
        if isinstance(reply, bytes):
            at_ms, _ = GRANTED.unpack(reply)
        elif reply[0] == b"OK" and len(reply) == 5:
            at_ms = int(reply[2])
        else:  # refused, or the answer to an earlier grant
            if reply[0] in (b"BUSY", b"EXHAUSTED"):
                self._refused(args, reply)
            return
        fact = self._fact(args[0].decode())
        if fact.granted and not fact.forgotten:
            raise Broken(f"{fact.request_id} was granted twice")
        if not self._world.whole:
            raise Broken(f"{fact.request_id} was granted by a ledger that does not know all that was spent")
        fact.granted = True
        fact.forgotten = False
        fact.beats = 0
        record = self._world.redis.space.values[name]
        assert isinstance(record, Hash)
        fact.rows = _rows_of(record[b"rows"])
        fact.held = _held_by(record).get("m", 0)
        self.grants += 1
        self._judge(fact)
        self._check_windows(fact, at_ms)

    def _refused(self, args: list[bytes], reply: Reply) -> None:
        """Nobody is refused who would have fitted."""
        (rows,) = filter(ROWS.match, args)
        use = _rows_of(rows)[int(reply[1]) - 1]
        least = self._world.least_of(args[0].decode()) if use.meter == "m" else 1
        if int(reply[4]) >= least:
            raise Broken(f"{args[0].decode()} asked for {least} and was refused with {int(reply[4])} free")

    def _beaten(self, ids: list[bytes], reply: Reply) -> None:
        """A worker showed itself: what it renewed must not be reaped by who has not seen that."""
        for request_id in ids:
            if request_id not in reply[0] and request_id not in reply[1]:
                self._fact(request_id.decode()).beats += 1

    def _judge(self, fact: Fact) -> None:
        """What this grant's limits may still cost, in truth, together with it, is within them."""
        for use in fact.rows:
            if not use.hard or use.meter not in "mr" or self._is_excused(use.place):
                continue
            value = self._value_of(use.limit_id)
            exposed = 0
            for other in self.facts.values():
                if other is not fact and not other.forgotten and use in other.rows:
                    exposed += self._exposure(other) if use.meter == "m" else 1
            more = fact.held if use.meter == "m" else 1
            if exposed + more > value:
                raise Broken(
                    f"{fact.request_id} was granted {more} on {use.limit_id}, where others may cost "
                    f"{exposed} of {value}"
                )

    def _extended(self, name: bytes) -> None:
        """More was held for a running request: the same must hold as at a grant."""
        record = self._world.redis.space.values[name]
        assert isinstance(record, Hash)
        fact = self._fact(name.rpartition(b":")[2].decode())
        fact.held = _held_by(record).get("m", 0)
        self._judge(fact)

    def _exposure(self, fact: Fact) -> int:
        """The most that the request may have cost when all is over."""
        provider = self._world.provider
        if fact.settled is not None:
            return provider.final_nano(fact.request_id)
        if not fact.accepted:
            return 0  # its worker never learned of the grant, or is about to
        if self._world.is_alive(fact.worker):
            return max(fact.held, provider.final_nano(fact.request_id))
        return provider.final_nano(fact.request_id)

    def _value_of(self, limit_id: str) -> int:
        values = self._world.redis.space.values[NAMES.limits.encode()]
        assert isinstance(values, Hash)
        return int(values[limit_id.encode()])

    def _check_windows(self, fact: Fact, now_ms: int) -> None:
        """Calendar rows are those of the moment, by a second reckoning."""
        for use in fact.rows:
            window = use.place[0].partition(b":w:")[2].decode()
            if window and window not in _windows_at(now_ms):
                raise Broken(f"{fact.request_id} counts on {window} at {now_ms}")

    def _told(self, request_id: bytes) -> None:
        fact = self._fact(request_id.decode())
        if fact.ends and fact.ended_at == self._losses:
            raise Broken(f"{fact.request_id} was restored after its end")
        fact.covered = True
        if fact.forgotten:
            fact.forgotten, fact.beats = False, 0

    def _closed(self, args: list[bytes], reply: Reply) -> None:
        fact, fence = self._fact(args[0].decode()), args[4] if args[4] != AGAIN.encode() else b""
        if reply == b"ok" and fence and int(fence) != fact.beats:
            raise Broken(f"{fact.request_id} was reaped at beat {args[4].decode()}, and was at {fact.beats}")
        if reply in (b"ok", b"missing") and not (reply == b"missing" and fence):
            fact.ends.append(reply.decode())
            fact.told_end, fact.ended_at, fact.ended_s = True, self._losses, self._world.loop.time()
            fact.beyond = bool(fence)  # the reaper keeps nothing
            # An end that comes to light after the shard was made whole is counted by a comparison.
            fact.forgotten = reply == b"missing" and args[4] == AGAIN.encode() and self._world.whole
        if fact.ends.count("ok") > 1 and fact.request_id not in self.forgotten_ever:
            raise Broken(f"{fact.request_id} was ended twice")

    def _check_rows(self, name: str, keys: list[bytes], args: list[bytes]) -> None:
        """No counter of a touched row is negative, and what is reserved there is what open records hold."""
        space = self._world.redis.space
        hashes = [key for key in keys if b":w:" in key or key.endswith(b":now")]
        if not hashes:
            return
        held = self._held_by_records()
        for place in hashes:
            rows = space.values.get(place)
            if not isinstance(rows, Hash):
                continue
            for row, content in rows.items():
                if len(content) != 24:
                    continue
                spent, reserved, doubted = struct.unpack("<3q", content)
                if min(spent, reserved, doubted) < 0:
                    raise Broken(f"{name} left {row.decode()}: {spent}, {reserved}, {doubted}")
                if self._world.whole and reserved != held.get((place, row), 0):
                    raise Broken(
                        f"{name} of {args[0].decode()} left {reserved} reserved on {row.decode()}, where "
                        f"open records hold {held.get((place, row), 0)}"
                    )

    def _held_by_records(self) -> dict[Place, int]:
        space, held = self._world.redis.space, dict[Place, int]()
        leases = space.values.get(NAMES.leases.encode())
        for request_id in leases if isinstance(leases, SortedSet) else ():
            record = space.values.get(NAMES.open.encode() + request_id)
            if not isinstance(record, Hash):
                continue
            amounts = _held_by(record)
            for use in _rows_of(record[b"rows"]):
                held[use.place] = held.get(use.place, 0) + amounts[use.meter]
        return held

    # What must be true when all is quiet.

    def check_quiet(self) -> None:
        """Every accepted request has its one event, and ledger, events and bill agree."""
        self._check_events()
        self._check_counters()

    def _check_events(self) -> None:
        world = self._world
        for fact in self.facts.values():
            event = self.store.get(fact.request_id)
            if event is None:
                if fact.accepted or fact.granted:
                    if fact.request_id in self.forgotten_ever and self._may_be_lost(fact):
                        continue
                    raise Broken(f"{fact.request_id} was accepted and has no event")
                continue
            if not (fact.accepted or fact.granted):
                raise Broken(f"{fact.request_id} has an event and was never accepted")
            billed = world.provider.nano(fact.request_id)
            upper = max(event.cost_upper_nano or 0, (event.cost_nano or 0) + event.doubted_nano)
            if billed > upper and fact.request_id not in self.forgotten_ever:
                raise Broken(f"{fact.request_id} was billed {billed}, and its event says at most {upper}")
        if unknown := self.store.keys() - self.facts.keys():
            raise Broken(f"events of nobody: {sorted(unknown)}")

    def _may_be_lost(self, fact: Fact) -> bool:
        """The server lost it, and its worker is gone too, or could not be expected to keep its end."""
        if self._world.is_alive(fact.worker):
            return fact.told_end and (fact.beyond or not self._world.plan.journals)
        journalled = not fact.covered and self._world.plan.journals
        return fact.told_end or not journalled

    def _check_counters(self) -> None:
        world = self._world
        for place, (spent, reserved, doubted) in self.counters().items():
            name = place[1].decode()
            if reserved:
                raise Broken(f"{reserved} still reserved on {name}")
            uses = [(fact, use) for fact in self.facts.values() for use in fact.rows if use.place == place]
            events = [
                (fact, use, self.store[fact.request_id])
                for fact, use in uses
                if fact.request_id in self.store
            ]
            meter = uses[0][1].meter if uses else "m"
            if meter == "c" or self._is_excused(place):
                continue
            told = sum((event.cost_nano or 0) if meter == "m" else 1 for _, _, event in events)
            if not self._agree(place, spent, doubted, told):
                raise Broken(f"{spent} spent on {name}, and its events come to {told}")
            if meter == "m" and any(use.hard for _, use in uses):
                billed = sum(world.provider.nano(fact.request_id) for fact, _, _ in events)
                if billed > spent + doubted:
                    raise Broken(f"{billed} billed on {name}, and the ledger covers {spent} + {doubted}")

    def _agree(self, place: Place, spent: int, doubted: int, told: int) -> bool:
        """Whether a row says what its events say, as exactly as what happened allows."""
        plan = self._world.plan
        if plan.loses_memory and not plan.all_are_timely:
            # Where ends were lost, a reaper may have ended requests once more, with less spent and the rest
            # in doubt.
            return spent + doubted >= told
        if place[1].startswith(b"lim_n") and plan.recounts:
            # Counted from the record, a limit has what began after its making, also if opened without it.
            return spent >= told
        return spent == told

    def _is_excused(self, place: Place) -> bool:
        """Rows of past windows are not counted anew, not even of what ended while the ledger was not whole;
        and where clocks differ, a limit that was made during the run may count what began just before or not
        count what began just after.
        """
        plan = self._world.plan
        if place[1].startswith(b"lim_n") and plan.recounts and plan.clocks_differ:
            return True
        window = place[0].partition(b":w:")[2].decode()
        return plan.recounts and bool(window) and window not in _windows_at(self._world.redis.space.now_ms)

    def counters(self) -> dict[Place, tuple[int, int, int]]:
        """Spent, reserved, doubted of every row."""
        found = {}
        for place, rows in self._world.redis.space.values.items():
            if isinstance(rows, Hash) and (b":w:" in place or place.endswith(b":now")):
                for row, content in rows.items():
                    if len(content) == 24:
                        found[place, row] = struct.unpack("<3q", content)
        return found

    def _fact(self, request_id: str) -> Fact:
        return self.facts.setdefault(request_id, Fact(request_id))


def _held_by(record: Hash) -> dict[str, int]:
    """What an open record holds: an amount for each meter."""
    return dict(zip(record[b"meters"].decode(), map(int, record[b"held"].split()), strict=True))


def _rows_of(record: bytes) -> tuple[RowUse, ...]:
    """The rows in an open record's text: shape, number of hashes, hashes, names."""
    if not record:
        return ()
    told, count, *rest = record.split(BETWEEN)
    hashes, names = rest[: int(count)], rest[int(count) :]
    return tuple(
        RowUse(
            (NAMES.base.encode() + hashes[told[3 * at] - 48], name),
            name.partition(b":")[0].decode(),
            chr(told[3 * at + 1]),
            chr(told[3 * at + 2]) == "h",
        )
        for at, name in enumerate(names)
    )


def _windows_at(now_ms: int) -> tuple[str, str, str]:
    """Day, month and lifetime in UTC, reckoned by civil-from-days arithmetic and not by a calendar module."""
    days = now_ms // DAY_MS + 719_468
    era, of_era = divmod(days, 146_097)
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + 400 * era + (month <= 2)
    return f"{year:04d}-{month:02d}-{day:02d}", f"{year:04d}-{month:02d}", "life"


def _words(reply: Reply) -> str:
    """A reply in a line of the story."""
    if isinstance(reply, bytes):
        return reply.decode("latin-1")
    if isinstance(reply, list):
        return " ".join(_words(part) if not isinstance(part, list) else f"[{_words(part)}]" for part in reply)
    return str(reply)
