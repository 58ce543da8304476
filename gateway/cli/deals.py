"""`tollkeeper customers deal`: what a customer pays otherwise than its plan says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from accounts.subscription import QUANTITY_MAX, Deal
from gateway.cli.control import open_control
from gateway.cli.options import common_options
from gateway.cli.output import show_json
from gateway.cli.price_lines import deal_document, deal_text, read_discount
from gateway.cli.terms import read_usd

Command = TypeVar("Command", bound=Callable[..., Any])

_price = click.option("--price", metavar="USD", help="For each period, instead of the plan's.")
_quantity = click.option(
    "--quantity", default=1, show_default=True, type=click.IntRange(1, QUANTITY_MAX), help="Times the price."
)
_discount = click.option("--discount", metavar="PERCENT", help="Off the price; usage is charged in full.")


def deal_options(command: Command) -> Command:
    """--price, --quantity and --discount."""
    return _price(_quantity(_discount(command)))


def read_deal(price: str | None, quantity: int, discount: str | None) -> Deal:
    """What these options say. ValueError says what is wrong."""
    return Deal(
        None if price is None else read_usd(price),
        quantity,
        0 if discount is None else read_discount(discount),
    )


@click.command()
@click.argument("customer")
@deal_options
@common_options
def deal(
    customer: str,
    price: str | None,
    quantity: int,
    discount: str | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Set all that CUSTOMER pays otherwise than its plan, from now on; without options, nothing any more."""
    with open_control(config, data_dir) as control:
        agreed = read_deal(price, quantity, discount)
        made = control.customerbook.agree(customer, agreed)
        if as_json:
            show_json({"customer": customer, **made.to_fields(), "deal": deal_document(agreed)})
        else:
            click.echo(f"{customer} pays {deal_text(agreed) or 'what its plan says'} from now on.")
