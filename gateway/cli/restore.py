"""`tollkeeper restore`: an installation from what `tollkeeper backup` wrote."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.backup.manifest import BackupError
from gateway.backup.restoring import restore as put_back
from gateway.cli.moments import moment_text
from gateway.cli.options import place_options
from gateway.cli.output import config_faults_told, fail
from gateway.serve.logs import configure_logs
from gateway.settings import load_settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace what is there: files are moved aside, not removed.")
@place_options
def restore(file: Path, force: bool, config: Path | None, data_dir: Path | None) -> None:
    """Put the backup FILE into the data directory (and the configured Redis), where no server may run.

    The next start counts every limit anew from the restored record. A database on a PostgreSQL server is
    restored with that server's own tools, before this.
    """
    with config_faults_told():
        settings = load_settings(config, {"server.data_dir": data_dir})
    configure_logs("warning")
    try:
        done = put_back(settings, file, force=force)
    except BackupError as error:
        fail(f"tollkeeper restore: {error}")
    click.echo(f"Restored what was there on {moment_text(done.manifest.made_ms)} (UTC).")
    if done.replaced is not None:
        click.echo(f"What was there before is in {done.replaced}; remove it when you do not need it.")
