"""Wire formats: what a client's request means, and what a provider's answer says.

A dialect tells errors, divides streams and finds what its answers say beside their usage (`Dialect`); a
surface is a place where clients speak it (`Surface`, listed in `surfaces`). The other files each read one
kind of request into an `Exchange`, which also writes the body that is forwarded. Deciding code only: no I/O.
"""

from __future__ import annotations

from gateway.dialects.exchange import Exchange
from gateway.dialects.surface import Surface
from gateway.dialects.surfaces import SURFACES

__all__ = ["SURFACES", "Exchange", "Surface"]
