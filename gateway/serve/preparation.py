"""What must hold before the first worker: a Redis that keeps money, tables, keys in Redis, a whole ledger.

Runs in the recorder's process, at its start, each time: every step finds out by itself whether there is
anything to do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import Engine

from accounts.keyring import Keyring
from accounts.limitbook import LimitBook
from accounts.planbook import PlanBook
from accounts.plantables import PlanNotFound
from budgets.client import SyncClient, connect_sync, every_server
from budgets.healer import GRACE_S, Healer
from budgets.limit import check_terms
from budgets.rows import LedgerRows
from gateway.healing.healing import RecordedTerms, spilled_in
from gateway.recorder.spill import FOLDER
from gateway.settings import ProviderSettings, Settings
from gateway.settings.plans import features_of, plans_of, prices_of
from metering.database import DatabaseError, open_database
from metering.eventstore import EventStore, StoreUnavailable
from metering.pricebook import PriceBook

FIRST_KEY_NAME = "first key"
OLDEST_REDIS = (7, 0)
WHOLE_WITHIN_S = 30.0
"""Patience with other processes that are making the ledger whole."""
WHOLE_PAUSE_S = 0.2
WELCOME_MODELS = ("gpt-4o-mini", "gpt-4.1-nano", "gpt-5-nano", "gpt-4o")
"""Chat models for the first request that a person makes: the cheapest well-known ones."""


class PreparationFailed(Exception):
    """The installation cannot start; the text says why and what to do."""


def prepare(settings: Settings, redis_url: str, *, first: bool = True) -> dict[str, Any]:
    """Make everything ready for workers; {"first_key": str or None, "model": str, "warnings": [str]}.

    `first` False: workers run already, whose requests must be put back before the ledger is made whole again;
    that is left to the recorder's healing. Raises PreparationFailed.
    """
    try:
        redis = connect_sync(redis_url, timeout_s=10, connect_timeout_s=5)
    except RedisError as error:
        raise PreparationFailed(f"redis.url: no use can be made of that server: {error}") from None
    try:
        warnings: list[str] = []
        if settings.redis.url:
            for server in every_server(redis):
                warnings += [each for each in judge_redis(information(server)) if each not in warnings]
        engine = open_database(settings.record)
        try:
            rows = LedgerRows(redis)
            apply_plans(settings, engine)
            LimitBook(engine, rows).publish_all()
            if first:
                _make_whole(redis, engine, settings)
            first_key = None
            keyring = Keyring(engine, rows)
            if not keyring.list():
                first_key, _ = keyring.create(FIRST_KEY_NAME, assertion="any")
        finally:
            engine.dispose()
    except RedisError as error:
        raise PreparationFailed(f"redis.url: no use can be made of that server: {error}") from None
    except PlanNotFound as error:
        raise PreparationFailed(f"customers.default_plan: {error}") from None
    except (DatabaseError, StoreUnavailable) as error:
        if first:
            raise PreparationFailed(str(error)) from None
        # The recorder waits for the database, and keeps what comes meanwhile.
        return {"first_key": None, "model": welcome_model(settings), "warnings": [str(error)]}
    finally:
        redis.close()
    return {"first_key": first_key, "model": welcome_model(settings), "warnings": warnings}


def apply_plans(settings: Settings, engine: Engine) -> None:
    """Record what the configuration says of features, plans and customers; what it does not name stays."""
    policy = settings.customers.policy() if "customers" in settings.model_fields_set else None
    if settings.features or settings.plans or policy is not None:
        book = PlanBook(engine, None, check_terms)
        prices = prices_of(settings.features, book.now_ms())
        book.apply(features_of(settings.features), plans_of(settings.plans), policy, prices)


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
    for name, provider in settings.providers.items():
        offered = _offered(name, provider)
        if offered:
            return next((model for model in WELCOME_MODELS if model in offered), offered[0])
    return WELCOME_MODELS[0]  # without a provider the simulated one answers, to whatever name


def _offered(name: str, provider: ProviderSettings) -> list[str]:
    if isinstance(provider.models, list):
        return provider.models
    return [model.id for model in PriceBook.load().models(provider.prices or name)]


def _make_whole(redis: SyncClient, engine: Engine, settings: Settings) -> None:
    """Seed the ledger where it is not known to be whole: a new server, or one that was restarted.

    Where other gateways share the server, their running requests have the usual grace to be put back; in
    front of our own there are no workers yet.
    """
    store = EventStore(settings.record)
    shared = settings.redis.url is not None
    try:
        with store.snapshot() as snapshot:
            in_use = shared and snapshot.place.event_seq > 0
        healer = Healer(
            redis,
            store,
            RecordedTerms(engine),
            LimitBook(engine, LedgerRows(redis)).publish_all,
            grace_s=GRACE_S if in_use else 0.0,
            spilled=spilled_in(settings.server.data_dir / FOLDER),
        )
        deadline = time.monotonic() + WHOLE_WITHIN_S
        while True:
            healer.pass_once(time.monotonic_ns() // 1_000_000)
            if not healer.counters.cold:
                return
            if time.monotonic() > deadline:
                raise PreparationFailed(
                    f"the ledger could not be made whole within {WHOLE_WITHIN_S:.0f} s; is another gateway "
                    "at it, or does a node of the cluster not answer? The log says more"
                )
            time.sleep(WHOLE_PAUSE_S)
    finally:
        store.close()
