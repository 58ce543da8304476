"""What the demo shows: progress while it runs, tables and verdicts at its end."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from budgets.usage import LimitUsage
from gateway.demo.closing import Section, Verdict
from gateway.demo.drive import Tally
from gateway.demo.keys import DemoKey
from metering.money import NANO_PER_USD
from reports.layout import text

REFRESH_S = 0.25
LINE_EVERY_S = 5.0
"""Where the output is no terminal."""
Budgets = Callable[[], Sequence[LimitUsage]]


class Display:
    """Progress of one run of `seconds`. On a terminal a table in place, elsewhere a line now and then."""

    def __init__(self, tally: Tally, keys: Sequence[DemoKey], read: Budgets, seconds: float) -> None:
        self._tally = tally
        self._keys = keys
        self._read = read
        self._seconds = seconds
        self._started = time.monotonic()

    async def show(self, console: Console) -> None:
        """Show progress until cancelled."""
        if not console.is_terminal:
            while True:
                await asyncio.sleep(LINE_EVERY_S)
                console.print(self._line(await asyncio.to_thread(self._read)), soft_wrap=True)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(self._picture(await asyncio.to_thread(self._read)), refresh=True)
                await asyncio.sleep(REFRESH_S)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def _facts(self, budgets: Sequence[LimitUsage]) -> str:
        tally, elapsed_s = self._tally, self._elapsed_s
        return (
            f"{min(elapsed_s, self._seconds):.0f} of {self._seconds:.0f} s   {tally.sent:,} sent, "
            f"{tally.sent / max(min(elapsed_s, self._seconds), 0.001):.1f} requests/s   "
            f"{tally.running} running   ${_usd(sum(each.spent for each in budgets))} spent"
        )

    def _line(self, budgets: Sequence[LimitUsage]) -> str:
        spent = "  ".join(
            f"{key.customer} ${_usd(budget.spent)}" for key, budget in zip(self._keys, budgets, strict=True)
        )
        refused = sum(self._tally.refused.values())
        return f"{self._facts(budgets)}   {spent}   {refused} refused by a budget"

    def _picture(self, budgets: Sequence[LimitUsage]) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for head in ("customer", "ended", "spent", "held", "in doubt", "budget", ""):
            table.add_column(head, justify="left" if head == "customer" else "right")
        table.add_column("refused", justify="right")
        for key, budget in zip(self._keys, budgets, strict=True):
            refused = self._tally.refused[key.customer]
            used = budget.value - budget.remaining
            table.add_row(
                key.customer,
                f"{self._tally.finished[key.customer]:,}",
                f"${_usd(budget.spent)}",
                f"${_usd(budget.reserved)}",
                f"${_usd(budget.doubted)}",
                f"${_usd(budget.value)}",
                ProgressBar(total=budget.value, completed=used, width=12),
                Text(f"{refused:,}", "yellow" if refused else "dim"),
            )
        bar = ProgressBar(total=self._seconds, completed=min(self._elapsed_s, self._seconds), width=60)
        return Group(Text(self._facts(budgets), "bold"), bar, Text(), table)


@asynccontextmanager
async def shown(display: Display, console: Console) -> AsyncIterator[None]:
    """Show progress for the length of a `with`. A fault of reading the budgets is raised at its end."""
    task = asyncio.create_task(display.show(console), name="display")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def print_section(console: Console, section: Section) -> None:
    """A table: ruled on a terminal that is wide enough, as plain aligned lines elsewhere."""
    plain = _plain(section)
    width = max(map(len, plain.splitlines())) + len(section.columns)
    if not console.is_terminal or width > console.width:
        console.print(f"\n{section.title}\n\n{plain}", markup=False, soft_wrap=True)
        return
    table = Table(
        title=section.title,
        title_justify="left",
        title_style="bold",
        show_edge=False,
        show_footer=section.total,
    )
    for column in section.columns:
        footer = Text(column.cells[-1]) if section.total else ""
        justify = "right" if column.right else "left"
        table.add_column(column.head, footer, justify=justify, no_wrap=column.right)  # type: ignore[arg-type]
    count = len(section.columns[0].cells) - section.total
    for number in range(count):
        table.add_row(*(Text(column.cells[number]) for column in section.columns))
    console.print()
    console.print(table)


def print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """One line for each thing that must hold."""
    console.print()
    for verdict in verdicts:
        word, style = ("ok    ", "green") if verdict.holds else ("WRONG ", "bold red")
        console.print(Text.assemble((word, style), verdict.text), soft_wrap=not console.is_terminal)


def open_console() -> Console:
    """The terminal, or whatever standard output is."""
    return Console(file=sys.stdout, highlight=False)


def _plain(section: Section) -> str:
    if section.total:
        return text(section.columns)
    lines = text(section.columns).splitlines()
    rule = lines.pop(-2)  # nothing is summed up, so nothing is ruled off
    assert set(rule) <= {"-", " "}
    return "\n".join(lines)


def _usd(nano: int) -> str:
    """Dollars with four places, for a glance."""
    return f"{nano // (NANO_PER_USD // 10_000) / 10_000:.4f}"
