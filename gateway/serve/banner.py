"""What a person reads on standard output when `serve` is ready."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = ("0.0.0.0", "::", "")  # noqa: S104  addresses that mean "all of this machine"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the banner tells. `first_key` only at the first start of an installation."""

    version: str
    base_url: str
    metrics_url: str
    data_dir: Path
    simulated: bool
    providers: tuple[str, ...]
    workers: int
    model: str
    first_key: str | None


def text(facts: Facts) -> str:
    """The banner; on a first start with the key and a command line that works as pasted."""
    served = "the simulated provider" if facts.simulated else ", ".join(facts.providers)
    plural = "worker" if facts.workers == 1 else "workers"
    lines = [
        "",
        f"Tollkeeper {facts.version} is ready.",
        "",
        f"  Base URL   {facts.base_url}",
        f"  Serves     {served}, with {facts.workers} {plural}",
        f"  Metrics    {facts.metrics_url}",
        f"  Data       {facts.data_dir}",
        "",
    ]
    if facts.first_key is None:
        return "\n".join(
            [*lines, "The key was shown at the first start; `tollkeeper keys create` makes another.", ""]
        )
    lines += [
        "Your first key. It is shown this once only, keep it:",
        "",
        f"  {facts.first_key}",
        "",
        "Try it:",
        "",
        *curl(facts),
        "",
        "See what it cost, on which customer and feature:",
        "",
        f"  {events_command(facts.data_dir)}",
        "",
    ]
    if facts.simulated:
        lines += [
            "No provider is configured: nothing leaves this machine. Costs are by the models' real prices.",
            "For a real one set OPENAI_API_KEY, or write a config.yaml (see config.example.yaml).",
            "",
        ]
    return "\n".join(lines)


def curl(facts: Facts) -> list[str]:
    """A request as one shell command; -i shows the answer's headers, the cost among them."""
    body = json.dumps(
        {"model": facts.model, "messages": [{"role": "user", "content": "Say hello in one sentence."}]}
    )
    return [
        f"curl -i {facts.base_url}/chat/completions \\",
        f'  -H "Authorization: Bearer {facts.first_key}" \\',
        '  -H "Content-Type: application/json" \\',
        '  -H "Observe-Customer: acme" \\',
        '  -H "Observe-Feature: greeting" \\',
        f"  -d {shlex.quote(body)}",
    ]


def events_command(data_dir: Path) -> str:
    """`tollkeeper events tail` by the path of the environment that runs now, for this data directory."""
    program = Path(sys.executable).with_name("tollkeeper")
    here = Path.cwd()
    shown = os.path.relpath(program, here) if program.is_relative_to(here) else str(program)
    arguments = [] if data_dir == here / "data" else ["--data-dir", str(data_dir)]
    return shlex.join([shown, "events", "tail", *arguments])


def url_host(host: str) -> str:
    """An address as one types it into a URL on this machine."""
    if host in HERE:
        return "127.0.0.1" if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host
