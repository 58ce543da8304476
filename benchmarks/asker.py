"""Asks a gateway's API over one connection, and reads how long that took and what it cost in CPU."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.askings import Question
from benchmarks.process import ProcessGone, cpu_ns

PATIENCE_S = 120.0


class NotAnswered(Exception):
    """A question was refused, or failed; the sentence has what was said."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer: from the first byte sent to the last one read, and the CPU of each group of processes."""

    wall_ms: float
    cpu_ms: Mapping[str, float]
    answer_bytes: int


class Asker:
    """`groups` gives process ids now; `forget` makes the next question a cold one."""

    def __init__(
        self,
        port: int,
        secret: str,
        groups: Callable[[], Mapping[str, Sequence[int]]],
        forget: Callable[[], None],
    ) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {secret}"}
        self._groups = groups
        self.forget = forget

    def ask(self, question: Question) -> bytes:
        """The answer's body. Raises NotAnswered."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        try:
            connection.request("GET", question.target, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read()
        except OSError as error:
            raise NotAnswered(f"{question.target}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise NotAnswered(
                f"{question.target}: HTTP {answer.status}: {body[:500].decode(errors='replace')}"
            )
        return body

    def timed(self, question: Question) -> Asked:
        """The same with its figures."""
        before = self._clocks()
        began = time.perf_counter()
        body = self.ask(question)
        wall_ms = (time.perf_counter() - began) * 1_000
        after = self._clocks()
        spent: dict[str, float] = {}
        for (group, pid), now_ns in after.items():
            # A process that was born meanwhile has spent all of its time on this.
            spent[group] = spent.get(group, 0.0) + (now_ns - before.get((group, pid), 0)) / 1e6
        return Asked(wall_ms, spent, len(body))

    def stepped(self, question: Question) -> Question:
        """A question for a later page, with the cursor that leads there; the last page leads nowhere."""
        if not question.walks:
            return question
        found: dict[str, Any] = json.loads(self.ask(question))
        cursor = found["next_cursor"]
        query = dict(question.query) if cursor is None else {**question.query, "cursor": cursor}
        return replace(question, query=query, walks=False)

    def warm_up(self, questions: Iterable[Question]) -> None:
        """Let the process load what it loads with its first answers."""
        for question in questions:
            self.ask(question)

    def _clocks(self) -> dict[tuple[str, int], int]:
        found = {}
        for group, pids in self._groups().items():
            for pid in pids:
                try:
                    found[group, pid] = cpu_ns(pid)
                except ProcessGone:
                    continue
        return found
