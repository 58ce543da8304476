"""A server on a real socket for whoever fetches a credential: it says what a test's script says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Question:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Question], tuple[int, bytes]]


@dataclass
class Asked:
    """Where it listens, and what it was asked."""

    url: str
    questions: list[Question] = field(default_factory=list)


@contextmanager
def answering(script: Script) -> Iterator[Asked]:
    """Runs until the block ends; answers with (status, JSON)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            question = Question(self.command, self.path, headers, body)
            asked.questions.append(question)
            status, answer = script(question)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PUT = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    asked = Asked(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
