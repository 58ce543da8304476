"""`tollkeeper routes`: where a request would go, in which order, and why."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import click
from rich.table import Table

from accounts.key import KeyRecord
from accounts.keyring import ACCOUNT, KeyNotFound, Keyring
from accounts.limitbook import LimitBook
from budgets.limit import Attribution, applies
from gateway.admission import may_ask_for
from gateway.app import build_routes
from gateway.cli.options import common_options
from gateway.cli.output import config_faults_told, fail, show_json, wide_console
from gateway.errors import BadRequest
from gateway.forwarding.explaining import Explained, Sample, explain
from gateway.forwarding.healthboard import FILE, HealthBoard
from gateway.forwarding.questions import ASKABLE
from gateway.forwarding.upstream import build_upstream
from gateway.metrics_files import value_directory
from gateway.prices import price_book
from gateway.settings import Settings, load_settings
from gateway.simulated import with_simulated
from metering.database import DatabaseError, open_database
from routing.table import Route


@click.group()
def routes() -> None:
    """Routes, and what they would do."""


@routes.command("explain")
@click.argument("model")
@click.option("--customer", metavar="ID")
@click.option("--feature", metavar="ID")
@click.option("--user", metavar="ID")
@click.option("--trace", metavar="ID")
@click.option("--key", metavar="KEY", help="A key's id, the beginning of one, or its name.")
@click.option("--stream", is_flag=True, help="As for a streamed answer.")
@click.option(
    "--surface", type=click.Choice(ASKABLE), help="Asked as this; default: the first that is spoken."
)
@click.option("--prompt-bytes", type=click.IntRange(1, 10_000_000), default=1_000, show_default=True)
@click.option("--max-tokens", type=click.IntRange(1, 10_000_000), help="As if the client set this maximum.")
@common_options
def explain_route(
    model: str,
    customer: str | None,
    feature: str | None,
    user: str | None,
    trace: str | None,
    key: str | None,
    stream: bool,
    surface: str | None,
    prompt_bytes: int,
    max_tokens: int | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Print the targets that a request for MODEL would try, in order, and why each stands where it does.

    The same steps as for a request, with what the running gateway on this machine knows of its targets.
    Orders that are drawn (weighted, or sticky without the one it recognises) are drawn anew each time.
    """
    with config_faults_told():
        settings = with_simulated(load_settings(config, {"server.data_dir": data_dir}))
        book = price_book(settings)
    route = build_routes(settings, book).find(model)
    if route is None:
        fail(f"nothing here serves {model!r}")
    asking, hard, remark = _recorded(settings, route, customer, feature, trace, key)
    if asking is not None and not may_ask_for(asking, model):
        fail(f"the key {asking.id} may not ask for {model!r}")
    board = _board(settings)
    names = {target.provider for target in (*route.targets, *route.others)}
    release = version("tollkeeper")
    upstreams = {
        name: build_upstream(name, settings.providers[name], version=release, board=board) for name in names
    }
    sticky = {"customer": customer, "feature": feature, "user": user, "trace": trace}[route.sticky_by]
    sample = Sample(prompt_bytes, max_tokens, stream, surface)
    recognised = sticky if route.order == "sticky" else None
    try:
        spoken, found = explain(
            route, upstreams, book, sample, sticky=recognised, bounds_money=bool(hard), key=asking
        )
    except BadRequest as error:
        fail(error.message)
    if as_json:
        show_json({"surface": spoken, **_document(route, hard, found)})
        return
    _print(route, spoken, hard, remark, found)


def _board(settings: Settings) -> HealthBoard:
    """What the running gateway knows of its targets; an empty board where none runs."""
    path = value_directory(settings.server.data_dir) / FILE
    return HealthBoard(path if path.is_file() else None)


def _recorded(
    settings: Settings,
    route: Route,
    customer: str | None,
    feature: str | None,
    trace: str | None,
    key: str | None,
) -> tuple[KeyRecord | None, list[str], str | None]:
    """(the key, the hard limits on money that such a request counts on, what could not be looked at)."""
    try:
        engine = open_database(settings.record, create=False)
    except DatabaseError as error:
        lacking = "no database here" if settings.database.url is None else str(error)
        return None, [], f"{lacking}, so keys and limits are not known"
    try:
        asking = None if key is None else Keyring(engine, None).find(key)
        of = Attribution(
            account_id=ACCOUNT,
            key_id="" if asking is None else asking.id,
            customer=customer,
            feature=feature,
            trace_id=trace,
            route=route.alias,
        )
        hard = [
            limit
            for limit in LimitBook(engine, None).list()
            if limit.kind == "money" and limit.enforcement == "hard" and applies(limit, of)
        ]
    except KeyNotFound as error:
        fail(str(error))
    finally:
        engine.dispose()
    remark = None if key is not None else "limits of keys are not looked at without --key"
    return asking, [f"{limit.scope} {limit.scope_id} {limit.window}" for limit in hard], remark


def _document(route: Route, hard: list[str], found: list[Explained]) -> dict[str, object]:
    return {
        "route": route.alias,
        "order": route.order,
        "sticky_by": route.sticky_by if route.order == "sticky" else None,
        "fallback_on": sorted(outcome.value for outcome in route.fallback_on),
        "hard_limits": hard,
        "targets": [asdict(each) for each in found],
    }


def _print(route: Route, surface: str, hard: list[str], remark: str | None, found: list[Explained]) -> None:
    console = wide_console()
    by = f" by {route.sticky_by}" if route.order == "sticky" else ""
    console.print(
        f"{route.alias}: order {route.order}{by}, asked as {surface}", highlight=False, markup=False
    )
    table = Table("", "target", "circuit", "cost", "context", show_edge=False)
    table.add_column("why", overflow="fold")
    for each in found:
        table.add_row(
            "-" if each.position is None else str(each.position),
            each.target,
            each.circuit,
            each.price,
            f"{each.context_window:,}" if each.context_window else "unknown",
            "; ".join(each.reasons),
        )
    console.print(table)
    if len(found) > 1:
        words = ", ".join(sorted(outcome.value for outcome in route.fallback_on)) or "nothing"
        console.print(f"The next one is asked after: {words}", highlight=False, markup=False, soft_wrap=True)
    if hard:
        console.print(f"Hard budgets that apply: {'; '.join(hard)}", highlight=False, markup=False)
    if remark is not None:
        click.echo(remark, err=True)
