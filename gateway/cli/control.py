"""What the managing commands work on: the record, and the ledger where it can be reached."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from accounts.customerbook import CustomerBook
from accounts.keyring import KeyNotFound, Keyring
from accounts.limitbook import LimitBook
from accounts.planbook import PlanBook
from accounts.plantables import PlanNotFound
from budgets.client import SyncClient, connect_sync
from budgets.limit import check_terms
from budgets.meter import Meter
from budgets.rows import LedgerRows
from gateway.cli.output import config_faults_told, fail
from gateway.planmeters import recorded_meters
from gateway.serve import lock
from gateway.settings import load_settings
from metering.database import DatabaseError, open_database, shown

NOT_IN_FORCE = 3
"""Exit code: recorded, but a server runs that could not be told."""
USE_UNKNOWN = "No server is reachable: what is used is not shown."


@dataclass(frozen=True, slots=True)
class Control:
    """An installation as a command sees it. `redis` is None when the ledger cannot be reached.

    `serving`: a `tollkeeper serve` holds the data directory.
    """

    keyring: Keyring
    limitbook: LimitBook
    planbook: PlanBook
    customerbook: CustomerBook
    engine: Engine
    redis: SyncClient | None
    serving: bool

    def meters(self, account_id: str) -> list[Meter]:
        """What limits of the account's plans count."""
        with self.engine.connect() as connection:
            return recorded_meters(connection, account_id)

    def settle(self, *, urgent: bool = False) -> None:
        """Say when a change takes effect, unless it has; exits with NOT_IN_FORCE when that must not wait."""
        if self.redis is not None:
            return
        if not self.serving:
            click.echo("Recorded. No server is reachable: it takes effect at the next start.", err=True)
            return
        click.echo(
            "warning: recorded, but the running server's Redis could not be reached, so it takes effect only "
            "at the next start; restart `tollkeeper serve`, or repeat the command when Redis is back",
            err=True,
        )
        if urgent:
            sys.exit(NOT_IN_FORCE)


@contextmanager
def open_control(config: Path | None, data_dir: Path | None, *, create: bool = False) -> Iterator[Control]:
    """The installation of this configuration. Faults end the command with one sentence and exit code 1.

    `create` makes the database where there is none yet.
    """
    with config_faults_told():
        settings = load_settings(config, {"server.data_dir": data_dir})
    folder = settings.server.data_dir
    if create:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        engine = open_database(settings.record, create=create)
    except DatabaseError as error:
        fail(str(error))
    serving = lock.held(folder / lock.LOCK_FILE)
    announced = lock.running(folder)
    redis = _reachable(settings.redis.url or (announced.redis_url if announced else None))
    try:
        rows = LedgerRows(redis) if redis is not None else None
        yield Control(
            Keyring(engine, rows),
            LimitBook(engine, rows, check_terms),
            PlanBook(engine, rows, check_terms),
            CustomerBook(engine, rows, check_terms),
            engine,
            redis,
            serving,
        )
    except (KeyNotFound, PlanNotFound, ValueError) as error:
        fail(str(error))
    except DBAPIError as error:
        fail(f"{shown(settings.record)}: {error.orig}")
    except RedisError as error:
        fail(f"recorded as far as possible, but Redis failed: {error}; repeat the command")
    finally:
        engine.dispose()
        if redis is not None:
            redis.close()


def _reachable(url: str | None) -> SyncClient | None:
    if url is None:
        return None
    redis = None
    try:
        redis = connect_sync(url, timeout_s=5, connect_timeout_s=2)
        redis.ping()
    except RedisError:
        if redis is not None:
            redis.close()
        return None
    return redis
