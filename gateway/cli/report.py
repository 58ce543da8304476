"""`tollkeeper report`: what was spent, on whom and on what."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from gateway.cli.options import place_options
from gateway.cli.output import show_json
from gateway.cli.recorded import recorded_events
from reports.figures import CostReport, cost_report
from reports.layout import columns, csv_text, document, moment, text
from reports.question import QuestionError, parse_question


@click.command()
@click.option(
    "--by",
    default="customer,feature",
    show_default=True,
    help="customer, feature, model, provider, route, key, day.",
)
@click.option(
    "--since", default="7d", show_default=True, help="24h, 7d, 2w, 2026-11-01 or 2026-11-01T12:00 (UTC)."
)
@click.option("--until", help="The end, in the same words; default: now.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, without a total.")
@place_options
def report(
    by: str,
    since: str,
    until: str | None,
    as_json: bool,
    as_csv: bool,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Print the cost of requests, the dearest first, with its exact total.

    An unknown cost is never counted as 0: it is listed under "not known".
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    try:
        question = parse_question(by, since, until, time.time_ns() // 1_000_000)
    except QuestionError as error:
        raise click.UsageError(str(error)) from None
    with recorded_events(config, data_dir) as store:
        answer = cost_report(
            question, store.cost_by(question.dimensions, question.since_ms, question.until_ms)
        )
    if as_json:
        show_json(document(answer))
    elif as_csv:
        click.echo(csv_text(answer), nl=False)
    else:
        _print(answer)


def _print(answer: CostReport) -> None:
    question = answer.question
    until = "now" if question.until_ms is None else moment(question.until_ms)
    if not answer.rows:
        click.echo(f"No requests from {moment(question.since_ms)} to {until}.")
        return
    if sys.stdout.isatty():
        _print_rich(answer, f"{moment(question.since_ms)} to {until}")
    else:
        click.echo(text(columns(answer)))


def _print_rich(answer: CostReport, title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_edge=False, show_footer=True)
    shown = columns(answer)
    for column in shown:
        table.add_column(
            column.head, Text(column.cells[-1]), justify="right" if column.right else "left", overflow="fold"
        )
    for row in zip(*(column.cells[:-1] for column in shown), strict=True):
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
