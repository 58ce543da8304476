"""POST /api/signup: a stranger gets a key, where the operator allows it.

Off by default. Each signup makes an account of its own, so that nobody reads what is another's; whoever gives
an address of mail has not shown that it is theirs, so it opens no account that is there. The key has only
scopes that anybody may have, and a budget and an end, whatever is asked for.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from accounts.publishing import ACCOUNT, wall_ms
from accounts.scope import MODELS_READ, PROXY
from accounts.tables import new_id
from accounts.terms import NewLimit
from budgets.names import names_of
from gateway.api.amounts import CENT_NANO
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Asked, MomentText, Told, moment_text
from gateway.api.keymodels import Cents, ExpiresIn
from gateway.api.refusing import refusals
from gateway.errors import BadRequest, NotFound, RateLimited

SELF_GRANTABLE = (
    PROXY,
    "usage.read",
    "billing.read",
    "customers.read",
    "events.read",
    "recommendations.read",
    "alerts.read",
    MODELS_READ,
)
"""What anybody may have: nothing by which something is changed."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_TAKE = """
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local span_ms, most = tonumber(ARGV[1]), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms - span_ms)
if redis.call('ZCARD', KEYS[1]) >= most then
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return tonumber(oldest[2]) + span_ms - now_ms
end
redis.call('ZADD', KEYS[1], now_ms, ARGV[3])
redis.call('PEXPIRE', KEYS[1], span_ms)
return 0
"""
"""0: taken; else milliseconds until the next may be. In Redis: it holds over restarts and on all nodes."""


class SignupAsked(Asked):
    """Whose key, and what it shall be; budget and end are at most what the operator allows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"email": "ada@example.com", "scopes": ["usage.read", "billing.read"], "budget_cents": 50}
            ]
        }
    )

    email: Annotated[str, Field(min_length=3, max_length=128, pattern=r"^[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+$")]
    scopes: Annotated[
        list[str],
        Field(min_length=1, max_length=32, default_factory=lambda: ["usage.read", "billing.read"]),
    ]
    budget_cents: Cents | None = None
    budget_period: Annotated[
        Literal["day", "month"] | None, Field(description="null: for the key's whole life")
    ] = None
    expires_in_seconds: ExpiresIn | None = None


class SignedUp(Told):
    """The key, told only here, and what it is."""

    key: str
    id: str
    account_id: str
    scopes: list[str]
    budget_cents: int
    budget_period: str | None
    budget_lifetime_cents: int = Field(description="What it may spend in its whole life")
    expires_at: MomentText


def sign_up(call: Call) -> SignedUp:
    """Make an account and its key."""
    asked: SignupAsked = call.body
    settings = call.parts.settings.signup
    if not settings.enabled:
        raise NotFound("This gateway has no signup.", code="signup_disabled")
    strange = [scope for scope in asked.scopes if scope not in SELF_GRANTABLE]
    if strange:
        raise BadRequest(
            f"scopes: {', '.join(strange[:5])}: not to be had by signup; to be had: "
            f"{', '.join(SELF_GRANTABLE)}.",
            param="scopes",
            code="scope_not_grantable",
        )
    address = address_of(call.address, call.headers.get("x-forwarded-for", ""), settings.trusted_proxies)
    _take_turn(call, address, settings.per_hour)
    most = settings.budget_cents_max
    cents = most if asked.budget_cents is None else min(asked.budget_cents, most)
    longest_ms = settings.expires_days_max * DAY_MS
    lives_ms = longest_ms
    if asked.expires_in_seconds is not None:
        lives_ms = min(asked.expires_in_seconds * 1_000, longest_ms)
    limits = [NewLimit("lifetime", (most if asked.budget_period else cents) * CENT_NANO)]
    if asked.budget_period is not None:
        limits.append(NewLimit(asked.budget_period, cents * CENT_NANO))
    with refusals():
        secret, record = call.parts.keyring.create(
            asked.email,
            account_id=new_id("acc_"),
            scopes=list(dict.fromkeys(asked.scopes)),
            expires_ms=wall_ms() + lives_ms,
            assertion="any",
            limits=limits,
        )
    return SignedUp(
        key=secret,
        id=record.id,
        account_id=record.account_id,
        scopes=list(record.scopes),
        budget_cents=cents,
        budget_period=asked.budget_period,
        budget_lifetime_cents=limits[0].value // CENT_NANO,
        expires_at=str(moment_text(record.expires_ms)),
    )


def address_of(connected: str, forwarded: str, trusted: list[str]) -> str:
    """Who asks: whom the connection comes from, or, where that is a proxy of ours, the last one that our
    proxies name and that is none of them. Of IPv6 its /64, which is what one customer of a provider has."""
    networks = [ip_network(each, strict=False) for each in trusted]
    chain = [part.strip() for part in forwarded.split(",")] if networks else []
    found = connected
    while chain and any(_inside(found, network) for network in networks):
        found = chain.pop()
    try:
        address = ip_address(found)
    except ValueError:
        return connected or "unknown"  # a proxy of ours wrote what is no address
    if address.version == 6:
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ip_network((address, 64), strict=False))
    return str(address)


def _inside(text: str, network: Any) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return address.version == network.version and address in network


def _take_turn(call: Call, address: str, per_hour: int) -> None:
    """RateLimited where this address had all of its turns in the last hour."""
    client: Any = call.parts.redis
    name = f"{names_of(ACCOUNT).base}signup:{address}"
    wait_ms = int(client.eval(_TAKE, 1, name, HOUR_MS, per_hour, call.request_id))
    if wait_ms > 0:
        raise RateLimited(
            f"{per_hour} keys in an hour are made for one address; try again later.",
            code="signup_rate_limited",
            retry_after_s=-(-wait_ms // 1_000),
        )


SIGNUP = (
    Endpoint(
        method="POST",
        path="/api/signup",
        scope=None,
        summary="A key of an account of one's own, where the operator allows it",
        description="Off by default. The key is told only here. Budget and end are capped by the operator.",
        tag="keys",
        handler=sign_up,
        body=SignupAsked,
        answer=SignedUp,
        status=201,
        refusals={404: "This gateway has no signup", 429: "This address had its keys for this hour"},
        writes=True,
    ),
)
