"""Runs a script through a client that blocks, for those beside a request's way.

Apart from the scripts themselves, because workers run them through a connection of their own and need no
client library: loading it takes a tenth of their start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from budgets.scripts import Script


def run_script(redis: Any, script: Script, keys: Sequence[Any], args: Sequence[Any]) -> Any:
    """Run a script through a client that blocks, of a server or of a cluster. Raises redis.RedisError."""
    try:
        return redis.evalsha(script.sha, len(keys), *keys, *args)
    except NoScriptError:
        return redis.eval(script.source, len(keys), *keys, *args)
