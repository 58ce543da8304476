"""What plans and customers pay, as people read and write it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from accounts.planprice import FeatureRate, PlanPrice, Tier, unit_pico
from accounts.subscription import PPM, Deal
from gateway.cli.terms import read_usd
from metering.money import nano_to_usd, pico_to_usd

FORM = (
    "write FEATURE=included, FEATURE=usage:2.00/1000000, FEATURE=graduated:1000=0.02,*=0.01+5.00 "
    "or FEATURE=package:1000=5.00"
)
_PERCENT = PPM // 100


def read_rate(text: str) -> FeatureRate:
    """`search=usage:2.00/1000000`, `write=graduated:1000=0.02,*=0.01+5.00`, `read=package:1000=5.00`,
    `notes=included`. ValueError says what is wrong."""
    feature, equals, rest = text.partition("=")
    model, _, terms = rest.partition(":")
    if not equals or not feature:
        raise ValueError(f"{text!r}: {FORM}")
    try:
        if model == "included" and not terms:
            return FeatureRate(feature)
        if model == "usage":
            return FeatureRate(feature, model, read_unit_price(terms))
        if model == "graduated":
            return FeatureRate(feature, model, tiers=tuple(map(_read_tier, terms.split(","))))
        if model == "package":
            size, equals, price = terms.partition("=")
            if equals:
                return FeatureRate(
                    feature, model, package_units=_read_count(size), package_nano=read_usd(price)
                )
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    raise ValueError(f"{text!r}: {FORM}")


def read_unit_price(text: str) -> int:
    """`0.000002`, or `2.00/1000000` for so many units, as pico-USD for one. ValueError says what is wrong."""
    usd, slash, per = text.strip().removeprefix("$").partition("/")
    return unit_pico(usd.strip(), _read_count(per) if slash else 1)


def read_discount(text: str) -> int:
    """`12.5` or `12.5%` as millionths. ValueError says what is wrong."""
    try:
        scaled = Decimal(text.strip().removesuffix("%").strip()) * _PERCENT
    except InvalidOperation:
        raise ValueError(f"discount {text!r}: write a percentage, such as 12.5") from None
    if not scaled.is_finite() or not 0 <= scaled <= PPM:
        raise ValueError(f"discount {text!r}: write a percentage from 0 to 100")
    if scaled != int(scaled):
        raise ValueError(f"discount {text!r}: at most four places after the point")
    return int(scaled)


def unit_price_text(pico: int) -> str:
    """`$2.00 for 1000000`, `$0.02`: for so many units that it is easily read."""
    for per in (1, 1_000_000):
        shown = pico_to_usd(pico * per)
        if len(shown.partition(".")[2]) <= 4:
            return f"${shown}" if per == 1 else f"${shown} for {per}"
    return f"${pico_to_usd(pico)}"


def price_text(price: PlanPrice) -> str:
    """`$29.00 a month`, `$290.00 for 12 months, in arrears`."""
    span = " a month" if price.interval_months == 1 else f" for {price.interval_months} months"
    return f"${nano_to_usd(price.flat_nano)}{span}{', in arrears' if price.timing == 'in_arrears' else ''}"


def rate_text(rate: FeatureRate) -> str:
    """`search: $2.00 for 1000000`, `write: $0.02 up to 1000, then $0.01 and $5.00 once`."""
    if rate.model == "usage":
        terms = unit_price_text(rate.price_pico)
    elif rate.model == "package":
        terms = f"${nano_to_usd(rate.package_nano)} for each {rate.package_units}"
    elif rate.model == "graduated":
        terms = ", then ".join(map(_tier_text, rate.tiers))
    else:
        terms = "included"
    return f"{rate.feature}: {terms}"


def deal_text(deal: Deal) -> str:
    """`12 times $20.00, 10 % off`; empty where all is as in the plan."""
    parts = []
    if deal.price_nano is not None or deal.quantity != 1:
        price = "the price" if deal.price_nano is None else f"${nano_to_usd(deal.price_nano)}"
        parts.append(price if deal.quantity == 1 else f"{deal.quantity} times {price}")
    if deal.discount_ppm:
        parts.append(f"{percent_text(deal.discount_ppm)} % off")
    return ", ".join(parts)


def percent_text(ppm: int) -> str:
    """`12.5`."""
    return f"{(Decimal(ppm) / _PERCENT).normalize():f}"


def price_document(price: PlanPrice) -> dict[str, Any]:
    """A plan's price as a JSON document."""
    return {
        "price_usd": nano_to_usd(price.flat_nano),
        "price_nano": str(price.flat_nano),
        "currency": price.currency,
        "interval_months": price.interval_months,
        "billing": price.timing,
        "rates": [_rate_document(rate) for rate in price.rates],
    }


def deal_document(deal: Deal) -> dict[str, Any]:
    """What a customer pays otherwise than its plan says, as a JSON document."""
    return {
        "price_usd": None if deal.price_nano is None else nano_to_usd(deal.price_nano),
        "price_nano": None if deal.price_nano is None else str(deal.price_nano),
        "quantity": deal.quantity,
        "discount_percent": percent_text(deal.discount_ppm),
    }


def _rate_document(rate: FeatureRate) -> dict[str, Any]:
    document: dict[str, Any] = {"feature": rate.feature, "model": rate.model}
    if rate.model == "usage":
        document |= _unit_price(rate.price_pico)
    if rate.model == "package":
        document |= {
            "package_size": rate.package_units,
            "price_usd": nano_to_usd(rate.package_nano),
            "price_nano": str(rate.package_nano),
        }
    if rate.model == "graduated":
        document["tiers"] = [
            {
                "up_to": tier.up_to,
                **_unit_price(tier.price_pico),
                "flat_fee_usd": nano_to_usd(tier.flat_nano),
                "flat_fee_nano": str(tier.flat_nano),
            }
            for tier in rate.tiers
        ]
    return document


def _unit_price(pico: int) -> dict[str, Any]:
    return {"price_per_unit_usd": pico_to_usd(pico), "price_per_unit_pico": str(pico)}


def _read_tier(text: str) -> Tier:
    end, equals, rest = text.partition("=")
    if not equals:
        raise ValueError(FORM)
    price, plus, flat = rest.partition("+")
    return Tier(
        None if end.strip() == "*" else _read_count(end),
        read_unit_price(price),
        read_usd(flat) if plus else 0,
    )


def _tier_text(tier: Tier) -> str:
    end = "" if tier.up_to is None else f" up to {tier.up_to}"
    flat = f" and ${nano_to_usd(tier.flat_nano)} once" if tier.flat_nano else ""
    return f"{unit_price_text(tier.price_pico)}{end}{flat}"


def _read_count(text: str) -> int:
    plain = text.strip().replace("_", "")
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 16):
        raise ValueError(f"{text!r} is no number of units, such as 1000")
    return int(plain)
