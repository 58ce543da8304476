"""Runs seeds, tells which fail, and tells the story of one."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.world import run_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", help="from:to, the latter excluded")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("-v", "--verbose", action="store_true", help="with every line of the story")
    parser.add_argument("--focus", default="", help="kinds of faults, with commas: these and no others")
    parser.add_argument("--most", type=int, default=20, help="stop after so many failures")
    given = parser.parse_args()
    focus = tuple(filter(None, given.focus.split(",")))
    if given.seed is not None:
        outcome = run_seed(given.seed, focus=focus, keep=given.verbose)
        for line in outcome.lines:
            print(line)
        print(f"seed {outcome.seed}: {outcome.broken or 'all held'}; trace {outcome.trace}")
        return outcome.broken is not None
    first, _, last = (given.seeds or "0:200").partition(":")
    began, failed, grants, events, virtual_s, count = time.monotonic(), 0, 0, 0, 0.0, 0
    for seed in range(int(first), int(last)):
        outcome = run_seed(seed, focus=focus)
        count += 1
        grants, events = grants + outcome.grants, events + outcome.events
        virtual_s += outcome.virtual_s
        if outcome.broken is not None:
            failed += 1
            print(f"seed {seed}: {outcome.broken}", flush=True)
            if failed >= given.most:
                break
    spent_s = time.monotonic() - began
    print(
        f"{count} seeds, {grants} grants, {events} events, {virtual_s / 3600:.1f} virtual hours "
        f"in {spent_s:.1f} s: {failed} failed"
    )
    if not grants:
        print("nothing was granted: what ran was no life of the ledger")
    return failed > 0 or not grants


if __name__ == "__main__":
    sys.exit(main())
