"""Which Python runs the benchmark, and with it the gateway: one that has the product's libraries."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path


def prefer_project_interpreter(root: Path) -> None:
    """Replace this process by the project's own interpreter when this one lacks the product's libraries.

    Returns when this interpreter will do, or when there is none better: starting the gateway then says
    what is missing.
    """
    if find_spec("uvicorn") is not None and find_spec("hiredis") is not None:
        return
    project = root / ".venv" / "bin" / "python"
    if project.exists() and Path(sys.executable).resolve() != project.resolve():
        os.execv(project, [str(project), *sys.argv])
