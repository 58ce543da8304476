"""The book: what the books of one account are opened with."""

from __future__ import annotations

from sqlalchemy import Engine

from accounts.enforcedcopy import EnforcedCopy
from accounts.plan import CheckLimit
from accounts.publishing import ACCOUNT, Publisher


class Book:
    """A record of one account with its enforced copy. `engine` is on a migrated database; errors of SQL and
    of the copy are theirs. `check_limit` judges every limit of a plan, or of a customer otherwise than its
    plan, before it is recorded.
    """

    def __init__(
        self,
        engine: Engine,
        copy: EnforcedCopy | None,
        check_limit: CheckLimit | None = None,
        *,
        account_id: str = ACCOUNT,
    ) -> None:
        self._engine = engine
        self._publisher = Publisher(engine, copy)
        self._check_limit = check_limit
        self._account = account_id

    def now_ms(self) -> int:
        """The ledger's clock where it can be asked."""
        return self._publisher.now_ms(self._account)
