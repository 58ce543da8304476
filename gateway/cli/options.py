"""Options that many commands take, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

config_option = click.option(
    "--config", type=click.Path(path_type=Path), help="YAML file; default ./config.yaml if any."
)
data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Default: as configured, else ./data."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")


def place_options(command: Command) -> Command:
    """Which installation is meant: --config and --data-dir."""
    return config_option(data_dir_option(command))


def common_options(command: Command) -> Command:
    """--config, --data-dir and --json, as every command takes them that shows or changes an installation."""
    return place_options(json_option(command))
