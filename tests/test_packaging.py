"""What is shipped: locks without hosts, scripts that a POSIX shell reads, an image of files that exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
SCRIPTS = [
    ROOT / name
    for name in ("run", "test", ".ci/run", *(f"scripts/{n}" for n in ("setup", "lock", "check", "full")))
]
PIN = re.compile(r"^([a-z0-9-]+)==(\S+?)(?: ; .*)? \\$")


def pins(lock: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if match := PIN.match(line):
            found.setdefault(match[1], set()).add(match[2])
    return found


def test_there_are_five_locks() -> None:
    assert [lock.name for lock in LOCKS] == [
        "requirements-build.lock",
        "requirements-dev.lock",
        "requirements-postgres.lock",
        "requirements-sdks.lock",
        "requirements.lock",
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_holds_only_pinned_names_and_hashes(lock: Path) -> None:
    for line in lock.read_text().splitlines():
        assert PIN.match(line) or re.match(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$", line), line


def test_development_adds_to_the_runtime_and_changes_nothing_in_it() -> None:
    runtime, development = pins(ROOT / "requirements.lock"), pins(ROOT / "requirements-dev.lock")
    assert runtime.items() <= development.items()
    sdks = pins(ROOT / "requirements-sdks.lock")
    assert runtime.items() <= sdks.items()
    postgres = pins(ROOT / "requirements-postgres.lock")
    assert runtime.items() <= postgres.items() <= sdks.items()
    both = sdks.keys() & development.keys()
    assert {name: sdks[name] for name in both} == {name: development[name] for name in both}


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.match(r"[A-Za-z0-9-]+", one)[0].lower() for one in project["dependencies"]}  # type: ignore[index]
    assert named <= set(pins(ROOT / "requirements.lock"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(ROOT)))
def test_script_is_executable_and_read_by_a_posix_shell(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_lacking_python_is_told_with_the_line_that_installs_it(tmp_path: Path) -> None:
    copy = tmp_path / "scripts"
    copy.mkdir()
    (copy / "setup").write_text((ROOT / "scripts" / "setup").read_text())
    for name in [lock.name for lock in LOCKS] + ["pyproject.toml"]:
        (tmp_path / name).write_text("")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname", "cat", "cksum"):
        (tools / tool).symlink_to(next(p for d in ("/bin", "/usr/bin") if (p := Path(d, tool)).exists()))
    environment = {"PATH": str(tools)}
    none = subprocess.run(
        ["/bin/sh", str(copy / "setup")], env=environment, capture_output=True, text=True, check=False
    )
    assert none.returncode == 1
    assert "sudo apt-get install python3 python3-venv" in none.stderr
    bare = tools / "python3"  # a Python without venv, as Debian ships it
    bare.write_text(
        '#!/bin/sh\ncase "$2" in *version_info\\ *) exit 0;; *%d*) echo 3.11;; *) exit 1;; esac\n'
    )
    bare.chmod(0o755)
    lacking = subprocess.run(
        ["/bin/sh", str(copy / "setup")], env=environment, capture_output=True, text=True, check=False
    )
    assert lacking.returncode == 1
    assert "sudo apt-get install python3.11-venv" in lacking.stderr


def dockerfile() -> list[list[str]]:
    """The instructions of the Dockerfile, as words."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text()).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def test_image_is_made_of_files_that_exist_and_that_its_builder_sees() -> None:
    shown = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line[:1] == "!"
    ]
    assert all((ROOT / name).exists() for name in shown)
    copied = [
        source
        for words in dockerfile()
        if words[0] == "COPY" and not words[1].startswith("--from")
        for source in words[1:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source == "." or any(fnmatch(source, name) for name in shown), source
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(shown)
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= set(shown)


def test_image_runs_as_an_ordinary_user_with_a_health_check() -> None:
    instructions = dockerfile()
    stages = [number for number, words in enumerate(instructions) if words[0] == "FROM"]
    final = {words[0]: words for words in instructions[stages[-1] :]}
    assert len(stages) == 2
    assert final["USER"] == ["USER", "tollkeeper"]
    assert "/health/live" in " ".join(final["HEALTHCHECK"])
    assert final["VOLUME"] == ["VOLUME", "/data"]
    assert final["CMD"] == ["CMD", "[serve]"]
