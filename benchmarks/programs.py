"""The C programs, compiled when they are first needed or have changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
LIBRARY_FLAGS = ("-shared", "-fPIC")


class CannotBuild(Exception):
    """No compiler, or the compiler refused; the sentence says which and what to do."""


def build(name: str, *, library: bool = False, into: Path = BUILD) -> Path:
    """Path of the compiled program `name` (upstream, load) or library (probe). Raises CannotBuild."""
    source, program = HERE / f"{name}.c", into / (f"{name}.so" if library else name)
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CannotBuild(
            "the benchmarks need a C compiler (cc, gcc or clang) for their upstream and load generator and "
            "found none on PATH; on Debian: apt-get install gcc libc6-dev"
        )
    into.mkdir(parents=True, exist_ok=True)
    made = into / f"{program.name}.new"
    command = [compiler, *FLAGS, *(LIBRARY_FLAGS if library else ()), "-o", made, source]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise CannotBuild(f"{compiler} refused {source.name}:\n{outcome.stderr.strip()}")
    made.replace(program)
    return program
