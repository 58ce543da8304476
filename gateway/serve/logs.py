"""Log lines: one JSON object each on standard error, or readable lines on a terminal.

Lines of the standard library's logging (uvicorn, asyncio) take the same way. No prompt or answer text and
no secret is ever a field; a request has no line, since its cost event is its log.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import TextIO, cast

import structlog
from structlog.typing import Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Lines:
    """Standard error, whose end is nobody's failure: a drain goes on when the terminal was closed."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def configure_logs(level: str) -> None:
    """Set up this process' logging; `level` is one of LEVELS. It holds for loggers that spoke before, too."""
    shared: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    )
    render: Processor = structlog.processors.JSONRenderer(default=str)
    if sys.stderr.isatty():
        # Plain: the usual formatter shows the values of variables, prompts among them.
        render = structlog.dev.ConsoleRenderer(
            pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
        shared = shared[:-1]  # the console renderer shows exceptions in its own way
    lines = cast(TextIO, _Lines())
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=lines),
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(LEVELS[level], logging.WARNING) if level != "debug" else logging.DEBUG)
