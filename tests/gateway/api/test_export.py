"""GET /api/events/export: the same file as the command's, of the key's own account."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest

from gateway.api.export import EXPORT, accepts_gzip
from metering.eventstore import EventStore
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.metering.events import NOVEMBER_MS, event
from tests.stack import Stack, running_stack

COUNT = 1_203
PATH = "/api/events/export"
NOVEMBER = {"date_from": "2026-11-01"}


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    with running_stack(simulated_settings(simulator), api=EXPORT) as started:
        with closing(EventStore(started.database)) as store:
            store.append(
                [
                    event(started_ms=NOVEMBER_MS + n, cost_nano=n, customer="acme" if n % 3 else "bolt")
                    for n in range(COUNT)
                ]
            )
            store.append([event(account_id="other", started_ms=NOVEMBER_MS, customer="theirs")])
        yield started


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.base_url.removesuffix("/v1"), timeout=60) as opened:
        yield opened


def ask(http: httpx2.Client, key: str, **query: str) -> httpx2.Response:
    return http.get(PATH, params=query, headers={"authorization": f"Bearer {key}"})


def rows(answer: httpx2.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_all_of_the_account_and_nothing_of_another(stack: Stack, http: httpx2.Client) -> None:
    answer = ask(http, stack.key(scopes=["events.read"]), **NOVEMBER)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="events.csv"'
    found = rows(answer)
    assert [int(row["known_cost_nano"]) for row in found] == list(range(COUNT))
    assert {row["account_id"] for row in found} == {"default"}
    assert "theirs" not in answer.text


def test_every_shape_is_answered(stack: Stack, http: httpx2.Client) -> None:
    key = stack.key(scopes=["events.read"])
    lines = ask(http, key, format="jsonl", rows="attempts", **NOVEMBER)
    assert lines.headers["content-type"] == "application/jsonl"
    assert len(lines.text.splitlines()) == COUNT
    charges = rows(ask(http, key, format="focus", **NOVEMBER))
    assert sum(int(row["x_EffectiveCostNano"]) for row in charges) == sum(range(COUNT))
    none = ask(http, key, date_from="2026-10-01", date_to="2026-11-01")
    assert rows(none) == []


def raw(http: httpx2.Client, key: str, accepted: str, **query: str) -> tuple[httpx2.Headers, bytes]:
    headers = {"authorization": f"Bearer {key}", "accept-encoding": accepted}
    with http.stream("GET", PATH, params={**NOVEMBER, **query}, headers=headers) as answer:
        assert answer.status_code == 200
        return answer.headers, b"".join(answer.iter_raw())


@pytest.mark.wide
def test_who_accepts_gzip_gets_the_same_file_compressed(stack: Stack, http: httpx2.Client) -> None:
    key = stack.key(scopes=["events.read"])
    for form in ("csv", "jsonl", "focus"):
        headers, plain = raw(http, key, "identity", format=form)
        assert (headers["vary"], headers.get("content-encoding")) == ("Accept-Encoding", None)
        headers, packed = raw(http, key, "br, gzip;q=0.5", format=form)
        assert (headers["vary"], headers["content-encoding"]) == ("Accept-Encoding", "gzip")
        assert "content-length" not in headers
        assert gzip.decompress(packed) == plain
        assert len(packed) < len(plain) / 3
    headers, plain = raw(http, key, "gzip", format="parquet")
    assert "content-encoding" not in headers
    assert plain.startswith(b"PAR1")


@pytest.mark.parametrize(
    ("accepted", "wished"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip ; q=0.1", True),
        ("*", True),
        ("*;q=0.1, gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=much", False),
        ("identity", False),
        ("", False),
    ],
)
def test_gzip_is_sent_only_to_who_can_read_it(accepted: str, wished: bool) -> None:
    assert accepts_gzip(accepted) is wished


def test_a_bound_key_gets_its_own(stack: Stack, http: httpx2.Client) -> None:
    key = stack.key(scopes=["events.read"], customer="bolt", assertion="none")
    assert {row["customer"] for row in rows(ask(http, key, **NOVEMBER))} == {"bolt"}


def test_what_cannot_be_had_is_refused_before_the_file_begins(stack: Stack, http: httpx2.Client) -> None:
    key = stack.key(scopes=["events.read"])
    for query in ({}, {"format": "xml", **NOVEMBER}, {"format": "focus", "rows": "attempts", **NOVEMBER}):
        assert ask(http, key, **query).status_code == 400, query
    assert ask(http, stack.key(scopes=["usage.read"]), **NOVEMBER).status_code == 403
    with closing(EventStore(stack.database)) as store:
        store.remove_events(NOVEMBER_MS)
    refused = ask(http, key, date_from="2026-10-31")
    assert (refused.status_code, refused.json()["code"]) == (400, "events_removed")
    assert len(rows(ask(http, key, **NOVEMBER))) == COUNT
