"""All endpoints of analytics and prices."""

from __future__ import annotations

from gateway.api.account import ACCOUNT
from gateway.api.breakdowns import BREAKDOWNS
from gateway.api.calculator import CALCULATOR
from gateway.api.endpoint import Endpoint
from gateway.api.models import MODELS
from gateway.api.overview import OVERVIEW
from gateway.api.pnl import PNL
from gateway.api.pricing import PRICING
from gateway.api.simulation import SIMULATION
from gateway.api.tokentypes import TOKEN_TYPES
from gateway.api.trends import TRENDS

ANALYTICS: tuple[Endpoint, ...] = (
    *OVERVIEW,
    *BREAKDOWNS,
    *PNL,
    *TRENDS,
    *MODELS,
    *ACCOUNT,
    *TOKEN_TYPES,
    *PRICING,
    *SIMULATION,
    *CALCULATOR,
)
