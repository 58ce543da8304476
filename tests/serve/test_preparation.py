"""What must hold before the first worker, judged on real servers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from accounts.limitbook import LimitBook
from accounts.publishing import ACCOUNT, wall_ms
from budgets.healer import GRACE_S
from budgets.names import names_of
from gateway.recorder.entry import Entry
from gateway.recorder.spill import FOLDER, Spill
from gateway.serve.preparation import PreparationFailed, information, judge_redis, prepare, welcome_model
from gateway.serve.valkey import EmbeddedValkey
from gateway.settings import Settings, settings_from_document
from metering.database import open_database
from metering.event import CostEvent, encode
from metering.eventstore import EventStore
from metering.ids import new_id


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[tuple[str, Redis]]:
    server = EmbeddedValkey(tmp_path)
    await server.start()
    client = Redis.from_url(server.url)
    yield server.url, client
    client.close()
    await server.stop()


def settings(folder: Path, **sections: Any) -> Settings:
    provider = {
        "base_url": "http://127.0.0.1:9/v1",
        "models": ["some-model", "gpt-4o-mini"],
        "prices": "openai",
    }
    server = {"data_dir": str(folder)}
    return settings_from_document({"server": server, "providers": {"one": provider}, **sections})


async def test_configured_redis_like_ours_is_accepted_in_silence(redis: tuple[str, Redis]) -> None:
    assert judge_redis(information(redis[1])) == []


async def test_redis_that_may_evict_is_refused(redis: tuple[str, Redis]) -> None:
    redis[1].config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(PreparationFailed, match=r"maxmemory-policy is allkeys-lru.*set it to noeviction"):
        judge_redis(information(redis[1]))


async def test_redis_without_an_append_only_file_is_warned_of(redis: tuple[str, Redis]) -> None:
    redis[1].config_set("appendonly", "no")
    (warning,) = judge_redis(information(redis[1]))
    assert "set appendonly to yes" in warning


async def test_redis_that_syncs_by_itself_each_second_is_warned_of(redis: tuple[str, Redis]) -> None:
    redis[1].config_set("appendfsync", "everysec")
    (warning,) = judge_redis(information(redis[1]))
    assert "appendfsync is everysec" in warning
    redis[1].config_set("appendfsync", "always")
    assert judge_redis(information(redis[1])) == []


async def test_redis_that_is_too_old_is_refused(redis: tuple[str, Redis]) -> None:
    with pytest.raises(PreparationFailed, match=r"Redis 6\.2\.14; 7\.0 or later"):
        judge_redis({**information(redis[1]), "redis_version": "6.2.14"})


async def test_redis_that_does_not_answer_is_told_of(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/absent.sock"
    with pytest.raises(PreparationFailed, match="no use can be made of that server"):
        prepare(settings(tmp_path, redis={"url": url}), url)


async def test_first_key_is_made_once(redis: tuple[str, Redis], tmp_path: Path) -> None:
    url, _ = redis
    first = prepare(settings(tmp_path), url)
    again = prepare(settings(tmp_path), url)
    assert first["first_key"].startswith("obs_")
    assert again["first_key"] is None
    assert first["model"] == "gpt-4o-mini"


async def test_ledger_of_a_new_server_is_made_whole(redis: tuple[str, Redis], tmp_path: Path) -> None:
    url, client = redis
    prepare(settings(tmp_path), url)
    whole = [key for key in client.keys("t2:*:meta") if client.hexists(key, "complete_since")]
    assert whole == [names_of(ACCOUNT).meta.encode()]


async def test_ledger_counts_what_is_recorded_and_what_was_spilled(
    redis: tuple[str, Redis], tmp_path: Path
) -> None:
    url, client = redis
    prepare(settings(tmp_path), url)
    limit_id = record_spending(tmp_path, 70)
    Spill(tmp_path / FOLDER).put([Entry(b"x", b"1-1", {b"e": encode(event(8))})])
    client.flushall()
    prepare(settings(tmp_path), url)
    assert spent(client, limit_id) == 78


async def test_ledger_is_left_to_healing_while_workers_run(redis: tuple[str, Redis], tmp_path: Path) -> None:
    url, client = redis
    prepare(settings(tmp_path), url)
    client.flushall()
    prepare(settings(tmp_path), url, first=False)
    assert client.keys("t2:*:key:*")
    assert not client.hexists(names_of(ACCOUNT).meta, "complete_since")


async def test_ledger_that_others_use_gives_their_requests_time(
    redis: tuple[str, Redis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, client = redis
    shared = settings(tmp_path, redis={"url": url})
    with monkeypatch.context() as patience:
        patience.setattr("gateway.serve.preparation.GRACE_S", 20.0)
        began = time.monotonic()
        prepare(shared, url)
        assert time.monotonic() - began < 20  # nobody has ever used it
    limit_id = record_spending(tmp_path, 70)
    client.flushall()
    began = time.monotonic()
    prepare(shared, url)
    assert time.monotonic() - began >= GRACE_S
    assert spent(client, limit_id) == 70


async def test_ledger_that_cannot_be_made_whole_is_told_of(
    redis: tuple[str, Redis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, client = redis
    client.set(names_of(ACCOUNT).seeding, "another")
    monkeypatch.setattr("gateway.serve.preparation.WHOLE_WITHIN_S", 0.1)
    with pytest.raises(PreparationFailed, match="could not be made whole"):
        prepare(settings(tmp_path), url)


def event(cost_nano: int) -> CostEvent:
    return CostEvent(id=new_id(), cost_nano=cost_nano, cost_status="priced", started_ms=wall_ms())


def record_spending(folder: Path, cost_nano: int) -> str:
    """A limit of the account, and what was spent on it."""
    engine = open_database(folder / "tollkeeper.db")
    change = LimitBook(engine, None).set("account", ACCOUNT, "money", "month", 1_000)
    engine.dispose()
    store = EventStore(folder / "tollkeeper.db")
    store.append([event(cost_nano)])
    store.close()
    return change.limit.id


def spent(client: Any, limit_id: str) -> int:
    (window,) = client.keys(f"{names_of(ACCOUNT).window}*")
    return int.from_bytes(client.hget(window, limit_id)[:8], "little")


def test_first_request_asks_for_a_route_where_there_is_one() -> None:
    routes = {"fast": {"targets": [{"provider": "one", "model": "m"}]}}
    assert welcome_model(settings(Path("data"), routes=routes)) == "fast"


def test_first_request_asks_for_a_well_known_model_where_no_provider_offers_any() -> None:
    assert welcome_model(settings_from_document({})) == "gpt-4o-mini"
    provider = {"base_url": "http://127.0.0.1:9/v1", "models": []}
    assert welcome_model(settings_from_document({"providers": {"one": provider}})) == "gpt-4o-mini"


def test_first_request_asks_for_a_cheap_priced_model_where_all_are_offered() -> None:
    provider = {"base_url": "http://127.0.0.1:9/v1"}
    assert welcome_model(settings_from_document({"providers": {"openai": provider}})) == "gpt-4o-mini"
