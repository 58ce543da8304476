"""Faults put into the ledger's scripts, one at a time, each of which some seed has to find."""

from __future__ import annotations

from dataclasses import dataclass

from budgets.scripts import CLOSE, EXTEND, HEARTBEAT, OPEN, RESTORE, SEED, Script


@dataclass(frozen=True, slots=True)
class Mutant:
    """A script with a line of it altered.

    `focus`: the faults that bring it out, by default any. `rare`: few seeds show it, so one takes long.
    """

    name: str
    script: Script
    line: str
    altered: str
    focus: tuple[str, ...] = ()
    rare: bool = False

    @property
    def source(self) -> str:
        """The altered script. ValueError: the line is not there, or not once."""
        if self.script.source.count(self.line) != 1:
            raise ValueError(f"{self.name}: {self.script.name}.lua has no such line, or several: {self.line}")
        return self.script.source.replace(self.line, self.altered)


MUTANTS = (
    Mutant(
        "open forgets what is doubted",
        OPEN,
        "local rest = value - s - d",
        "local rest = value - s",
    ),
    Mutant(
        "open forgets what others hold",
        OPEN,
        "if not least_free or rest - r < least_free then free[m] = rest - r end",
        "if not least_free or rest < least_free then free[m] = rest end",
    ),
    Mutant(
        "open believes a ledger that is not whole",
        OPEN,
        "if meta[2] ~= run_id then return {'COLD'} end",
        "",
        focus=("restart",),
    ),
    Mutant(
        "open counts in a window that has ended",
        OPEN,
        "if now < start_ms or now >= end_ms then",
        "if false then",
        rare=True,
    ),
    Mutant(
        "open refuses what fits exactly",
        OPEN,
        "if left < need then",
        "if left <= need then",
    ),
    Mutant(
        "the reaper needs no fence",
        CLOSE,
        "if ARGV[5] ~= '' and not again and ARGV[5] ~= (call('HGET', KEYS[1], 'hb') or '0') "
        "then return 'ALIVE' end",
        "",
        focus=("freeze",),
        rare=True,
    ),
    Mutant(
        "a request can be closed twice",
        CLOSE,
        "call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])",
        "",
    ),
    Mutant(
        "close frees nothing",
        CLOSE,
        "s, r = s + came, r - free",
        "s = s + came",
    ),
    Mutant(
        "close forgets the event",
        CLOSE,
        "call('XADD', KEYS[3], '*', 'e', ARGV[4])",
        "if ARGV[5] == '' then call('XADD', KEYS[3], '*', 'e', ARGV[4]) end",
    ),
    Mutant(
        "close forgets the doubt",
        CLOSE,
        "d + doubting)",
        "d)",
    ),
    Mutant(
        "a close that was lost is counted again",
        CLOSE,
        "settles = since and (since > opened_ms or age < tonumber(ARGV[3]))",
        "settles = false",
    ),
    Mutant(
        "a close told again is counted again",
        CLOSE,
        "answer, settles = 'missing', false",
        "answer, settles = 'missing', true",
        focus=("flush", "lose"),
    ),
    Mutant(
        "extend asks nobody",
        EXTEND,
        "if not value or value - s - r - d < extra then return 'NO' end",
        "",
        focus=("cut",),
        rare=True,
    ),
    Mutant(
        "extend does not note what it holds",
        EXTEND,
        "call('HSET', KEYS[1], 'held', table.concat(held, ' '))",
        "",
        focus=("cut",),
    ),
    Mutant(
        "a heartbeat does not show itself",
        HEARTBEAT,
        "call('HINCRBY', KEYS[i], 'hb', '1')",
        "",
        focus=("freeze",),
    ),
    Mutant(
        "a restored request holds nothing",
        RESTORE,
        "s, r + amounts[place[letter]], d",
        "s, r, d",
        focus=("flush",),
    ),
    Mutant(
        "a request that has ended is restored",
        RESTORE,
        "if type(owner) == 'table' then return 'LOST' end",
        "if type(owner) == 'table' then call('DEL', KEYS[1]) owner = false end",
        focus=("flush", "stall", "stop"),
        rare=True,
    ),
    Mutant(
        "seeding forgets what is held",
        SEED,
        "struct.pack(ROW, s, amount, d)",
        "struct.pack(ROW, s, 0, d)",
        focus=("restart",),
    ),
    Mutant(
        "seeding does not look for what ended meanwhile",
        SEED,
        "if place(KEYS[3]) ~= ARGV[2] then return 'AGAIN' end",
        "",
        focus=("restart",),
        rare=True,
    ),
)
