"""Two accounts with data walk every route of the table: no answer to one has an id or a name of the other.

Places in paths are filled with what is one's own and with what is the other's; queries and bodies ask for the
other's names. Everything that belongs to an account has its mark in its name, or is an id known to the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel

from accounts.customerbook import CustomerBook
from accounts.feature import Feature
from accounts.plan import PlanVersion
from accounts.planbook import PlanBook
from accounts.planprice import PlanPrice
from accounts.scope import ADMIN
from accounts.subscription import Deal
from budgets.limit import check_terms
from budgets.rows import LedgerRows
from gateway.api.endpoint import Endpoint
from gateway.api.table import ENDPOINTS
from metering.database import open_database
from metering.eventstore import EventStore
from tests.gateway.api.history import History, history, record
from tests.stack import ACCOUNT, Stack

LATE = ("/reset", "/archive", "/cancel")


@dataclass
class Tenant:
    """One account: its history, a key for everything, and the ids that were made for it."""

    of: History
    secret: str
    made: set[str] = field(default_factory=set)

    @property
    def signs(self) -> set[str]:
        """By what its things are recognised in an answer."""
        return {self.of.mark} | self.of.ids | self.made

    def place(self, name: str) -> list[str]:
        """What may stand at a path's place of this name."""
        known = {
            "event": [self.of.events[3].id],
            "trace": [self.of.name("trace-2")],
            "task": [self.of.name("task-2"), self.of.events[2].id],
            "customer": [self.of.name("customer-0")],
            "feature": [self.of.name("feature-0")],
            "workspace": [self.of.name("workspace")],
            "plan": [self.of.name("plan")],
            "subscription": sorted(self.made),
            "deal": sorted(self.made),
            "key": sorted(self.made),
            "dimension": ["customer"],  # a word, nobody's name
        }
        return known.get(name, [self.of.name("customer-0"), *sorted(self.made)])


@pytest.fixture(scope="module")
def tenants(stack: Stack) -> Iterator[tuple[Tenant, Tenant]]:
    engine = open_database(stack.database)
    rows = LedgerRows(stack.redis)
    found = []
    for account_id, mark in ((ACCOUNT, "alfalfa"), ("second", "bravissimo")):
        of = history(account_id, mark, 40)
        with closing(EventStore(stack.database)) as store:
            record(store, of)
        plans = PlanBook(engine, rows, check_terms, account_id=account_id)
        customers = CustomerBook(engine, rows, check_terms, account_id=account_id)
        for number in range(2):
            plans.put_feature(Feature(of.name(f"feature-{number}"), of.name("feature")))
            customers.add_customer(of.name(f"customer-{number}"), of.name("customer"))
        plans.put_plan(PlanVersion(of.name("plan"), 0, (of.name("feature-0"),), price=PlanPrice(10**9)))
        dealt = customers.subscribe(of.name("customer-0"), of.name("plan"), deal=Deal(quantity=2))
        tenant = Tenant(of, stack.key(scopes=(ADMIN,), account_id=account_id, name=of.name("admin")))
        tenant.made |= {stack.records[tenant.secret], dealt.id}
        tenant.made |= {each.id for each in [stack.keyring.create(of.name("more"), account_id=account_id)[1]]}
        found.append(tenant)
    yield found[0], found[1]
    engine.dispose()


def ends(endpoint: Endpoint) -> bool:
    """Whether it takes something away: such are asked last, so that there is something to see until then."""
    return endpoint.method == "DELETE" or endpoint.path.endswith(LATE)


def in_order() -> list[Endpoint]:
    """Questions first, then what makes, then what ends."""
    asked = [each for each in ENDPOINTS if each.scope is not None]
    return sorted(
        asked,
        key=lambda each: (
            each.method != "GET",
            each.method == "DELETE" or each.path.endswith(LATE),
            each.path,
        ),
    )


def paths_of(endpoint: Endpoint, *tenants: Tenant) -> set[str]:
    """The endpoint's path with everything at its places that these accounts have."""
    found = {endpoint.path}
    for place in re.findall(r"\{(\w+)\}", endpoint.path):
        found = {
            path.replace(f"{{{place}}}", value)
            for path in found
            for tenant in tenants
            for value in tenant.place(place)
        }
    return found


def queries_of(endpoint: Endpoint, other: Tenant) -> list[dict[str, str]]:
    """Without anything, and once for each name by which the other's things could be asked for."""
    if endpoint.query is None:
        return [{}]
    values = {
        "customer_id": "customer-0",
        "feature_key": "feature-0",
        "workspace": "workspace",
        "plan": "plan",
        "key": "key",
        "task": "task-2",
        "trace": "trace-2",
    }
    known = set(endpoint.query.model_fields)
    return [{}, *({name: other.of.name(value)} for name, value in values.items() if name in known)]


@cache
def body_of(model: type[BaseModel] | None) -> Any:
    """The example that an endpoint's model gives."""
    return None if model is None else model.model_json_schema()["examples"][0]


def test_what_is_anothers_is_as_what_is_not(tenants: tuple[Tenant, Tenant], http: httpx2.Client) -> None:
    """The same status and the same words, but for the name that was asked for.

    Before the walk below, which makes things by the names of others in the account of its own.
    """
    me, other = tenants
    headers = {"authorization": f"Bearer {me.secret}"}
    compared = 0
    for endpoint in in_order():
        if endpoint.method != "GET" or "{" not in endpoint.path:
            continue
        for path in paths_of(endpoint, other):
            values = [part for part in path.split("/") if part in other.signs or other.of.mark in part]
            if not values:
                continue
            nothing = path
            for value in values:
                nothing = nothing.replace(value, re.sub(r"\w", "z", value))
            foreign, unknown = (http.get(each, headers=headers) for each in (path, nothing))
            assert foreign.status_code == unknown.status_code, path
            texts = [foreign.text, unknown.text]
            for value in values:
                texts = [text.replace(value, "").replace(re.sub(r"\w", "z", value), "") for text in texts]
            assert texts[0] == texts[1], path
            compared += 1
    assert compared


@pytest.mark.wide
def test_no_answer_has_anything_of_another_account(
    tenants: tuple[Tenant, Tenant], http: httpx2.Client
) -> None:
    walked, seen = 0, 0
    for me, other in (tenants, tenants[::-1]):
        headers = {"authorization": f"Bearer {me.secret}"}
        for endpoint in in_order():
            # What ends things is tried on the other's only: one's own are needed until the end.
            for path in sorted(paths_of(endpoint, *((other,) if ends(endpoint) else (me, other)))):
                for query in queries_of(endpoint, other):
                    answer = http.request(
                        endpoint.method, path, params=query, json=body_of(endpoint.body), headers=headers
                    )
                    where = (me.of.mark, endpoint.method, path, query, answer.status_code)
                    assert answer.status_code < 500, (*where, answer.text[:300])
                    told = answer.text
                    for asked in (path.rpartition("/")[2], *path.split("/"), *query.values()):
                        if other.of.mark in asked or asked in other.signs:
                            told = told.replace(asked, "")  # what was asked for may be repeated
                    held = [sign for sign in other.signs if sign in told]
                    assert not held, (*where, held[:3], told[:300])
                    walked += 1
                    seen += me.of.mark in answer.text
    assert walked >= 2 * len(in_order())
    assert seen > len(tenants), "their own things are told to them"
