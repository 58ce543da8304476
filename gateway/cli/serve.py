"""`tollkeeper serve`: start everything that belongs to one installation, and end it in order."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from gateway.cli.options import config_option
from gateway.cli.output import config_faults_told, fail
from gateway.serve.lock import DirectoryBusy
from gateway.serve.logs import configure_logs
from gateway.serve.supervisor import StartFailed, Supervisor
from gateway.serve.validation import complaints
from gateway.settings import ConfigError, Settings, load_settings

LEVELS = ("debug", "info", "warning", "error")


@click.command()
@config_option
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on; default 8787, 0 takes a free one.")
@click.option("--workers", type=int, help="Gateway processes; default one for each two cores.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept; default ./data.")
@click.option("--log-level", type=click.Choice(LEVELS), help="Default info.")
def serve(
    config: Path | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    data_dir: Path | None,
    log_level: str | None,
) -> None:
    """Serve the gateway: embedded Valkey, workers, recorder; the simulated provider where none is configured.

    Flags win over TOLLKEEPER_... environment variables, these over the configuration file.
    SIGTERM drains and stops; SIGHUP reads the configuration again.
    """
    flags = {
        "server.host": host,
        "server.port": port,
        "server.workers": workers,
        "server.data_dir": data_dir,
        "server.log_level": log_level,
    }

    def load() -> Settings:
        settings = load_settings(config, flags)
        if faults := complaints(settings):
            raise ConfigError(faults)
        return settings

    with config_faults_told():
        settings = load()
        configure_logs(settings.server.log_level)
        try:
            sys.exit(asyncio.run(Supervisor(settings, reload=load).run()))
        except (DirectoryBusy, StartFailed) as error:
            fail(f"tollkeeper serve: {error}")
