"""The record of keys and limits, in SQL's place, and its publication through the product's LedgerRows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from accounts.enforcedcopy import PublishedKey
from accounts.key import KeyLimit, KeyRecord, digest
from accounts.terms import AccountTerms, CustomerTerms, holder_of
from budgets.counted import LimitIndex
from budgets.rows import LedgerRows
from tests.simulation.plan import Plan
from tests.simulation.threads import BlockingProcess

ACCOUNT = "default"


@dataclass(slots=True)
class Control:
    """What is recorded. The secret of a simulated key is its id."""

    keys: dict[str, KeyRecord]
    limits: dict[str, KeyLimit]
    account_version: int = 1
    customer_versions: dict[str, int] = field(default_factory=dict)
    writer: BlockingProcess | None = None

    @classmethod
    def of(cls, plan: Plan) -> Control:
        """As recorded when a run begins."""
        limits = {limit.id: limit for limit in plan.limits}
        control = cls({}, limits)
        for key_id in plan.keys:
            policy, allowance = plan.policies[key_id]
            control.keys[key_id] = KeyRecord(
                id=key_id,
                account_id=ACCOUNT,
                name=key_id,
                version=1,
                status="active",
                expires_ms=None,
                scopes=("proxy.chat",),
                customer=None,
                feature=None,
                assertion="any",
                customers=(),
                features=(),
                default_customer=None,
                default_feature=None,
                limits=control.held_by("key", key_id),
                on_ledger_down=policy,
                display="",
                allowance_nano=allowance,
                ledger_down_chosen=True,
            )
        for limit in plan.limits:
            holder, name = holder_of(ACCOUNT, limit.scope, limit.scope_id)
            if holder == "customer":
                control.customer_versions[name] = 1
        return control

    @contextmanager
    def writing(self, process: BlockingProcess) -> Iterator[None]:
        """The database's write lock, under which everything is published; a dead holder has none."""
        while self.writer is not None and self.writer.alive:
            process.sleep(0.02)
        self.writer = process
        try:
            yield
        finally:
            if self.writer is process:
                self.writer = None

    def accounts(self) -> Sequence[str]:
        """The one account."""
        return (ACCOUNT,)

    def index(self, account_id: str) -> LimitIndex:
        """All limits as they are recorded now."""
        return LimitIndex(account_id, list(self.limits.values()))

    def held_by(self, holder: str, name: str) -> tuple[KeyLimit, ...]:
        """The limits in one holder's document."""
        return tuple(
            limit
            for limit in self.limits.values()
            if holder_of(ACCOUNT, limit.scope, limit.scope_id) == (holder, name)
        )

    def publish(self, rows: LedgerRows) -> None:
        """Bring the enforced copy up to the record: values first, because documents name them."""
        rows.put_limits(ACCOUNT, list(self.limits.values()))
        for customer, version in self.customer_versions.items():
            terms = CustomerTerms(version, self.held_by("customer", customer))
            rows.put_customers(ACCOUNT, [(customer, version, terms.to_document())])
        self._publish_account(rows)
        for key in self.keys.values():
            self._publish_key(rows, key)

    def change_value(self, rows: LedgerRows, limit_id: str, value: int) -> None:
        """One write; documents name the limit, not its value."""
        limit = self.limits[limit_id] = replace(self.limits[limit_id], value=value)
        rows.put_limits(ACCOUNT, [limit])

    def change_status(self, rows: LedgerRows, key_id: str, status: str) -> None:
        """Revoke a key, or take that back."""
        old = self.keys[key_id]
        key = self.keys[key_id] = replace(old, status=status, version=old.version + 1)
        self._publish_key(rows, key)

    def add_limit(self, rows: LedgerRows, limit: KeyLimit) -> None:
        """A limit of the account from now on, by the ledger's clock."""
        limit = replace(limit, created_ms=rows.now_ms(ACCOUNT))
        self.limits[limit.id] = limit
        rows.put_limits(ACCOUNT, [limit])
        self.account_version += 1
        self._publish_account(rows)

    def _publish_account(self, rows: LedgerRows) -> None:
        terms = AccountTerms(
            self.account_version, self.held_by("account", ACCOUNT), bool(self.customer_versions)
        )
        rows.put_account(ACCOUNT, self.account_version, terms.to_document())

    def _publish_key(self, rows: LedgerRows, key: KeyRecord) -> None:
        rows.put_key(ACCOUNT, PublishedKey.of(key, digest(key.id)))
