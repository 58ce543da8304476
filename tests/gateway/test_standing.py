"""Standing: worked out once for callers who are alike, and anew when anything that it was made of is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from accounts.key import KeyLimit, KeyRecord
from accounts.terms import AccountTerms
from accounts.termscache import TermsCache
from budgets.ledger import Ledger
from gateway import standing as module
from gateway.admission import Caller
from gateway.attribution import Headers
from gateway.entitlements import Entitlements
from gateway.standing import Standing, find_standing
from tests.gateway.test_admission import record

DAY_MS = 86_400_000
NOW_MS = 1_760_000_000_000 // DAY_MS * DAY_MS + 1_000
ROUTE = cast(Any, SimpleNamespace(alias="gpt-4o"))
DAILY = KeyLimit("lim_day", "key", "key_1", "day", "money", "hard", 10**9)
EACH_TRACE = KeyLimit("lim_trace", "trace", "*", "lifetime", "money", "hard", 10**9)


class Asking:
    """A worker's parts, as far as a standing needs them, before the account's list that is published now."""

    def __init__(self, *limits: KeyLimit) -> None:
        self.published = AccountTerms(1, limits, False)
        terms = TermsCache(self._account, self._customer)
        self.terms = terms
        self.parts = cast(
            Any,
            SimpleNamespace(
                entitlements=Entitlements(cast(Any, None), terms),
                ledger=Ledger(cast(Any, None), owner="w", lease_ms=1_000),
                standings={},
            ),
        )

    def find(self, key: KeyRecord, *, trace: str | None = None, now_ms: int = NOW_MS) -> Standing:
        headers = Headers()
        headers.trace_id = trace
        found = find_standing(self.parts, Caller(key, "acme", "chat"), headers, ROUTE, now_ms)
        return asyncio.run(found)

    async def _account(self, account_id: str) -> bytes:
        return self.published.to_document()

    async def _customer(self, account_id: str, customer: str) -> bytes | None:
        return None


def test_callers_who_are_alike_have_one_standing_until_a_window_ends() -> None:
    asking, key = Asking(), record(limits=(DAILY,))
    first = asking.find(key)
    assert asking.find(key, trace="a") is asking.find(key, trace="b") is first
    tomorrow = asking.find(key, now_ms=NOW_MS + DAY_MS)
    assert tomorrow is not first
    assert tomorrow.rows.hashes != first.rows.hashes
    assert asking.find(key, now_ms=NOW_MS + DAY_MS) is tomorrow


def test_a_fresh_copy_of_key_or_account_is_heard_at_once() -> None:
    asking, key = Asking(), record(limits=(DAILY,))
    first = asking.find(key)
    changed = replace(key, version=key.version + 1, limits=(replace(DAILY, value=5),))
    again = asking.find(changed)
    assert (again.versions.key, again.rows.limits[0].value) == (changed.version, 5)
    assert first.rows.limits[0].value == 10**9
    asking.published = AccountTerms(2, (EACH_TRACE,), False)
    assert asking.find(changed) is again, "the worker's copy is still the old one"
    asking.terms.invalidate(key.account_id, "acme")
    newest = asking.find(changed, trace="a")
    assert newest.versions.account == 2
    assert len(newest.rows.fields) == 2
    assert asking.find(changed, trace="b").rows.fields != newest.rows.fields, (
        "limits on traces tell them apart"
    )


def test_no_more_standings_are_kept_than_a_worker_has_room_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "STANDINGS_MAX", 3)
    asking, key = Asking(EACH_TRACE), record(limits=(DAILY,))
    for number in range(10):
        asking.find(key, trace=f"t{number}")
    assert len(asking.parts.standings) == 3
