"""The official openai package for Node, installed once into pytest's cache by the committed lock file."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "node"
INSTALLING_S = 240
ASKING_S = 120


def installed(cache: pytest.Cache) -> Path:
    """The folder with node_modules. Skips, with a word, where Node, npm or the package cannot be had."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"tests of the Node SDK need {program}, which is not here")
    lock = (FOLDER / "package-lock.json").read_bytes()
    folder = cache.mkdir(f"node-{sha256(lock).hexdigest()[:12]}")
    if not (folder / "complete").exists():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(FOLDER / name, folder / name)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALLING_S,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no word"])[0]
            pytest.skip(f"npm could not install the openai package: {reason}")
        (folder / "complete").touch()
    shutil.copy(FOLDER / "ask.mjs", folder / "ask.mjs")
    return folder


def ask(folder: Path, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run all jobs at once in one process of Node; their outcomes in order."""
    done = subprocess.run(
        ["node", "ask.mjs"],
        cwd=folder,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=ASKING_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
