"""`python -m simulator`: the simulated provider as a process of its own."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading

from simulator.process import run_simulator


def main() -> None:
    """Serve until SIGTERM, SIGINT or, with --until-eof, the end of standard input."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8788)
    parser.add_argument("--listener", type=int, help="number of an inherited listening socket")
    parser.add_argument("--pace-ms", type=float, default=0.0)
    parser.add_argument("--first-ms", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--bill-full-on-hangup", action="store_true")
    parser.add_argument("--until-eof", action="store_true")
    chosen = parser.parse_args()
    if chosen.until_eof:
        threading.Thread(target=_stop_at_eof, daemon=True).start()
    run_simulator(
        host=chosen.host,
        port=chosen.port,
        listener=None if chosen.listener is None else socket.socket(fileno=chosen.listener),
        pace_ms=chosen.pace_ms,
        first_ms=chosen.first_ms,
        tokens=chosen.tokens,
        bill_full_on_hangup=chosen.bill_full_on_hangup,
        on_ready=None if chosen.until_eof else lambda url: print(url, flush=True),
    )


def _stop_at_eof() -> None:
    """End with the parent: its death closes the pipe, whatever killed it."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
