"""Who calls, for whom, and whether its key allows that: decided before anything costs money. Pure.

What the key is bound to comes first, then what the request says (gateway/attribution.py), then the key's
defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from accounts.key import KeyRecord, looks_valid
from accounts.scope import allows
from gateway.attribution import Headers, HeaderTable, missing, required_of
from gateway.errors import BadKey, BadRequest, Forbidden

if TYPE_CHECKING:
    from gateway.forwarding.candidates import Candidate
    from routing.target import Target


def credential(found: Headers) -> str:
    """The key that was sent, if it can be one at all: a wrong checksum needs no look-up."""
    if not found.credential:
        raise BadKey()
    if not looks_valid(found.credential):
        raise BadKey("Incorrect API key provided: it is not a Tollkeeper key (obs_...).")
    return found.credential


class Caller(NamedTuple):
    """For whom one request is made, as the key and the headers settle it."""

    key: KeyRecord
    customer: str | None
    feature: str | None


def attribute(key: KeyRecord, found: Headers, table: HeaderTable, body: Mapping[str, Any]) -> Caller:
    """Whom this request is for; Forbidden where the key may not speak for them.

    Adds to `found` what the key's sources beside the headers say.
    """
    if key.sources or found.elsewhere:
        table.read_elsewhere(found, key.sources, body, bound=_bound(key))
    customer = _settle("customer", key.customer, found.customer, key, key.customers, key.default_customer)
    feature = _settle("feature", key.feature, found.feature, key, key.features, key.default_feature)
    if table.required or key.required:
        _require(key, found, table, {"customer": customer, "feature": feature})
    return Caller(key, customer, feature)


def _bound(key: KeyRecord) -> list[str]:
    bindings = (("customer", key.customer), ("feature", key.feature))
    return [noun for noun, bound in bindings if bound is not None]


def _settle(
    noun: str,
    bound: str | None,
    asserted: str | None,
    key: KeyRecord,
    listed: tuple[str, ...],
    default: str | None,
) -> str | None:
    if bound is not None:
        if asserted not in (None, bound):
            raise Forbidden(
                f"This key is bound to another {noun}; it cannot speak for {asserted!r}.",
                code=f"{noun}_not_allowed",
                param=f"Observe-{noun.capitalize()}",
            )
        return bound
    if asserted is None:
        return default
    if key.assertion == "any" or (key.assertion == "listed" and asserted in listed):
        return asserted
    raise Forbidden(
        f"This key may not speak for the {noun} {asserted!r}.",
        code=f"{noun}_not_allowed",
        param=f"Observe-{noun.capitalize()}",
    )


def _require(key: KeyRecord, found: Headers, table: HeaderTable, settled: Mapping[str, str | None]) -> None:
    """BadRequest, naming the header, where attribution that must be told is not; a default tells it too."""
    for required in (table.required, required_of(key.required)):
        wanted = [each for each in required if settled.get(each[0]) is None]
        header = missing(found, wanted)
        if header is not None:
            raise BadRequest(
                f"The header {header} is required here: it says for whom the request is made.",
                param=header,
                code="missing_required_header",
            )


def require_scope(key: KeyRecord, scope: str) -> None:
    """Forbidden unless the key has the scope."""
    if not allows(key.scopes, scope):
        raise Forbidden(f"This key lacks the scope {scope!r}.", code="insufficient_scope")


def may_ask_for(key: KeyRecord, name: str) -> bool:
    """Whether the key may name this route or model; one without a list may name any."""
    return not key.routes or fits(name, key.routes)


def require_route(key: KeyRecord, name: str) -> None:
    """Forbidden where the key may not ask for this route or model."""
    if not may_ask_for(key, name):
        raise Forbidden(f"This key may not ask for `{name}`.", code="model_not_allowed", param="model")


def may_be_served(key: KeyRecord, targets: Iterable[Target]) -> bool:
    """Whether some of these targets may serve this key; one without a list may have any."""
    return not key.models or any(may_serve(key, target) for target in targets)


def require_target(key: KeyRecord, name: str, targets: Iterable[Target]) -> None:
    """Forbidden where none of the targets, those behind the name that speak the caller's dialect, may serve
    this key."""
    if not may_be_served(key, targets):
        raise _no_model(name)


def allowed_targets(key: KeyRecord, name: str, found: list[Candidate]) -> list[Candidate]:
    """The candidates that may serve this key; Forbidden where it is none of them."""
    if not key.models:
        return found
    allowed = [each for each in found if may_serve(key, each.target)]
    if not allowed:
        raise _no_model(name)
    return allowed


def _no_model(name: str) -> Forbidden:
    said = f"This key may not use the models behind `{name}` that could serve this request."
    return Forbidden(said, code="model_not_allowed", param="model")


def may_serve(key: KeyRecord, target: Target) -> bool:
    """Whether this target may serve the key."""
    if not key.models:
        return True
    return fits(target.model, key.models) or fits(f"{target.provider}/{target.model}", key.models)


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether the name is one of these, or begins like one that ends with a `*`."""
    exact, prefixes = _sorted_out(patterns)
    return name in exact or name.startswith(prefixes)


@lru_cache(maxsize=4_096)
def _sorted_out(patterns: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Once for each list of a key: the names, and what is before the star of the others."""
    return (
        frozenset(each for each in patterns if not each.endswith("*")),
        tuple(each[:-1] for each in patterns if each.endswith("*")),
    )
