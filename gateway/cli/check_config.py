"""`tollkeeper check-config`: say everything that is wrong with a configuration, without starting anything."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.output import fail
from gateway.serve.validation import complaints, remarks
from gateway.settings import ConfigError, load_settings


@click.command("check-config")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="The same as PATH.")
def check_config(path: Path | None, config: Path | None) -> None:
    """Read the configuration as `serve` would (PATH, default ./config.yaml, and the environment).

    Prints "ok", or every complaint at once with exit code 1.
    """
    try:
        settings = load_settings(path or config)
        found = complaints(settings)
    except ConfigError as error:
        found = error.complaints
    else:
        for remark in remarks(settings):
            click.echo(f"note: {remark}", err=True)
    if found:
        fail(*found)
    click.echo("ok")
