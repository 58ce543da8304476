"""`tollkeeper export`: recorded events as files for other tools."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import click
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from gateway.cli.options import place_options
from gateway.cli.output import config_faults_told, fail
from gateway.cli.recorded import removed_told
from gateway.settings import load_settings
from metering.database import DatabaseError, open_database, shown
from metering.event import DEFAULT_ACCOUNT
from metering.eventexport import walk_events
from metering.removal import EventsRemoved
from reports.exporting import FORMATS, ROWS, Counted, ExportError, compressed, export_parts, shape_of
from reports.parquet import NoParquet
from reports.question import QuestionError, parse_moment


@click.group()
def export() -> None:
    """Write what is recorded as files for other tools."""


@export.command()
@click.option(
    "--since", default="30d", show_default=True, help="24h, 7d, 2w, 2026-11-01 or 2026-11-01T12:00."
)
@click.option("--until", help="The end, in the same words (UTC), itself not in it; default: now.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", show_default=True)
@click.option("--rows", type=click.Choice(ROWS), help="What a row is; default: an event.")
@click.option(
    "--out", default="-", show_default=True, help="A file, compressed where it ends in .gz; - prints."
)
@click.option("--account", default=DEFAULT_ACCOUNT, show_default=True)
@place_options
def events(
    since: str,
    until: str | None,
    form: str,
    rows: str | None,
    out: str,
    account: str,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Write the events begun in a span, in the order of their starts. The server may run meanwhile."""
    now_ms = time.time_ns() // 1_000_000
    try:
        since_ms = parse_moment(since, now_ms)
        until_ms = None if until is None else parse_moment(until, now_ms)
        shape = shape_of(form, rows)
    except (QuestionError, ExportError) as error:
        raise click.UsageError(str(error)) from None
    except NoParquet as error:
        fail(str(error))
    packed = out.endswith(".gz")
    if packed and shape.writer == "parquet":
        raise click.UsageError("Parquet is compressed already: choose a name without .gz")
    counted = Counted()
    with _database(config, data_dir) as engine:
        told = walk_events(engine, account, since_ms, until_ms)
        parts = export_parts(told, shape, counted)
        _write(out, compressed(parts) if packed else parts)
    click.echo(f"{counted.events:,} events" + _unknown(counted, shape.table), err=True)


def _unknown(counted: Counted, table: str) -> str:
    if not counted.unknown:
        return ""
    missing = "only what is known of it is in these rows" if table == "focus" else "it is empty, not 0"
    return f"; the cost of {counted.unknown:,} is not known: {missing}"


@contextmanager
def _database(config: Path | None, data_dir: Path | None) -> Iterator[Engine]:
    with config_faults_told():
        settings = load_settings(config, {"server.data_dir": data_dir})
    try:
        engine = open_database(settings.record, create=False)
    except DatabaseError as error:
        fail(str(error))
    try:
        yield engine
    except EventsRemoved as error:
        fail(removed_told(error))
    except DBAPIError as error:
        fail(f"{shown(settings.record)}: {error.orig}")
    finally:
        engine.dispose()


def _write(out: str, parts: Iterable[bytes]) -> None:
    """To standard output, or to a file that appears, or replaces another, when it is whole."""
    if out == "-":
        _pour(sys.stdout.buffer, parts)
        return
    target = Path(out)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with closing(partial.open("wb")) as file:
            _pour(file, parts)
        partial.replace(target)
    except OSError as error:
        fail(f"{out}: {error.strerror}")
    finally:
        partial.unlink(missing_ok=True)


def _pour(file: IO[bytes], parts: Iterable[bytes]) -> None:
    for part in parts:
        file.write(part)
    file.flush()
