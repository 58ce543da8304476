"""Features: the parts of the product that make requests, with what they cost, and their prices.

GET   /api/features               a page of them: recorded ones, and those that requests have named
POST  /api/features               record one
GET   /api/features/{feature}     one
PATCH /api/features/{feature}     its name; or switch it off for everybody
GET   /api/v1/client/features     the same for applications, without figures
GET   /api/v1/client/features/{feature}
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from accounts.feature import Feature
from gateway.api.answers import Conflict
from gateway.api.charges import charges_in
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import (
    Asked,
    Label,
    MomentText,
    Name,
    Nano,
    Paged,
    Told,
    ToldCamel,
    Usd,
    moment_text,
)
from gateway.api.figures import Percent
from gateway.api.groupfigures import FiguresAsked, GroupFigures, figures_of, figures_span, named_in_events
from gateway.api.refusing import name_after, page_of, refusals
from gateway.api.spans import Span
from gateway.errors import BadRequest, NotFound

TAG = "features"
READ, WRITE = "usage.read", "usage.write"


class FeaturesAsked(Paged, FiguresAsked):
    """A part of the list, by key."""


class NewFeature(Asked):
    """A feature to be recorded."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"feature_key": "search", "name": "Product search"}]}
    )

    feature_key: Name
    name: Label = ""
    enabled: Annotated[bool, Field(description="false: nobody may use it, whatever their plan says")] = True


class FeatureChange(Asked):
    """What is not told stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Search"}]})

    name: Label | None = None
    enabled: bool | None = None


class FeatureTold(Told):
    """A feature, and figures of its requests in a span of time."""

    feature_key: str
    name: str
    enabled: bool
    recorded: bool = Field(description="false: requests name it, and nobody has recorded it")
    date_from: MomentText
    date_to: MomentText
    event_count: int
    customer_count: int
    total_cost: Usd | None
    total_cost_nano: Nano | None
    avg_cost_per_event: Usd | None = Field(description="To the nearest nano-dollar")
    avg_cost_per_event_nano: Nano | None
    unpriced_events: int = Field(description="Of which the cost is not known; total_cost is of the others")
    total_revenue: Usd | None = Field(
        description="Of its events, and charges by period; plans' own prices belong to no feature"
    )
    total_revenue_nano: Nano | None
    total_usage: int = Field(description="Tokens, in and out")
    margin: Usd | None
    margin_nano: Nano | None
    margin_pct: Percent | None = Field(description="Percent of the revenue; null where that is 0")
    margin_reason: str | None
    last_seen: MomentText | None


class FeaturesTold(Told):
    """A page of features, by key."""

    features: list[FeatureTold]
    next_cursor: str | None


class ClientFeature(ToldCamel):
    """A feature."""

    key: str
    name: str
    enabled: bool


class ClientFeatures(ToldCamel):
    """A page of features, by key."""

    items: list[ClientFeature]
    next_cursor: str | None


def list_features(call: Call) -> FeaturesTold:
    """A page of features with their figures."""
    asked: FeaturesAsked = call.query
    span = figures_span(asked.date_from, asked.date_to)
    listed = ("features", call.account_id, asked.date_from, asked.date_to)
    recorded = {each.key: each for each in call.parts.plans(call.account_id).features()}
    after = name_after(listed, asked.cursor)
    (charges,) = charges_in(call, [span])
    with call.parts.engine.connect() as connection:
        seen = named_in_events(connection, call.account_id, "feature", after, asked.limit + 1)
        names = sorted({*seen, *(key for key in recorded if key > after)})[: asked.limit + 1]
        rows, following = page_of(listed, names, asked.limit, lambda each: (each,))
        figures = figures_of(connection, call.account_id, "feature", rows, span, charges)
    return FeaturesTold(
        features=[_told(name, recorded.get(name), figures[name], span) for name in rows],
        next_cursor=following,
    )


def show_feature(call: Call) -> FeatureTold:
    """One feature with its figures."""
    asked: FiguresAsked = call.query
    name = call.path["feature"]
    span = figures_span(asked.date_from, asked.date_to)
    recorded = _recorded(call, name)
    (charges,) = charges_in(call, [span])
    with call.parts.engine.connect() as connection:
        figures = figures_of(connection, call.account_id, "feature", [name], span, charges)[name]
    if recorded is None and figures.last_seen_ms is None:
        raise NotFound("No such feature.")
    return _told(name, recorded, figures, span)


def add_feature(call: Call) -> FeatureTold:
    """Record a feature."""
    asked: NewFeature = call.body
    if _recorded(call, asked.feature_key) is not None:
        raise Conflict("This feature is recorded already; change it.", code="already_exists")
    with refusals():
        feature = Feature(asked.feature_key, asked.name, asked.enabled)
        call.parts.plans(call.account_id).put_feature(feature)
    return _shown(call, feature)


def change_feature(call: Call) -> FeatureTold:
    """Its name; or whether anybody may use it, which holds for the next request."""
    asked: FeatureChange = call.body
    if not asked.model_fields_set:
        raise BadRequest("Nothing to change was told.")
    present = _recorded(call, call.path["feature"])
    if present is None:
        raise NotFound("No such feature.")
    feature = Feature(
        present.key,
        present.name if asked.name is None else asked.name,
        present.enabled if asked.enabled is None else asked.enabled,
    )
    call.parts.plans(call.account_id).put_feature(feature)
    return _shown(call, feature)


def list_client_features(call: Call) -> ClientFeatures:
    """Recorded features."""
    asked: Paged = call.query
    listed = ("client features", call.account_id)
    after = name_after(listed, asked.cursor)
    found = [each for each in call.parts.plans(call.account_id).features() if each.key > after]
    rows, following = page_of(listed, found, asked.limit, lambda each: (each.key,))
    return ClientFeatures(items=[_client(each) for each in rows], next_cursor=following)


def show_client_feature(call: Call) -> ClientFeature:
    """A recorded feature."""
    found = _recorded(call, call.path["feature"])
    if found is None:
        raise NotFound("No such feature.")
    return _client(found)


def _client(feature: Feature) -> ClientFeature:
    return ClientFeature(key=feature.key, name=feature.name, enabled=feature.enabled)


def _recorded(call: Call, name: str) -> Feature | None:
    features = call.parts.plans(call.account_id).features()
    return next((each for each in features if each.key == name), None)


def _shown(call: Call, feature: Feature) -> FeatureTold:
    span = figures_span(None, None)
    (charges,) = charges_in(call, [span])
    with call.parts.engine.connect() as connection:
        figures = figures_of(connection, call.account_id, "feature", [feature.key], span, charges)
    return _told(feature.key, feature, figures[feature.key], span)


def _told(name: str, recorded: Feature | None, figures: GroupFigures, span: Span) -> FeatureTold:
    return FeatureTold(
        feature_key=name,
        name="" if recorded is None else recorded.name,
        enabled=recorded is None or recorded.enabled,
        recorded=recorded is not None,
        date_from=str(moment_text(span.since_ms)),
        date_to=str(moment_text(span.until_ms)),
        customer_count=figures.others,
        last_seen=moment_text(figures.last_seen_ms),
        **figures.fields(),
    )


FEATURES = (
    Endpoint(
        method="GET",
        path="/api/features",
        scope=READ,
        summary="Features with what they cost and earn",
        tag=TAG,
        handler=list_features,
        query=FeaturesAsked,
        answer=FeaturesTold,
    ),
    Endpoint(
        method="POST",
        path="/api/features",
        scope=WRITE,
        summary="Record a feature",
        tag=TAG,
        handler=add_feature,
        body=NewFeature,
        answer=FeatureTold,
        status=201,
        refusals={409: "It is recorded already"},
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/features/{feature}",
        scope=READ,
        summary="One feature with what it costs and earns",
        tag=TAG,
        handler=show_feature,
        query=FiguresAsked,
        answer=FeatureTold,
    ),
    Endpoint(
        method="PATCH",
        path="/api/features/{feature}",
        scope=WRITE,
        summary="Rename a feature, or switch it off for everybody",
        tag=TAG,
        handler=change_feature,
        body=FeatureChange,
        answer=FeatureTold,
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/client/features",
        scope=READ,
        summary="Features",
        tag=TAG,
        handler=list_client_features,
        query=Paged,
        answer=ClientFeatures,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/client/features/{feature}",
        scope=READ,
        summary="One feature",
        tag=TAG,
        handler=show_client_feature,
        answer=ClientFeature,
    ),
)
