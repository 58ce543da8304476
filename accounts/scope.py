"""Scopes: what a key may do. The list is closed; whoever names another one is told the known ones. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable

PROXY = "proxy.chat"
"""Every proxied path: chat, completions, embeddings, moderations and what else costs money at a provider."""
MODELS_READ = "models.read"
KEYS_WRITE = "keys.write"
METRICS_READ = "metrics.read"
ADMIN = "admin"
"""Stands for every scope."""

SCOPES = (
    PROXY,
    "usage.read",
    "usage.write",
    "billing.read",
    "billing.write",
    "customers.read",
    "customers.write",
    "events.read",
    "events.write",
    "recommendations.read",
    "alerts.read",
    "alerts.write",
    MODELS_READ,
    ADMIN,
    KEYS_WRITE,  # of its own, not a part of events.write: who reports events must not be able to make keys
    METRICS_READ,
)
DEFAULT_SCOPES = (PROXY, MODELS_READ)


def allows(held: Collection[str], scope: str) -> bool:
    """Whether a key with these scopes may do what needs this one."""
    return scope in held or ADMIN in held


def check_scopes(scopes: Iterable[str]) -> None:
    """Raise ValueError, naming all unknown scopes and the known ones, where some are not in the list."""
    unknown = sorted({scope for scope in scopes if scope not in SCOPES})
    if unknown:
        raise ValueError(f"unknown scopes: {', '.join(unknown)}; known: {', '.join(SCOPES)}")
