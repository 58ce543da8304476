"""What the managing commands share: the record, the ledger where it can be reached, how results are shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import orjson
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
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
from gateway.planmeters import recorded_meters
from gateway.serve import lock
from gateway.settings import DATABASE, ConfigError, load_settings
from metering.database import DatabaseError, open_database
from metering.money import usd_to_nano

NOT_IN_FORCE = 3
"""Exit code: recorded, but a server runs that could not be told."""

F = TypeVar("F", bound=Callable[..., Any])


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


def common_options(command: F) -> F:
    """--config, --data-dir and --json, as every managing command takes them."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table."),
        click.option(
            "--data-dir", type=click.Path(path_type=Path), help="Default: as configured, else ./data."
        ),
        click.option(
            "--config", type=click.Path(path_type=Path), help="YAML file; default ./config.yaml if any."
        ),
    ):
        command = option(command)
    return command


@contextmanager
def open_control(config: Path | None, data_dir: Path | None, *, create: bool = False) -> Iterator[Control]:
    """The installation of this configuration. Faults end the command with one sentence and exit code 1.

    `create` makes the database where there is none yet.
    """
    try:
        settings = load_settings(config, {"server.data_dir": data_dir})
    except ConfigError as error:
        fail(*error.complaints)
    folder = settings.server.data_dir
    if create:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        engine = open_database(folder / DATABASE, create=create)
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
        fail(f"{folder / DATABASE}: {error.orig}")
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


def fail(*complaints: str) -> NoReturn:
    """End the command: what is wrong goes to standard error."""
    for complaint in complaints:
        click.echo(complaint, err=True)
    sys.exit(1)


def show_json(document: Any) -> None:
    """One indented JSON document."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[str] = ()) -> None:
    """A table for a terminal; tab-separated lines with a heading for a pipe."""
    if not sys.stdout.isatty():
        for line in (columns, *rows):
            click.echo("\t".join(line))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def read_usd(text: str) -> int:
    """`25`, `25.00`, `25usd` or `$25` as nano-USD. ValueError says what is wrong."""
    return usd_to_nano(text.strip().lower().removeprefix("$").removesuffix("usd").strip())


def read_moment(text: str) -> int:
    """`2026-12-31` or `2026-12-31T18:00` (UTC unless it names a zone) as ms since the epoch; ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date; write such as 2026-12-31 or 2026-12-31T18:00") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000


def moment_text(moment_ms: int | None) -> str:
    """`2026-12-31 18:00` in UTC; empty for None."""
    return "" if moment_ms is None else f"{datetime.fromtimestamp(moment_ms // 1000, UTC):%Y-%m-%d %H:%M}"
