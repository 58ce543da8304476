"""The table of all endpoints; each file of endpoints adds its own."""

from __future__ import annotations

from gateway.api.analytics import ANALYTICS
from gateway.api.clientcustomers import CLIENT_CUSTOMERS
from gateway.api.clientsubscriptions import CLIENT_SUBSCRIPTIONS
from gateway.api.clientusage import CLIENT_USAGE
from gateway.api.customers import CUSTOMERS
from gateway.api.deals import DEALS
from gateway.api.endpoint import Endpoint
from gateway.api.entitlementtable import ENTITLEMENTS
from gateway.api.events import EVENTS
from gateway.api.export import EXPORT
from gateway.api.featureprices import FEATURE_PRICES
from gateway.api.features import FEATURES
from gateway.api.groupings import GROUPINGS
from gateway.api.ingest import INGEST
from gateway.api.keys import KEYS
from gateway.api.limits import LIMITS
from gateway.api.openapi import OPENAPI
from gateway.api.plans import PLANS
from gateway.api.signup import SIGNUP
from gateway.api.subscriptions import SUBSCRIPTIONS
from gateway.api.tasks import TASKS
from gateway.api.traces import TRACES
from gateway.api.workspaces import WORKSPACES

ENDPOINTS: tuple[Endpoint, ...] = (
    OPENAPI,
    *EVENTS,
    *EXPORT,
    *GROUPINGS,
    *TRACES,
    *TASKS,
    *ANALYTICS,
    *INGEST,
    *KEYS,
    *SIGNUP,
    *LIMITS,
    *CUSTOMERS,
    *WORKSPACES,
    *CLIENT_CUSTOMERS,
    *CLIENT_USAGE,
    *FEATURES,
    *FEATURE_PRICES,
    *PLANS,
    *SUBSCRIPTIONS,
    *CLIENT_SUBSCRIPTIONS,
    *DEALS,
)
"""What the api process serves."""
TOLD: tuple[Endpoint, ...] = (*ENDPOINTS, *ENTITLEMENTS)
"""All that is served below /api, what workers answer themselves included."""
