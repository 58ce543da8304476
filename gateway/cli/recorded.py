"""What the reading commands share: where the recorded events are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.settings import ConfigError, load_settings
from metering.database import DatabaseError
from metering.eventstore import EventStore

Command = TypeVar("Command", bound=Callable[..., Any])


def place_options(command: Command) -> Command:
    """The options that say which installation is read: --config and --data-dir."""
    command = click.option(
        "--data-dir", type=click.Path(path_type=Path), help="Where `serve` keeps its data; default ./data."
    )(command)
    return click.option(
        "--config", type=click.Path(path_type=Path), help="YAML file; default ./config.yaml if any."
    )(command)


@contextmanager
def recorded_events(config: Path | None, data_dir: Path | None) -> Iterator[EventStore]:
    """The installation's event store. Raises click.ClickException with what to do when there is none."""
    try:
        settings = load_settings(config, {"server.data_dir": data_dir})
        store = EventStore(settings.server.database, create=False)
    except (ConfigError, DatabaseError) as error:
        raise click.ClickException(str(error)) from None
    try:
        yield store
    finally:
        store.close()
