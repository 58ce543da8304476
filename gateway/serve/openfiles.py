"""Open files: a stream takes two, its client's and its provider's, and a process is usually given 1,024."""

from __future__ import annotations

import resource

OTHERS = 1_024
"""Of a worker: connections that rest, Redis, the journal, the spill, metrics."""


def provide_files(connections: int) -> str | None:
    """Let this process and its children, who inherit it, open as many files as so many client connections of
    one worker may take; a sentence for the operator where they may not."""
    wanted = 2 * connections + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError):  # some systems name no hard limit and have one
            most = soft
    if most >= wanted:
        return None
    return (
        f"server.connections_max: {connections} connections of a worker may take {wanted} open files, and "
        f"this process may have {most}; raise its limit (ulimit -n, LimitNOFILE=, --ulimit nofile=), or "
        "write less"
    )
