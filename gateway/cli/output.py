"""How commands show what they found, and how they end where something is wrong.

Rich is imported where it draws: lines for a pipe, and JSON, need not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click
import orjson

from gateway.settings import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 160
"""Columns of a file or a pipe: enough for the longest model id beside its rates."""


def fail(*complaints: str) -> NoReturn:
    """End the command: what is wrong goes to standard error."""
    for complaint in complaints:
        click.echo(complaint, err=True)
    sys.exit(1)


@contextmanager
def config_faults_told() -> Iterator[None]:
    """A configuration that cannot be used ends the command with all its complaints."""
    try:
        yield
    except ConfigError as error:
        fail(*error.complaints)


def show_json(document: Any) -> None:
    """One indented JSON document."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[str] = ()) -> None:
    """A table for a terminal; tab-separated lines with a heading for a pipe."""
    if not sys.stdout.isatty():
        for line in (columns, *rows):
            click.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def wide_console() -> Console:
    """A console for what is drawn for people in a pipe too: as wide as the terminal, else PIPE_WIDTH."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)
