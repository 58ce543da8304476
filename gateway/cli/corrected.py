"""How commands show an event's figures after its corrections."""

from __future__ import annotations

from metering.adjustment import Corrected
from metering.money import nano_to_usd


def figures(of: Corrected) -> dict[str, str | None]:
    """The figures for JSON: decimal dollars, and whole nano-dollars as text."""
    amounts = {
        "cost": of.cost_nano,
        "known": of.known_nano,
        "doubted": of.doubted_nano,
        "unknown": of.unknown_nano,
    }
    shown: dict[str, str | None] = {}
    for name, nano in amounts.items():
        shown[f"{name}_usd"] = None if nano is None else nano_to_usd(nano)
        shown[f"{name}_nano"] = None if nano is None else str(nano)
    return shown


def cost_text(of: Corrected) -> str:
    """`$0.0123`; what is not known is said to be."""
    if of.cost_nano is None:
        return "unknown" + (f", at least ${nano_to_usd(of.known_nano)}" if of.known_nano else "")
    return f"${nano_to_usd(of.cost_nano)}"
