"""`tollkeeper report`: what was spent, on whom and on what."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from billing.marginbook import MarginBook
from gateway.cli.margin_table import margin_columns, margin_csv, margin_document
from gateway.cli.options import place_options
from gateway.cli.output import show_json
from gateway.cli.recorded import recorded_events
from reports.figures import cost_report
from reports.layout import Column, columns, csv_text, document, moment, text
from reports.question import QuestionError, parse_question


@click.command()
@click.option(
    "--by",
    default="customer,feature",
    show_default=True,
    help="customer, workspace, feature, plan, model, provider, route, key, day, hour.",
)
@click.option(
    "--since", default="7d", show_default=True, help="24h, 7d, 2w, 2026-11-01 or 2026-11-01T12:00 (UTC)."
)
@click.option("--until", help="The end, in the same words; default: now.")
@click.option("--margin", is_flag=True, help="Revenue and margin beside the cost, the smallest margin first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, without a total.")
@place_options
def report(
    by: str,
    since: str,
    until: str | None,
    margin: bool,
    as_json: bool,
    as_csv: bool,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Print the cost of requests, the dearest first, with its exact total.

    An unknown cost is never counted as 0: it is listed under "not known". With --margin, plans' own prices
    are on the rows of customers and plans, and on a row of their own elsewhere.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    now_ms = time.time_ns() // 1_000_000
    try:
        question = parse_question(by, since, until, now_ms)
    except QuestionError as error:
        raise click.UsageError(str(error)) from None
    with recorded_events(config, data_dir) as store:
        if margin:
            until_ms = now_ms if question.until_ms is None else question.until_ms
            view = MarginBook(store).margins(question.dimensions, question.since_ms, until_ms)
        else:
            answer = cost_report(
                question, store.cost_by(question.dimensions, question.since_ms, question.until_ms)
            )
    span = (
        f"{moment(question.since_ms)} to {'now' if question.until_ms is None else moment(question.until_ms)}"
    )
    if as_json:
        show_json(margin_document(view, question.since_ms, until_ms) if margin else document(answer))
    elif as_csv:
        click.echo(margin_csv(view) if margin else csv_text(answer), nl=False)
    elif not (view.rows if margin else answer.rows):
        click.echo(f"No requests from {span}.")
    else:
        _print(margin_columns(view) if margin else columns(answer), span)


def _print(shown: Sequence[Column], title: str) -> None:
    if not sys.stdout.isatty():
        click.echo(text(shown))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_edge=False, show_footer=True)
    for column in shown:
        table.add_column(
            column.head, Text(column.cells[-1]), justify="right" if column.right else "left", overflow="fold"
        )
    for row in zip(*(column.cells[:-1] for column in shown), strict=True):
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
