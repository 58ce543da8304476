"""`tollkeeper demo`: a minute of mixed traffic through a whole installation, and its bill."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway.demo.display import open_console
from gateway.demo.session import DemoFailed, Wish, run_demo


@click.command()
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(1, 600),
    help="How long requests are sent.",
)
@click.option(
    "--rate", default=12.0, show_default=True, type=click.FloatRange(0.5, 100), help="Requests a second."
)
@click.option("--seed", default=7, show_default=True, help="The same seed plans the same requests.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the data there, to look at it afterwards; default: a temporary directory, removed at the end.",
)
def demo(seconds: float, rate: float, seed: int, data_dir: Path | None) -> None:
    """Send mixed traffic of four customers, and compare what it cost with the provider's own bill.

    Starts `tollkeeper serve` with the simulated provider on free ports of this machine, and ends it again.
    Clients hang up, the provider fails, and one customer's budget is too small. At the end every cost event
    stands beside the provider's own bill, and what each customer earned beside what it cost. Exit code 1 when
    anything disagrees.
    """
    console = open_console()
    try:
        code = run_demo(Wish(seconds, rate, seed, data_dir), console)
    except DemoFailed as error:
        raise click.ClickException(str(error)) from None
    if data_dir is not None:
        click.echo(f"\nThe data is kept. Look at it with:\n\n  tollkeeper report --data-dir {data_dir}")
        click.echo(f"  tollkeeper events tail --data-dir {data_dir}")
    sys.exit(code)
