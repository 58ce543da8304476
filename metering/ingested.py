"""What was reported and what became of it: idempotency keys, answers that may be asked for again, and what
the ledger has not counted yet.

A key belongs to the first report that brings it, for good: key and event are stored in one transaction, and
the table's primary key decides between any number of reports at once. `uncounted` is the link to the limits:
an entry is stored with the events that it sums, counted in the ledger afterwards, and settled here when the
ledger's outbox tells that it was. So each is counted once, whoever dies in between.

The functions run inside a transaction that holds the write lock, but for those that only read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Table, Text

from metering.eventtable import events
from metering.rollup import metadata
from metering.statement import insert_given, run_given, written

CHUNK = 500
REPLY_MS = 86_400_000
"""How long an answer to an `Idempotency-Key` may be asked for again."""

ingested = Table(
    "ingested",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("payload_hash", Text, nullable=False),
    Column("event_id", Text, nullable=False),
)
replies = Table(
    "replies",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("payload_hash", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)
uncounted = Table(
    "uncounted",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("account_id", Text, nullable=False),
    Column("document", Text, nullable=False),
)


class Claim(NamedTuple):
    """A key, what its report says (a hash), and the id that its event gets if it is the first. A named
    tuple, because one is made for each report."""

    account_id: str
    key: str
    payload_hash: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a key is: the event that brought it first. `same`: the later report says the same."""

    event_id: str
    same: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was given to a request with an `Idempotency-Key`."""

    payload_hash: str
    at_ms: int
    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Uncounted:
    """Stored events that rows of limits do not count yet: the `document` says what of which."""

    id: str
    account_id: str
    document: str


def claim_keys(connection: Connection, claims: Sequence[Claim]) -> dict[str, Owner]:
    """Take the keys that are free; gives, by the event id of each claim that came too late, whose it is.

    Of several claims of one key the first is the first. Ids of recorded events are keys, too: who reports a
    call that the gateway made itself, under the id that it was answered with, reports it a second time.
    """
    late: dict[str, Owner] = {}
    recorded = _recorded_ids(connection, claims)
    fresh: list[Claim] = []
    for claim in claims:
        if (claim.account_id, claim.key) in recorded:
            late[claim.event_id] = Owner(claim.key, same=True)
        else:
            fresh.append(claim)
    if not fresh:
        return late
    if run_given(_CLAIM, connection, [tuple(each) for each in fresh]) == len(fresh):
        return late
    owners = _owners(connection, fresh)
    for claim in fresh:
        payload_hash, event_id = owners[claim.account_id, claim.key]
        if event_id != claim.event_id:
            late[claim.event_id] = Owner(event_id, same=payload_hash == claim.payload_hash)
    return late


def find_reply(connection: Connection, account_id: str, key: str, now_ms: int) -> Reply | None:
    """The answer that was given under this key in the last 24 hours."""
    row = connection.execute(
        sa.select(replies).where(
            replies.c.account_id == account_id,
            replies.c.idempotency_key == key,
            replies.c.at_ms > now_ms - REPLY_MS,
        )
    ).first()
    return None if row is None else Reply(row.payload_hash, row.at_ms, row.status, row.body)


def keep_reply(connection: Connection, account_id: str, key: str, reply: Reply) -> None:
    """Keep an answer, in place of one that is there."""
    mine = (replies.c.account_id == account_id, replies.c.idempotency_key == key)
    connection.execute(sa.delete(replies).where(*mine))
    connection.execute(
        sa.insert(replies).values(
            account_id=account_id,
            idempotency_key=key,
            payload_hash=reply.payload_hash,
            at_ms=reply.at_ms,
            status=reply.status,
            body=reply.body,
        )
    )


def drop_old_replies(connection: Connection, now_ms: int) -> int:
    """Forget answers that are too old to be asked for; gives their number."""
    return connection.execute(sa.delete(replies).where(replies.c.at_ms <= now_ms - REPLY_MS)).rowcount


def drop_keys_of(connection: Connection, event_ids: Sequence[str]) -> int:
    """Forget the keys of events that are deleted with their age; gives their number."""
    return sum(
        connection.execute(sa.delete(ingested).where(ingested.c.event_id.in_(chunk))).rowcount
        for chunk in _chunks(event_ids)
    )


def note_uncounted(connection: Connection, entries: Sequence[Uncounted]) -> None:
    """Remember what the ledger has to count."""
    if entries:
        rows = [(each.id, each.account_id, each.document) for each in entries]
        connection.exec_driver_sql(_NOTE.on(connection), rows)


def settle_uncounted(connection: Connection, ids: Sequence[str]) -> int:
    """The ledger has counted these; gives how many of them were still waiting."""
    return sum(
        connection.execute(sa.delete(uncounted).where(uncounted.c.id.in_(chunk))).rowcount
        for chunk in _chunks(ids)
    )


def find_uncounted(connection: Connection, limit: int | None = None) -> list[Uncounted]:
    """What the ledger has to count, the oldest first; by default all of it."""
    query = sa.select(uncounted).order_by(uncounted.c.seq)
    rows = connection.execute(query if limit is None else query.limit(limit)).all()
    return [Uncounted(row.id, row.account_id, row.document) for row in rows]


def _recorded_ids(connection: Connection, claims: Sequence[Claim]) -> set[tuple[str, str]]:
    """(account, key) of the claims whose key is the id of a recorded event of that account."""
    ids = [claim.key for claim in claims if len(claim.key) == _ID_LENGTH and claim.key[14] == "7"]
    found: set[tuple[str, str]] = set()
    for chunk in _chunks(ids):
        query = sa.select(events.c.account_id, events.c.id).where(events.c.id.in_(chunk))
        found.update((row.account_id, row.id) for row in connection.execute(query))
    return found


def _owners(connection: Connection, claims: Sequence[Claim]) -> dict[tuple[str, str], tuple[str, str]]:
    """(account, key) -> (hash, event) of what stands there now."""
    by_account: dict[str, list[str]] = {}
    for claim in claims:
        by_account.setdefault(claim.account_id, []).append(claim.key)
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for account_id, keys in by_account.items():
        for chunk in _chunks(keys):
            query = sa.select(ingested).where(
                ingested.c.account_id == account_id, ingested.c.idempotency_key.in_(chunk)
            )
            for row in connection.execute(query):
                found[account_id, row.idempotency_key] = (row.payload_hash, row.event_id)
    return found


def _chunks(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


_ID_LENGTH = 36
"""Ids of events are UUIDs of version 7 (metering.ids), so most keys need not be looked for among them."""
_CLAIM = written(
    lambda engine: (
        insert_given(engine, ingested)
        .on_conflict_do_nothing(index_elements=list(ingested.primary_key.columns))
        .inline()
    )
)
_NOTE = written(
    lambda _engine: (
        sa.insert(uncounted)
        .values({name: sa.bindparam(name) for name in ("id", "account_id", "document")})
        .inline()
    )
)
