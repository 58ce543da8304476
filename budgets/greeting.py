"""How a connection begins: it says who it is, learns which server answers, and loads the scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from budgets.address import Address
from budgets.scripts import Script
from budgets.wire import LedgerUnavailable, Refused, Wire, packed

SECTIONS = ("server", "replication", "cluster")


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself.

    `run_id` changes with each start. `history` names the sequence of writes that it continues, and `former`
    the one that it continued until it was promoted ("000..." for one that never was); `offset` counts them.
    """

    run_id: str
    primary: bool
    cluster: bool
    history: str
    former: str
    offset: int

    def follows(self, other: Server) -> bool:
        """True when this one was promoted to take the other's place."""
        return self.former == other.history


async def open_wire(
    address: Address, *, scripts: Sequence[Script], timeout_s: float, refused: Refused | None = None
) -> tuple[Wire, Server]:
    """A wire that has said who it is and loaded the scripts.

    Raises OSError, ReplyError, LedgerUnavailable.
    """
    loop = asyncio.get_running_loop()
    wire = Wire(loop, timeout_s, refused)
    try:
        async with asyncio.timeout(timeout_s):
            await address.open(loop, lambda: wire)
    except TimeoutError:
        wire.close()
        raise LedgerUnavailable(f"no connection within {timeout_s:g} s", sent=False) from None
    try:
        commands = [*address.greeting(), *(("INFO", section) for section in SECTIONS)]
        commands += [("SCRIPT", "LOAD", script.source) for script in scripts]
        # One by one, but all already under way: the first fault is told, the others are looked at.
        futures = [wire.send(packed(*command)) for command in commands]
        replies: list[Any] = await asyncio.gather(*futures, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        asked = len(address.greeting())
        return wire, server_of(b"".join(replies[asked : asked + len(SECTIONS)]))
    except BaseException:
        wire.close()
        raise


def server_of(info: bytes) -> Server:
    """Read INFO. Raises LedgerUnavailable when it does not say what a ledger needs. Pure."""
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    facts = {name: value.strip() for name, _, value in lines}
    if not facts.get("run_id") or "role" not in facts:
        raise LedgerUnavailable("its INFO tells neither run id nor role; is it a Redis?", sent=False)
    return Server(
        run_id=facts["run_id"],
        primary=facts["role"] == "master",
        cluster=facts.get("cluster_enabled") == "1",
        history=facts.get("master_replid", ""),
        former=facts.get("master_replid2", ""),
        offset=int(facts.get("master_repl_offset", 0)),
    )


def shown(error: Exception) -> str:
    """A fault in words; some errors of the operating system have none of their own."""
    return str(error) or type(error).__name__
