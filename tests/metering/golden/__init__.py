"""Golden vectors: dollar amounts that others published for a usage at given rates, to the nano-dollar.

They are those of issue reports, provider invoices and other projects' tests, each with its source; the rates
are the ones written there, and the dollars were worked out by hand from them.
"""

from __future__ import annotations

from tests.metering.golden.thresholds import THRESHOLDS
from tests.metering.golden.tiers import TIERS
from tests.metering.golden.units import UNITS
from tests.metering.golden.vector import Vector

VECTORS: dict[int, Vector] = dict(sorted({**UNITS, **TIERS, **THRESHOLDS}.items()))
