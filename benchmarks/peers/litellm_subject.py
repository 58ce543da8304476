"""LiteLLM's proxy (PyPI, litellm[proxy]) in a virtual environment of its own.

What made it look dearer than it is, and is seen to here: PYTHONDONTWRITEBYTECODE (taken out of every
environment, see stage.py) and a missing opentelemetry-sdk, whose import its authentication tries again with
each request.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks.lane import MODELS
from benchmarks.peers.installed import Installed, NotInstalled
from benchmarks.process import descendants
from benchmarks.stage import CLIENT_HEADERS, CannotStart, Stage, clean_environment, free_port
from benchmarks.subject import Subject

NAME = "litellm"
MASTER_KEY = "sk-bench-master"
START_PATIENCE_S = 180.0
ASK = """
import json, platform
from importlib.metadata import PackageNotFoundError, version
def found(name):
    try: return version(name)
    except PackageNotFoundError: return None
names = ("litellm", "uvicorn", "opentelemetry-sdk", "uvloop", "httptools")
print(json.dumps({"python": platform.python_version(), **{name: found(name) for name in names}}))
"""


def find_litellm(folder: Path) -> Installed:
    """The proxy in `folder`/litellm. NotInstalled without it, or without what it tries to import."""
    python = folder / "litellm" / "bin" / "python"
    if not python.exists():
        raise NotInstalled(f"{NAME}: not in {folder} (sh benchmarks/peers/install)")
    outcome = subprocess.run(
        [str(python), "-c", ASK], capture_output=True, text=True, check=False, env=own_environment()
    )
    versions = json.loads(outcome.stdout) if outcome.returncode == 0 else {}
    if not versions.get("litellm"):
        raise NotInstalled(f"{NAME}: {python} has no litellm: {outcome.stderr.strip()[-300:]}")
    if not versions["opentelemetry-sdk"]:
        raise NotInstalled(
            f"{NAME}: without opentelemetry-sdk it tries that import with each request, and its figures "
            "would be of that (sh benchmarks/peers/install)"
        )
    server = f"uvicorn {versions['uvicorn']} with {'httptools' if versions['httptools'] else 'h11'}"
    return Installed(
        name=NAME,
        version=f"{versions['litellm']}, Python {versions['python']}, {server}",
        more="a router with deployments and cooldowns, translates between providers, reads and writes each "
        "chunk of a stream, calls its callbacks, works out a cost for its logs",
        less="checks one master key: no database, so no virtual keys, no budgets; records nothing that lasts",
        setting="one uvicorn worker, log level ERROR, telemetry off, opentelemetry installed, bytecode "
        "compiled",
        start=lambda stage: _start(stage, python),
    )


def own_environment() -> dict[str, str]:
    """Without the path to this checkout: nothing of it may be found first by its imports."""
    return {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}


def _start(stage: Stage, python: Path) -> Subject:
    port, configuration = free_port(), stage.scratch / "litellm.yaml"
    configuration.write_text(json.dumps(settings(stage.upstream_port), indent=1), encoding="utf-8")
    words = ["--config", str(configuration), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    process = stage.start(
        NAME,
        [str(python), str(python.parent / "litellm"), *words, "--telemetry", "False"],
        env={
            **own_environment(),
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no prices fetched from elsewhere at its start
        },
    )
    stage.wait_for_port(NAME, process, port, patience_s=START_PATIENCE_S)
    subject = Subject(
        NAME,
        port,
        [*CLIENT_HEADERS, ("Authorization", f"Bearer {MASTER_KEY}")],
        groups=lambda: {NAME: [process.pid, *descendants(process.pid)]},
        pinned=(NAME,),
        guest=True,
    )
    stage.wait_for_answer(
        subject, process, b'{"model":"bench-1kb","messages":[{"role":"user","content":"a"}]}'
    )
    if not descendants(process.pid) and process.poll() is not None:
        raise CannotStart(f"{NAME} ended: {stage.log_tail(NAME)}")
    return subject


def settings(upstream_port: int) -> dict[str, object]:
    """Its configuration (JSON is YAML): every model under its own name, from our upstream."""
    return {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": f"http://127.0.0.1:{upstream_port}/v1",
                    "api_key": "sk-bench",
                },
            }
            for model in MODELS
        ],
        "litellm_settings": {"telemetry": False, "set_verbose": False},
        "general_settings": {"master_key": MASTER_KEY},
    }
