"""The pages on surfaces and providers say what the program knows, and every endpoint is on some page."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gateway.dialects import SURFACES
from gateway.dialects.surfaces import operations, paths
from routing.presets import known
from tests.stack import Stack

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("build_docs", str(ROOT / "scripts" / "build-docs"))
    spec = importlib.util.spec_from_loader("build_docs", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["providers", "surfaces"])
def test_its_tables_are_as_the_script_writes_them(script: ModuleType, page: str) -> None:
    text = (DOCS / f"{page}.md").read_text()
    assert script.written(text) == text, "stale: run scripts/build-docs"


def test_every_table_is_on_a_page(script: ModuleType) -> None:
    marked = [name for page in script.pages() for name in script.MARKED.findall(page.read_text())]
    assert sorted(marked) == sorted(script.TABLES)


def test_a_stale_table_is_told_and_written(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, right = tmp_path / "surfaces.md", (DOCS / "surfaces.md").read_text()
    page.write_text(right.replace("`POST /v2/chat`", "`POST /v3/chat`", 1))
    (tmp_path / "openapi.json").write_text(script.openapi())
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "DOCS", tmp_path)
    results = []
    for words in (["--check"], [], ["--check"]):
        monkeypatch.setattr("sys.argv", ["build-docs", *words])
        results.append(script.main())
    assert results == [1, 0, 0]
    assert capsys.readouterr().out == "surfaces.md: stale\nsurfaces.md: written\n"
    assert page.read_text() == right


def test_the_page_names_every_surface_path_and_provider(script: ModuleType) -> None:
    page = (DOCS / "surfaces.md").read_text()
    for path in (path for _, path, _ in paths()):
        before, _, verb = path.rpartition(":")
        told = path in page or (before in script.google_models() and f"{{google}}:{verb}" in page)
        assert told, path
    matrix = "\n".join(script.TABLES["spoken"]())
    assert all(f"| `{name}` |" in matrix for name in known())
    assert all(f"`{name}`" in matrix for name, surface in SURFACES.items() if surface.paths)


def test_what_the_tables_say_of_a_request_is_asked_of_the_surface_itself(script: ModuleType) -> None:
    asked = set()
    for surface in SURFACES.values():
        for stream in (False, True):
            asked.add(script.example(surface, stream=stream).operation)
    assert asked == set(operations())


def test_every_endpoint_is_on_a_page(stack: Stack) -> None:
    pages = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
    missing = [each.path for each in beside(stack) if plain(each.path) not in pages]
    assert missing == []


def beside(stack: Stack) -> Iterator[Any]:
    """The endpoints that are no surface's."""
    proxied = {path for _, path, _ in paths()}
    return (each for each in stack.gateway.endpoints if each.path not in proxied)


def plain(path: str) -> str:
    """A path as a page writes it."""
    return re.sub(r"\{model:path\}", "{model}", path).replace("{answer}", "{id}")
