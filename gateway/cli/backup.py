"""`tollkeeper backup`: the whole installation in one file, also while it serves."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.backup.making import make_backup
from gateway.backup.manifest import BackupError
from gateway.cli.options import place_options
from gateway.cli.output import config_faults_told, fail
from gateway.serve.logs import configure_logs
from gateway.settings import load_settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE where it exists.")
@place_options
def backup(file: Path, force: bool, config: Path | None, data_dir: Path | None) -> None:
    """Write keys, limits, plans, customers, events and the ledger's state to FILE (a .tar.gz).

    A running server goes on serving. The configuration file is not in it, and FILE is as secret as the data
    directory. A database on a PostgreSQL server is backed up with that server's own tools, after this.
    """
    if file.exists() and not force:
        fail(f"{file} exists already; choose another name, or replace it with --force")
    with config_faults_told():
        settings = load_settings(config, {"server.data_dir": data_dir})
    configure_logs("warning")
    try:
        manifest = make_backup(settings, file)
    except BackupError as error:
        fail(f"tollkeeper backup: {error}")
    size = file.stat().st_size
    click.echo(
        f"{file}: {size:,} bytes; schema {manifest.schema}, {manifest.ledger_keys:,} keys of the ledger, "
        f"{manifest.ledger_entries:,} entries on the way"
    )
    if manifest.database == "postgresql":
        click.echo(
            "The database is on a server and not in this file. Back it up now, after this and not before, "
            "with its own tools (pg_dump --format=custom): what was on the way is in one of the two then.",
            err=True,
        )
