"""Schemathesis asks every endpoint at random, by the document: no fault of ours, no undeclared answer.

Wanted queries and bodies, and such as are against the document; what comes back must have a status that the
document names, and be of its schema there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.scope import ADMIN
from gateway.api.openapi import served
from metering.eventstore import EventStore
from simulator.process import Simulator
from tests.gateway.api.history import history, record
from tests.gateway.conftest import simulated_settings
from tests.stack import ACCOUNT, Stack, running_stack

pytestmark = pytest.mark.wide
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
FEW = 2
"""Questions of each kind to each endpoint, so that all of them are through in a minute."""
MANY = 20
API = schemathesis.openapi.from_dict(json.loads(served()))
OPERATIONS = [each.ok() for each in API.get_all_operations()]
WAYS = [
    pytest.param(
        each, mode, examples, marks=marks, id=f"{each.method.upper()} {each.path} {mode.value} {examples}"
    )
    for examples, marks in ((FEW, ()), (MANY, (pytest.mark.slow, pytest.mark.shares)))
    for each in OPERATIONS
    for mode in GenerationMode
    # Against the document can only be asked where it declares something.
    if mode is GenerationMode.POSITIVE or list(each.iter_parameters()) or list(each.body)
]


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    """On one engine: what differs between engines is asked in other tests, and this one has a minute."""
    with running_stack(simulated_settings(simulator), api=True) as started:
        yield started


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    with closing(EventStore(stack.database)) as store:
        record(store, history(ACCOUNT, "random", 60))
    return stack.key(scopes=(ADMIN,))


@pytest.mark.parametrize(("operation", "mode", "examples"), WAYS)
def test_answers_are_as_declared(
    stack: Stack, secret: str, operation: Any, mode: GenerationMode, examples: int
) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(
            base_url=stack.base_url.removesuffix("/v1"),
            headers={"authorization": f"Bearer {secret}"},
            checks=CHECKS,
            timeout=60,
        )

    ask()
