"""The table of all endpoints that the api process serves; each file of endpoints adds its own."""

from __future__ import annotations

from gateway.api.endpoint import Endpoint
from gateway.api.openapi import OPENAPI

ENDPOINTS: tuple[Endpoint, ...] = (OPENAPI,)
