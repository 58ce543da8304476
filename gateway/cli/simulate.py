"""`tollkeeper simulate`: run the simulated provider in the foreground."""

from __future__ import annotations

import click

from simulator.process import run_simulator


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8788, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option(
    "--pace-ms", default=20.0, show_default=True, type=click.FloatRange(min=0), help="Time per token."
)
@click.option(
    "--first-ms", default=0.0, show_default=True, type=click.FloatRange(min=0), help="Time to answer."
)
@click.option(
    "--tokens", default=40, show_default=True, type=click.IntRange(min=0), help="Length of an answer."
)
@click.option("--bill-full-on-hangup", is_flag=True, help="Charge left answers as if they had been finished.")
def simulate(
    host: str, port: int, pace_ms: float, first_ms: float, tokens: int, bill_full_on_hangup: bool
) -> None:
    """Run a simulated provider that speaks the dialects of OpenAI, Anthropic, Google, Cohere and Amazon, and
    keeps its own bill.

    Misbehaviour is asked for in the last user message, such as [[simulate: status=429 retry_after=2]];
    `python -c "import simulator; help(simulator)"` lists all of it.
    """
    try:
        run_simulator(
            host=host,
            port=port,
            pace_ms=pace_ms,
            first_ms=first_ms,
            tokens=tokens,
            bill_full_on_hangup=bill_full_on_hangup,
            on_ready=_announce,
        )
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from None


def _announce(base_url: str) -> None:
    root = base_url.removesuffix("/v1")
    click.echo(f"Simulated provider at {base_url} (any key; not a real model). Try:\n")
    click.echo(f"curl -N {base_url}/chat/completions -H 'Authorization: Bearer sk-simulated' \\")
    click.echo("  -H 'Content-Type: application/json' \\")
    click.echo(
        '  -d \'{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello"}]}\'\n'
    )
    click.echo(f"Its bill: curl {root}/_simulator/bill")
