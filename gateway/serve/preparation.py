"""What must hold before the first worker: a Redis that keeps money, tables, keys in Redis, a whole ledger.

Runs in the recorder's process, at its start, each time: every step finds out by itself whether there is
anything to do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from accounts.keyring import ACCOUNT, Keyring
from budgets.limit import LimitTerms
from budgets.rows import LedgerRows
from budgets.seed import SeedError, distrust_restarted, seed_ledger
from gateway.settings import ProviderSettings, Settings
from metering.database import DatabaseError, open_database
from metering.eventstore import EventStore
from metering.pricebook import PriceBook

FIRST_KEY_NAME = "first key"
OLDEST_REDIS = (7, 0)
SEED_ATTEMPTS = 20
SEED_PAUSE_S = 0.5
WELCOME_MODELS = ("gpt-4o-mini", "gpt-4.1-nano", "gpt-5-nano", "gpt-4o")
"""Chat models for the first request that a person makes: the cheapest well-known ones."""


class PreparationFailed(Exception):
    """The installation cannot start; the text says why and what to do."""


def prepare(settings: Settings, redis_url: str, database_path: Path) -> dict[str, Any]:
    """Make everything ready for workers; {"first_key": str or None, "model": str, "warnings": [str]}.

    Raises PreparationFailed.
    """
    redis = Redis.from_url(redis_url, protocol=2, socket_timeout=10, socket_connect_timeout=5)
    try:
        warnings = judge_redis(information(redis)) if settings.redis.url else []
        engine = open_database(database_path)
        try:
            keyring = Keyring(engine, LedgerRows(redis))
            keyring.publish_all()
            _make_whole(redis, keyring, database_path)
            first_key = None
            if not keyring.list():
                first_key, _ = keyring.create(FIRST_KEY_NAME, assertion="any")
        finally:
            engine.dispose()
    except RedisError as error:
        raise PreparationFailed(f"redis.url: no use can be made of that server: {error}") from None
    except (DatabaseError, SeedError) as error:
        raise PreparationFailed(str(error)) from None
    finally:
        redis.close()
    return {"first_key": first_key, "model": welcome_model(settings), "warnings": warnings}


def information(redis: Redis) -> Mapping[str, Any]:
    """What `judge_redis` reads: sections of INFO, and the sync policy where the server tells it."""
    client: Any = redis
    found: dict[str, Any] = {}
    for section in ("server", "memory", "persistence"):
        found |= client.info(section)
    try:
        found |= client.config_get("appendfsync")
    except ResponseError:
        pass  # hosted servers keep CONFIG to themselves
    return found


def judge_redis(found: Mapping[str, Any]) -> list[str]:
    """Warnings about a configured Redis. Raises PreparationFailed where money is at stake."""
    release = str(found.get("redis_version", "0"))
    if tuple(int(part) for part in release.split(".")[:2]) < OLDEST_REDIS:
        raise PreparationFailed(
            f"redis.url: the server is Redis {release}; 7.0 or later, or Valkey, is needed"
        )
    policy = found.get("maxmemory_policy")
    if policy != "noeviction":
        raise PreparationFailed(
            f"redis.url: the server's maxmemory-policy is {policy}, so it may forget money that was spent; "
            "set it to noeviction"
        )
    if int(found.get("aof_enabled", 0)) != 1:
        return [
            "redis.url: the server keeps no append-only file, so its restart loses what is not recorded yet; "
            "set appendonly to yes"
        ]
    if found.get("appendfsync") == "everysec":
        return [
            "redis.url: the server's appendfsync is everysec: while a sync runs it holds writes back and "
            "acknowledges them all the same, so killing it then can lose up to two seconds; set it to always "
            "where that is too much"
        ]
    return []


def welcome_model(settings: Settings) -> str:
    """A chat model that is offered, for the first request: a route, else a cheap well-known one."""
    if settings.routes:
        return next(iter(settings.routes))
    name, provider = next(iter(settings.providers.items()))
    offered = _offered(name, provider)
    return next(
        (model for model in WELCOME_MODELS if model in offered), offered[0] if offered else WELCOME_MODELS[0]
    )


def _offered(name: str, provider: ProviderSettings) -> list[str]:
    if isinstance(provider.models, list):
        return provider.models
    return [model.id for model in PriceBook.load().models(provider.prices or name)]


def _make_whole(redis: Redis, keyring: Keyring, database_path: Path) -> None:
    """Seed the ledger where it is not known to be whole (a new server, or one that was restarted)."""
    if not distrust_restarted(redis, ACCOUNT):
        return
    store = EventStore(database_path)

    def spent_of(limit: LimitTerms, start_ms: int, end_ms: int) -> tuple[int, int]:
        return store.spent(ACCOUNT, limit.scope_id, start_ms, end_ms)

    try:
        for attempt in range(SEED_ATTEMPTS):
            try:
                seed_ledger(redis, ACCOUNT, keyring.list_limits(), spent_of, recorded_of=store.recorded)
                return
            except SeedError:
                if attempt == SEED_ATTEMPTS - 1:
                    raise
                time.sleep(SEED_PAUSE_S)  # another process is at it
    finally:
        store.close()
