"""Which of the ledger's scripts requests run: of theirs alone, since workers run others beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from budgets.scripts import CLAIM, CLOSE, OPEN, UNCLAIM
from tests.stack import Stack, wait_until

OF_REQUESTS = {script.sha: script.name for script in (CLAIM, OPEN, CLOSE, UNCLAIM)}


def scripts_run(stack: Stack, ask: Callable[[], None], at_least: int) -> Counter[str]:
    """The scripts that `ask` lets run; waits for so many of them, as the last ones follow the answer."""
    ran: Counter[str] = Counter()
    with stack.redis.monitor() as told:

        def enough() -> bool:
            stack.redis.echo("so far")
            for command in told.listen():
                words = command["command"].split()
                if words[0].upper() == "ECHO":
                    return ran.total() >= at_least
                if words[0].upper() == "EVALSHA" and words[1] in OF_REQUESTS:
                    ran[OF_REQUESTS[words[1]]] += 1
            raise AssertionError("the server has gone")

        ask()
        wait_until(enough)
        wait_until(lambda: stack.open_requests() == 0)
        enough()
    return ran
