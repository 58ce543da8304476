"""The ledger against its model: any sequence of calls gives the same answers and the same counters."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from budgets.hold import Extra, Hold, Settled
from budgets.ledger import Lease, Opened, Refused, Versions
from budgets.limit import KINDS, RATE_KINDS, SCOPES, Attribution, Limit, windows_for
from budgets.reaper import Reaper
from budgets.rowset import Row, rows_of
from budgets.running import run_script
from budgets.scripts import ADJUST, SEED, SEED_ROWS
from metering.event import CostEvent, encode
from tests.budgets.conftest import EVERY_ENGINE, Servers, connect
from tests.budgets.model import PARTS, Model, Names, RowName, Terms
from tests.budgets.server import Server
from tests.budgets.world import ACCOUNT, KEY, World, event_bytes, unpacked

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)

# Few different amounts, so that they often meet exactly; money is multiplied by one scale in each example, so
# that it also has many digits. Even the largest add up to less than 2**53 over all steps.
AMOUNTS = st.integers(0, 9)
SCALES = (1, 2**31 + 1, 10**12 + 7)
THINGS: dict[str, list[str | None]] = {
    "customer": ["acme", "beta", None],
    "workspace": ["north", None],
    "feature": ["sum", "talk"],
    "plan": ["gold", None],
    "trace_id": ["t1", "t2", None],
    "route": ["fast"],
}
NAMES = st.fixed_dictionaries({part: st.sampled_from(things) for part, things in THINGS.items()})
REQUESTS = st.fixed_dictionaries(
    {
        "names": NAMES,
        "money": st.tuples(AMOUNTS, AMOUNTS, AMOUNTS),
        "tokens": st.tuples(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS),
        "likely": AMOUNTS,
        "equal": st.booleans(),
        "estimate": AMOUNTS,
        "old": st.sampled_from([None] * 20 + ["key", "account", "customer"]),
        "reuse": st.sampled_from([False] * 15 + [True]),
    }
)
ENDS = st.tuples(AMOUNTS, AMOUNTS, AMOUNTS, st.sampled_from([0, 0, 1, 5]), st.sampled_from([1, 1, 1, 0]))
CLOCK_US = 20_000
"""How far the moments at which a call was made and answered may lie from the one that Redis decided at."""


def noon_zone() -> str:
    """A zone in which no window ends soon."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


@st.composite
def limits(draw: st.DrawFn) -> tuple[Terms, str, int]:
    """Terms, window and value of a limit."""
    scope, kind = draw(st.sampled_from(SCOPES)), draw(st.sampled_from((*KINDS, "money", "money")))
    known = {"account_id": [ACCOUNT], "key_id": [KEY], **THINGS}
    things = tuple(draw(st.sampled_from(["*", *filter(None, known[part][:1])])) for part in PARTS[scope])
    enforcement = draw(st.sampled_from(("hard", "hard", "soft", "shadow")))
    window = draw(st.sampled_from(windows_for(scope, kind)))
    return Terms("", scope, things, kind, enforcement), window, draw(values(kind))


def values(kind: str) -> st.SearchStrategy[int]:
    if kind in RATE_KINDS:
        return st.sampled_from((1, 2, 3, 5, 20, 60_000))
    return st.integers(0, {"money": 60, "concurrency": 4, "requests": 6}.get(kind, 40))


class LedgerMachine(RuleBasedStateMachine):
    """Random calls, made to the ledger and to the model alike."""

    def __init__(self, server: Server | Servers, runner: asyncio.Runner, connection: Any) -> None:
        super().__init__()
        server.client.flushall()
        self.redis = server.client
        self.runner = runner
        self.world = World(server.client, connection)
        self.world.make_whole()
        self.model = Model()
        self.leases: dict[str, Lease] = {}
        self.limits: dict[str, Limit] = {}
        self.places: dict[RowName, Row] = {}
        self.estimates: dict[str, int] = {}
        self.count = 0
        self.reap_ms = 0
        self.scale = 1

    @initialize(chosen=st.lists(limits(), min_size=1, max_size=8), scale=st.sampled_from(SCALES))
    def define_limits(self, chosen: list[tuple[Terms, str, int]], scale: int) -> None:
        self.scale = scale
        zone = noon_zone()
        for number, (terms, window, value) in enumerate(chosen):
            limit = Limit(
                f"l{number}",
                terms.scope,
                "\x1f".join(terms.things),
                window,
                terms.kind,
                terms.enforcement,
                self.scaled(terms.kind, value),
                time_zone=zone if window in ("day", "week", "month") else "UTC",
            )
            self.limits[limit.id] = limit
            self.set_value(limit.id, limit.value)
        self.publish(self.limits.values())

    def publish(self, limits: Any) -> None:
        """This is now the account's list of limits."""
        self.listed = tuple(limits)
        self.model.limits = [
            Terms(limit.id, limit.scope, tuple(limit.scope_id.split("\x1f")), limit.kind, limit.enforcement)
            for limit in self.listed
        ]
        self.publish_versions()

    def publish_versions(self) -> None:
        versions, names = self.model.versions, self.world.names
        self.redis.hset(names.meta, f"ver:{ACCOUNT}", versions["account"])
        self.world.put_key(version=versions["key"], status="active" if self.model.active else "revoked")
        for customer in filter(None, THINGS["customer"]):
            self.redis.hset(f"{names.customer}{ACCOUNT}:{customer}", "ver", versions["customer"])

    def set_value(self, limit_id: str, value: int) -> None:
        self.redis.hset(self.world.names.limits, limit_id, value)
        self.model.values[limit_id] = value

    def scaled(self, kind: str, amount: int) -> int:
        return amount * self.scale if kind == "money" else amount

    @rule(requests=st.lists(REQUESTS, min_size=1, max_size=3))
    def open_some(self, requests: list[dict[str, Any]]) -> None:
        for request in requests:
            self.open(**request)

    def open(
        self,
        names: dict[str, str | None],
        money: tuple[int, int, int],
        tokens: tuple[int, int, int, int],
        likely: int,
        equal: bool,
        estimate: int,
        old: str | None,
        reuse: bool,
    ) -> None:
        least, assumed, full = (self.scale * each for each in ([money[0]] * 3 if equal else sorted(money)))
        given, *made = tokens
        made = [made[0]] * 3 if equal else sorted(made, reverse=True)
        hold = Hold(full, assumed, least, 20, given, (made[0], made[1], made[2]), likely)
        wants = {
            "money": (full, assumed, least),
            "input_tokens": (given,) * 3,
            "output_tokens": (made[0], made[1], made[2]),
            "tokens": (given + made[0], given + made[1], given + made[2]),
            "tokens_per_minute": (likely,) * 3,
            **dict.fromkeys(("requests", "concurrency", "requests_per_minute"), (1, 1, 1)),
        }
        if not reuse:
            self.count += 1
        request_id = f"r{self.count}"
        versions = {what: version - (what == old) for what, version in self.model.versions.items()}
        if names["customer"] is None:
            versions["customer"] = self.model.versions["customer"]
        everything: Names = {"account_id": ACCOUNT, "key_id": KEY, **names}
        of = Attribution(
            ACCOUNT, KEY, names["customer"], names["workspace"], names["feature"], names["plan"],
            names["trace_id"], names["route"],
        )  # fmt: skip
        before_us = self.world.now_ms * 1_000
        answer = self.run(
            self.world.ledger.open(
                of=of,
                request_id=request_id,
                versions=Versions(
                    versions["key"],
                    versions["account"],
                    versions["customer"] if names["customer"] is not None else None,
                ),
                lists=(self.listed,),
                hold=hold,
                payload=encode(CostEvent(id=request_id, cost_nano=estimate * self.scale)),
                now_ms=self.world.now_ms,
            )
        )
        after_us = self.world.now_ms * 1_000
        # Only rates look at the clock, and a moment later they may admit what they refused.
        moments = (answer.at_ms * 1_000,) if isinstance(answer, Opened) else (before_us, after_us)
        tried = [
            (now_us, self.model.answer(request_id, versions, everything, wants, now_us))
            for moment_us in moments
            for now_us in (moment_us, moment_us - CLOCK_US, moment_us + CLOCK_US)
        ]
        if not isinstance(answer, Opened):
            assert answer.reason in [said.word for _, said in tried]
            said = next(said for _, said in tried if said.word == answer.reason)
            self.agree_on_the_refusal(answer, said.limits)
            return
        over = {limit.id for limit in answer.over}
        agreed = [(now_us, said) for now_us, said in tried if (said.word, said.over) == ("OK", over)]
        assert agreed, (answer, tried[0])
        now_us, said = agreed[0]
        held = {limit.kind: answer.lease.held[letter] for letter, limit in self.letters(answer.lease)}
        assert {"money": answer.lease.held["m"], **held} == said.held
        assert answer.remaining_nano == said.remaining
        self.model.open(request_id, everything, wants, dict(said.held), now_us)
        self.leases[request_id] = answer.lease
        self.estimates[request_id] = estimate * self.scale
        names_of_rows = [name for _, name in self.model.rows_of(everything)]
        for name, row in zip(names_of_rows, rows_of(self.listed, of, answer.at_ms), strict=True):
            self.places[name] = row
        for limit, name in self.model.rows_of(everything):
            if limit.enforcement == "hard" and limit.kind not in RATE_KINDS:
                assert self.room(limit.id, name) >= 0  # no grant takes a hard limit past its value

    def letters(self, lease: Lease) -> list[tuple[str, Limit]]:
        shape = lease.rows.shape
        return [(shape[3 * at + 1], self.limits[each]) for at, each in enumerate(lease.rows.ids)]

    def room(self, limit_id: str, name: RowName) -> int:
        row = self.model.rows[name]
        return self.model.values[limit_id] - row.spent - row.reserved - row.doubted

    def agree_on_the_refusal(self, answer: Refused, reasons: set[str]) -> None:
        assert (answer.limit is None) == (not reasons)
        if answer.limit is None:
            return
        assert answer.limit.id in reasons
        assert answer.limit.enforcement == "hard"
        assert answer.value == self.model.values[answer.limit.id]
        if answer.reason == "RATE":
            assert answer.retry_ms is not None
            assert answer.retry_ms > 0
            return
        named = [name for name, place in self.places.items() if place.field == answer.row]
        spent, room = (
            (self.model.rows[named[0]].spent, self.room(answer.limit.id, named[0]))
            if named
            else (0, answer.value)
        )
        assert (answer.spent, answer.free) == (spent, room)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        self.close_one(self.pick(data), data)

    def close_one(self, lease: Lease, data: st.DataObject) -> None:
        spent, given, made, doubted, requests = data.draw(ENDS)
        spent, doubted = spent * self.scale, doubted * self.scale
        settled = Settled(spent, doubted, given, made, doubted_output_tokens=doubted and 1, requests=requests)
        event = event_bytes(lease.request_id, spent, doubted)
        answer = self.run(self.world.ledger.close(lease, settled, status="succeeded", event=event))
        in_doubt = 1 if doubted else 0
        came = {
            "money": (spent, doubted),
            "requests": (requests, 0),
            "input_tokens": (given, 0),
            "output_tokens": (made, in_doubt),
            "tokens": (given + made, in_doubt),
            "tokens_per_minute": (given + made, 0),
            "requests_per_minute": (0, 0),
            "concurrency": (0, 0),
        }
        assert answer == self.model.close(lease.request_id, came)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), extra=st.tuples(AMOUNTS, AMOUNTS, AMOUNTS))
    def extend(self, data: st.DataObject, extra: tuple[int, int, int]) -> None:
        lease = self.pick(data)
        money, given, made = extra[0] * self.scale, extra[1], extra[2]
        answer = self.run(self.world.ledger.extend(lease, Extra(money, given, made)))
        more = {"money": money, "input_tokens": given, "output_tokens": made, "tokens": given + made}
        assert answer == self.model.extend(lease.request_id, more)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), cost=AMOUNTS)
    def heartbeat(self, data: st.DataObject, cost: int) -> None:
        lease = self.pick(data)
        cost *= self.scale
        pulse = self.run(self.world.ledger.heartbeat([(lease, cost)]))
        said = self.model.heartbeat(lease.request_id, cost)
        assert pulse.lost == ([lease.request_id] if said == "lost" else [])
        assert pulse.missing == ([lease.request_id] if said == "missing" else [])

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        self.restore_one(self.pick(data))

    def restore_one(self, lease: Lease) -> None:
        held = {"money": lease.held["m"]}
        held |= {limit.kind: lease.held[letter] for letter, limit in self.letters(lease)}
        answer = self.run(self.world.ledger.restore(lease, 0))
        assert answer == self.model.restore(lease.request_id, held)

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), shows_itself=st.booleans())
    def vanish(self, data: st.DataObject, shows_itself: bool) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.model.running)))
        self.redis.zadd(self.world.names.leases, {request_id: 1})
        reaper = Reaper(self.redis, heartbeat_ms=100)
        assert reaper.pass_once(self.reap_ms) == []
        if shows_itself:
            self.run(self.world.ledger.heartbeat([(self.leases[request_id], 1)]))
            self.model.heartbeat(request_id, 1)
        self.reap_ms += 150
        ended = reaper.pass_once(self.reap_ms)
        assert ended == ([] if shows_itself else [request_id])
        if not shows_itself:
            assert self.model.close(request_id, self.orphaned(request_id)) == "ok"

    def orphaned(self, request_id: str) -> dict[str, tuple[int, int]]:
        """What a vanished holder's request comes to: what is known, and on hard limits the rest in doubt."""
        request = self.model.running[request_id]
        held = request.held
        hard = {limit.kind for limit, _ in request.rows if limit.enforcement == "hard"}
        known = max(self.estimates[request_id], request.checkpoint)
        return {
            "money": (known, max(0, held["money"] - known) if "money" in hard else 0),
            "requests": (1, 0),
            **{
                kind: (0, held.get(kind, 0) if kind in hard else 0)
                for kind in ("input_tokens", "output_tokens", "tokens")
            },
            "tokens_per_minute": (held.get("tokens_per_minute", 0), 0),
            "requests_per_minute": (0, 0),
            "concurrency": (0, 0),
        }

    @precondition(lambda self: self.limits)
    @rule(data=st.data(), what=st.sampled_from(["adjust", "value", "value", "list", "copies", "lose"]))
    def change(self, data: st.DataObject, what: str) -> None:
        """What happens beside requests, and less often."""
        {
            "adjust": self.adjust,
            "value": self.change_value,
            "list": self.change_list,
            "copies": self.disturb,
            "lose": self.lose,
        }[what](data)

    def adjust(self, data: st.DataObject) -> None:
        """What turns out later is added to a row, or taken off, but never below nothing."""
        chosen = sorted(name for name, row in self.places.items() if row.limit.kind not in RATE_KINDS)
        if not chosen or not self.model.whole:
            return
        name = data.draw(st.sampled_from(chosen))
        place, row = self.places[name], self.model.rows[name]
        spent, doubted = (self.scaled(place.limit.kind, data.draw(st.integers(-9, 9))) for _ in range(2))
        keys = (f"{self.world.names.base}none", self.world.names.outbox, self.world.names.meta, place.hash)
        assert run_script(self.redis, ADJUST, keys, (0, "", "1", place.field, spent, doubted, 0)) == b"OK"
        row.spent, row.doubted = max(0, row.spent + spent), max(0, row.doubted + doubted)

    def change_value(self, data: st.DataObject) -> None:
        limit = self.limits[data.draw(st.sampled_from(sorted(self.limits)))]
        self.set_value(limit.id, self.scaled(limit.kind, data.draw(values(limit.kind))))

    def change_list(self, data: st.DataObject) -> None:
        """A limit is dropped, comes back, or is enforced otherwise; old copies of the list are stale."""
        limit_id = data.draw(st.sampled_from(sorted(self.limits)))
        kept = [limit for limit in self.listed if limit.id != limit_id]
        enforcement = data.draw(st.sampled_from(("hard", "soft", "shadow", None)))
        if enforcement is None:
            self.redis.hdel(self.world.names.limits, limit_id)
            del self.model.values[limit_id]
            self.open_something()  # the copies still have it
            self.set_value(limit_id, self.limits[limit_id].value)
        else:
            old = self.limits[limit_id]
            self.limits[limit_id] = changed = Limit(
                old.id, old.scope, old.scope_id, old.window, old.kind, enforcement, old.value,
                time_zone=old.time_zone,
            )  # fmt: skip
            kept.append(changed)
        self.model.versions["account"] += 1
        self.publish(kept)

    def disturb(self, data: st.DataObject) -> None:
        """What a caller must survive or be told of, and that leaves no trace."""
        how = data.draw(st.sampled_from(["key", "customer", "revoked", "scripts forgotten"]))
        if how == "scripts forgotten":
            self.redis.script_flush()
            return
        self.model.versions["customer" if how == "customer" else "key"] += 1
        self.model.active = how != "revoked"
        self.publish_versions()
        if how == "revoked":
            self.open_something()
            self.model.active = True
            self.publish_versions()

    def lose(self, data: st.DataObject) -> None:
        """The ledger is not whole, and refuses: its memory is gone, or only its word that it is whole."""
        for request in data.draw(st.lists(REQUESTS, min_size=1, max_size=3)):
            self.open(**request)
        if data.draw(st.booleans()):
            self.redis.flushall()
            for request_id in self.model.ended:
                self.leases.pop(request_id, None)
            self.model.ended = set()
            self.model.forget()
            for limit_id, value in list(self.model.values.items()):
                self.set_value(limit_id, value)
            self.publish_versions()
        else:
            self.redis.hdel(self.world.names.meta, "complete_since")
            self.model.whole = False
        self.open_something()
        for early in (True, False):
            for request_id in sorted(self.model.lost):
                what = data.draw(st.sampled_from(["restore", "close", "leave", "leave"]))
                if what == "restore":
                    self.restore_one(self.leases[request_id])
                elif what == "close":
                    self.close_one(self.leases[request_id], data)
            if early and data.draw(st.booleans()):
                return
            if early:
                self.seed()

    @precondition(lambda self: not self.model.whole)
    @rule()
    def seed(self) -> None:
        """The ledger is made whole again, from the model's sums."""
        names, connection = self.world.names, self.world.connection
        self.redis.set(names.seeding, "token")
        rows: dict[str, list[Any]] = {}
        for name, place in self.places.items():
            if place.limit.kind not in RATE_KINDS:
                row = self.model.rows[name]
                content = struct.pack("<3q", row.spent, 0, row.doubted)
                rows.setdefault(place.hash, []).extend((place.field, content))
        args: list[Any] = ["token", 10_000, "-"]
        for pairs in rows.values():
            args += (len(pairs) // 2, 0, *pairs)
        assert run_script(self.redis, SEED_ROWS, (names.seeding, names.meta, *rows), args) == b"OK"
        last_id = "0-0"
        if self.redis.exists(names.outbox):
            last_id = self.redis.xinfo_stream(names.outbox)["last-generated-id"].decode()
        keys = (names.meta, names.leases, names.outbox, names.seeding)
        assert run_script(self.redis, SEED, keys, ("token", last_id, names.base, names.open)) == b"SEEDED"
        assert self.redis.hget(names.meta, "run_id").decode() == connection.run_id_for(names.meta)
        self.model.whole = True

    @invariant()
    def counters_agree_and_every_end_has_one_event_and_every_open_request_a_lease(self) -> None:
        placed = list(self.places.items())
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.xrange(self.world.names.outbox)
        pipeline.zrange(self.world.names.leases, 0, -1)
        for _, place in placed:
            pipeline.hget(place.hash, place.field)
        entries, leases, *counters = pipeline.execute()
        events = [orjson.loads(entry[b"e"]) for _, entry in entries]
        assert [(event["id"], event.get("cost_nano")) for event in events] == self.model.outbox
        assert {name.decode() for name in leases} == set(self.model.running)
        if not self.model.whole:
            return
        for (name, place), found in zip(placed, counters, strict=True):
            if place.limit.kind in RATE_KINDS:
                self.agree_on_the_arrival(name, found)
                continue
            row = self.model.rows[name]
            assert unpacked(found) == (row.spent, row.reserved, row.doubted), (name, place.limit)
            assert row.reserved >= 0

    def agree_on_the_arrival(self, name: RowName, found: bytes | None) -> None:
        said = self.model.arrivals.get(name)
        assert (found is None) == (said is None)
        if found is not None and said is not None:
            assert abs(int(found) - said) <= CLOCK_US
            self.model.arrivals[name] = type(said)(int(found))  # Redis alone knows the microsecond

    def open_something(self) -> None:
        names: Mapping[str, str | None] = {part: things[0] for part, things in THINGS.items()}
        self.open(dict(names), (1, 1, 1), (1, 1, 1, 1), 1, True, 0, None, False)

    def pick(self, data: st.DataObject) -> Lease:
        """A lease that runs, or now and then one that has ended or is lost."""
        pools = [self.model.running, self.model.running, self.model.lost, self.leases]
        pool = data.draw(st.sampled_from([pool for pool in pools if pool]))
        return self.leases[data.draw(st.sampled_from(sorted(pool)))]

    def run(self, call: Any) -> Any:
        return self.runner.run(call)


def compare(server: Server | Servers, *, examples: int, steps: int) -> None:
    """Rates look at the server's clock, so the same steps may be answered otherwise when Hypothesis takes
    them once more. A run in which that happened says nothing of the ledger, and is begun anew."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    with asyncio.Runner() as runner:
        connection = runner.run(connect(server))
        try:
            machine: Any = lambda: LedgerMachine(server, runner, connection)  # noqa: E731
            for last in (False, False, True):
                try:
                    run_state_machine_as_test(machine, settings=chosen)
                    return
                except FlakyStrategyDefinition:
                    if last:
                        raise
        finally:
            runner.run(connection.close())


def test_the_ledger_agrees_with_its_model(server: Server) -> None:
    compare(server, examples=20, steps=20)


@pytest.mark.wide
def test_the_ledger_agrees_with_its_model_in_more_runs(server: Server) -> None:
    usual = isinstance(server, Server) and "valkey" in server.command[0]
    compare(server, examples=200 if usual else 60, steps=50 if usual else 20)


@pytest.mark.slow
def test_the_ledger_agrees_with_its_model_for_long(server: Server) -> None:
    usual = isinstance(server, Server) and "valkey" in server.command[0]
    compare(server, examples=2_000 if usual else 500, steps=50)
