"""`tollkeeper providers`: which providers are known by name, and what a real request to each really does."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from gateway.cli.options import common_options
from gateway.cli.output import config_faults_told, fail, show_json, wide_console
from gateway.forwarding.probing import Probe, Probed, probe_provider
from gateway.forwarding.questions import ASKABLE
from gateway.prices import price_book
from gateway.settings import Settings, load_settings
from metering.money import nano_to_usd
from metering.pricebook import PriceBook
from routing.presets import address, known, preset


@click.group()
def providers() -> None:
    """Known providers, and whether the configured ones work."""


@providers.command("list")
@common_options
def list_known(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Print the providers that are known by name, what they need, and which are configured."""
    with config_faults_told():
        settings = load_settings(config, {"server.data_dir": data_dir})
    rows = [_known_row(name, settings) for name in known()]
    if as_json:
        show_json(rows)
        return
    columns = ("name", "configured", "key from", "address", "cancel stops bill", "tells its cost")
    table = Table(*columns, show_edge=False)
    for row in rows:
        table.add_row(
            row["name"],
            ", ".join(row["configured"]),
            " or ".join(row["env"]),
            row["base_url"] or "(set base_url)",
            "yes" if row["cancel_stops_billing"] else "no",
            row["reports_cost"] or "",
        )
    wide_console().print(table)


def _known_row(name: str, settings: Settings) -> dict[str, Any]:
    about = preset(name)
    assert about is not None
    return {
        "name": name,
        "title": about["title"],
        "configured": [
            own for own, provider in settings.providers.items() if (provider.preset or own) == name
        ],
        "env": list(about.get("env", ())) or [about.get("api_key_env", "")],
        "base_url": address(about),
        "cancel_stops_billing": about["cancel_stops_billing"],
        "reports_cost": about.get("reports_cost"),
        "notes": about.get("notes"),
    }


@providers.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--model", help="Ask for this model; default: a cheap one of each provider.")
@click.option("--surface", type=click.Choice(ASKABLE), help="Ask as this; default: the first that it speaks.")
@click.option("--prompt", default="Say OK.", show_default=True)
@common_options
def probe(
    names: tuple[str, ...],
    model: str | None,
    surface: str | None,
    prompt: str,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Send each configured provider (or NAME) a short prompt, plain and streamed, and a request that it
    refuses, in a dialect that it speaks.

    These are real requests: they cost what a few tokens cost. Exits with 1 where one did not work.
    """
    with config_faults_told():
        settings = load_settings(config, {"server.data_dir": data_dir})
        book = price_book(settings)
    unknown = [name for name in names if name not in settings.providers]
    if unknown or not settings.providers:
        configured = ", ".join(settings.providers) or "none"
        fail(f"not configured: {', '.join(unknown) or 'any provider'}; configured: {configured}")
    chosen = names or tuple(settings.providers)
    found = asyncio.run(_probe_all(settings, book, chosen, model=model, surface=surface, prompt=prompt))
    if as_json:
        show_json([_document(each) for each in found])
    else:
        _print(found)
    if not all(each.works for each in found):
        sys.exit(1)


async def _probe_all(
    settings: Settings,
    book: PriceBook,
    names: tuple[str, ...],
    *,
    model: str | None,
    surface: str | None,
    prompt: str,
) -> list[Probed]:
    ask = partial(
        probe_provider, book=book, model=model, surface=surface, prompt=prompt, version=version("tollkeeper")
    )
    asked = (ask(name, settings.providers[name]) for name in names)
    return list(await asyncio.gather(*asked))


def _document(found: Probed) -> dict[str, Any]:
    return {
        "provider": found.provider,
        "model": found.model,
        "surface": found.surface,
        "works": found.works,
        "plain": _answer_document(found.plain),
        "streamed": _answer_document(found.streamed),
        "refusal": found.refusal,
    }


def _answer_document(answer: Probe | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    return {
        "fault": answer.fault,
        "status": answer.status,
        "first_byte_ms": answer.first_byte_ms,
        "total_ms": answer.total_ms,
        "text": answer.text,
        "usage": answer.usage,
        "cost_usd": None if answer.cost_nano is None else nano_to_usd(answer.cost_nano),
        "cost_from": answer.cost_from,
        "events": answer.events,
        "done": answer.done,
    }


def _print(found: list[Probed]) -> None:
    table = Table("provider", "asked as", "model", "request", "status", show_edge=False)
    for column in ("first byte", "total"):
        table.add_column(column)
    for column in ("usage", "cost", "says"):
        table.add_column(column, overflow="fold")
    for each in found:
        for kind, answer in (("plain", each.plain), ("streamed", each.streamed)):
            if answer is not None:
                table.add_row(each.provider, each.surface, each.model, kind, *_cells(kind, answer))
        if each.refusal is not None:
            row = (each.provider, each.surface, "(unknown model)", "refused")
            table.add_row(*row, *[""] * 5, each.refusal)
        elif each.plain is None:
            row = (each.provider, each.surface or "-", each.model, "none")
            table.add_row(*row, *[""] * 5, _why_not(each))
    wide_console().print(table)


def _cells(kind: str, answer: Probe) -> list[str]:
    says = answer.fault or repr(answer.text[:40])
    if kind == "streamed" and not answer.fault:
        says = f"{says}, {answer.events} events, complete"
    cost = "unknown"
    if answer.cost_nano is not None:
        cost = f"${nano_to_usd(answer.cost_nano)} ({answer.cost_from})"
    usage = " ".join(f"{name} {number}" for name, number in (answer.usage or {}).items())
    times = (_ms(answer.first_byte_ms), _ms(answer.total_ms))
    return [str(answer.status or "-"), *times, usage or "none", cost, says]


def _why_not(found: Probed) -> str:
    if not found.surface:
        return "it has no path to be asked for a word"
    return "no model to ask for: name one with --model"


def _ms(figure: int | None) -> str:
    return "-" if figure is None else f"{figure} ms"
