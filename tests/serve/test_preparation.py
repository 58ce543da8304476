"""What must hold before the first worker, judged on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from gateway.serve.preparation import PreparationFailed, information, judge_redis, prepare, welcome_model
from gateway.serve.valkey import EmbeddedValkey
from gateway.settings import Settings, settings_from_document


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[tuple[str, Redis]]:
    server = EmbeddedValkey(tmp_path)
    await server.start()
    client = Redis.from_url(server.url)
    yield server.url, client
    client.close()
    await server.stop()


def settings(**sections: Any) -> Settings:
    provider = {
        "base_url": "http://127.0.0.1:9/v1",
        "models": ["some-model", "gpt-4o-mini"],
        "prices": "openai",
    }
    return settings_from_document({"providers": {"one": provider}, **sections})


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
        prepare(settings(redis={"url": url}), url, tmp_path / "tollkeeper.db")


async def test_first_key_is_made_once(redis: tuple[str, Redis], tmp_path: Path) -> None:
    url, _ = redis
    first = prepare(settings(), url, tmp_path / "tollkeeper.db")
    again = prepare(settings(), url, tmp_path / "tollkeeper.db")
    assert first["first_key"].startswith("obs_")
    assert again["first_key"] is None
    assert first["model"] == "gpt-4o-mini"


async def test_ledger_of_a_new_server_is_made_whole(redis: tuple[str, Redis], tmp_path: Path) -> None:
    url, client = redis
    prepare(settings(), url, tmp_path / "tollkeeper.db")
    whole = [key for key in client.keys("t1:*:meta") if client.hexists(key, "complete_since")]
    assert len(whole) == 1


def test_first_request_asks_for_a_route_where_there_is_one() -> None:
    routes = {"fast": {"targets": [{"provider": "one", "model": "m"}]}}
    assert welcome_model(settings(routes=routes)) == "fast"


def test_first_request_asks_for_a_cheap_priced_model_where_all_are_offered() -> None:
    provider = {"base_url": "http://127.0.0.1:9/v1"}
    assert welcome_model(settings_from_document({"providers": {"openai": provider}})) == "gpt-4o-mini"
