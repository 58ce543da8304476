"""The `tollkeeper` command: one module per command group, loaded only when it is called.

Importing every command at start would make `serve` pay for what `demo` needs, so the group maps a name
to the module that defines it (`module:function`) and imports that module on use.
"""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "serve": "gateway.cli.serve:serve",
    "simulate": "gateway.cli.simulate:simulate",
    "demo": "gateway.cli.demo:demo",
    "check-config": "gateway.cli.check_config:check_config",
    "keys": "gateway.cli.keys:keys",
    "limits": "gateway.cli.limits:limits",
    "features": "gateway.cli.features:features",
    "plans": "gateway.cli.plans:plans",
    "customers": "gateway.cli.customers:customers",
    "prices": "gateway.cli.prices:prices",
    "routes": "gateway.cli.routes:routes",
    "providers": "gateway.cli.providers:providers",
    "events": "gateway.cli.events:events",
    "adjust": "gateway.cli.adjust:adjust",
    "report": "gateway.cli.report:report",
    "export": "gateway.cli.export:export",
    "backup": "gateway.cli.backup:backup",
    "restore": "gateway.cli.restore:restore",
}


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = COMMANDS.get(cmd_name)
        if path is None:
            return None
        module, _, attribute = path.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tollkeeper")
def main() -> None:
    """Tollkeeper: an LLM gateway that knows what every customer and feature costs."""
