"""Money as integers: nano-USD for amounts, pico-USD for prices. No float comes near it.

One dollar is 10**9 nano-USD and 10**12 pico-USD. A price of $0.15 per million tokens is 150,000 pico-USD per
token, so every published price is a whole number; an amount is rounded once, half to even for a cost and up
for a ceiling.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

NANO_PER_USD = 10**9
PICO_PER_NANO = 1000
PICO_PER_USD = 10**12

# Redis' Lua compares doubles, which are exact up to here: about $9.0 M. Nothing larger is a budget.
NANO_MAX = 2**53 - 1
# Far beyond any amount, and far below where Decimal would need a larger context or an hour to multiply out.
_EXPONENT_MAX = 30


def usd_to_nano(text: str | int | Decimal) -> int:
    """Dollars as nano-USD, exactly.

    Raises ValueError where the text is no plain number, or is finer than a nano-dollar.
    """
    return _scaled(text, 9, "a nano-dollar ($0.000000001)")


def usd_to_pico(text: str | int | Decimal) -> int:
    """Dollars as pico-USD, exactly. Raises ValueError as `usd_to_nano` does, for what is finer."""
    return _scaled(text, 12, "a pico-dollar (10^-12 $)")


def nano_to_usd(nano: int) -> str:
    """Plain decimal dollars, at least two places, no exponent: 150_000 -> "0.00015", 10**9 -> "1.00"."""
    return _plain(nano, 9)


def pico_to_usd(pico: int) -> str:
    """Like `nano_to_usd`, for a price."""
    return _plain(pico, 12)


def half_even(numerator: int, denominator: int) -> int:
    """numerator / denominator (> 0) as the nearest integer; a tie goes to the even one."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def pico_to_nano_half_even(pico: int) -> int:
    """The nearest nano-USD; a tie goes to the even one. For the cost of an attempt."""
    return half_even(pico, PICO_PER_NANO)


def pico_to_nano_up(pico: int) -> int:
    """The next whole nano-USD at or above. For ceilings and holds."""
    return -(-pico // PICO_PER_NANO)


def _scaled(text: str | int | Decimal, places: int, finest: str) -> int:
    # bool is an int, and a float has already lost its digits: both are mistakes that type hints do not stop.
    if isinstance(text, bool) or not isinstance(text, (str, int, Decimal)):
        raise ValueError(f"expected dollars as a decimal text, found {type(text).__name__} {text!r}")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"expected dollars as a plain decimal such as 0.15, found {text!r}") from None
    if not value.is_finite():
        raise ValueError(f"expected a finite amount of dollars, found {text!r}")
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if abs(exponent) > _EXPONENT_MAX or len(digits) > _EXPONENT_MAX:
        raise ValueError(f"{str(text)[:60]} has more digits than an amount of dollars can have")
    whole = int("".join(map(str, digits)))
    shift = places + exponent
    if shift >= 0:
        scaled = whole * int(10**shift)
    else:
        scaled, rest = divmod(whole, int(10**-shift))
        if rest:
            raise ValueError(f"{text} is finer than {finest}")
    return -scaled if sign else scaled


def _plain(amount: int, places: int) -> str:
    if amount < 0:
        return "-" + _plain(-amount, places)
    digits = str(amount).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places : 2 - places]}{digits[2 - places :].rstrip('0')}"
