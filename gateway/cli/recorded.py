"""What the reading commands read: the recorded events of an installation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gateway.settings import ConfigError, load_settings
from metering.database import DatabaseError
from metering.eventstore import EventsRemoved, EventStore
from reports.layout import moment


@contextmanager
def recorded_events(config: Path | None, data_dir: Path | None) -> Iterator[EventStore]:
    """The installation's event store. Raises click.ClickException with what to do when there is none, or when
    what is asked of it needs events that were removed."""
    try:
        settings = load_settings(config, {"server.data_dir": data_dir})
        store = EventStore(settings.record, create=False)
    except (ConfigError, DatabaseError) as error:
        raise click.ClickException(str(error)) from None
    try:
        yield store
    except EventsRemoved as error:
        raise click.ClickException(removed_told(error)) from None
    finally:
        store.close()


def removed_told(error: EventsRemoved) -> str:
    """What a person can ask for instead."""
    return f"{error}. All events are there since {moment(error.complete_since_ms)}."
