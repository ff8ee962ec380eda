"""The pages in `docs/` and the README: what they name exists, and what they link to."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from api.server import schema
from tests.recipe import REPOSITORY, blocks

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PAGE = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES]
)
DECISIONS = [page for page in PAGES if page.parent.name == "decisions" and page.stem != "README"]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([\w./-]+)(?::([A-Za-z_][\w.]*))?`")
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
TOP = {path.name for path in REPOSITORY.iterdir()}


def prose(page: Path) -> str:
    """Give a page's text without its blocks of code."""
    return FENCED.sub("", page.read_text())


def places(page: Path) -> Iterator[tuple[str, str]]:
    """Find the files and directories of this repository that a page names, with a name in each."""
    for path, name in NAMED.findall(prose(page)):
        if ("/" in path or "." in path) and path.partition("/")[0] in TOP:
            yield path, name


@cache
def defined(path: Path) -> set[str]:
    """Collect the names that a module defines, and those of its classes' members."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        for name in _bound(node):
            names.add(name)
        if isinstance(node, ast.ClassDef):
            members = (name for each in node.body for name in _bound(each))
            names |= {f"{node.name}.{member}" for member in members}
    return names


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@PAGE
def test_files_and_functions_that_a_page_names_exist(page: Path) -> None:
    for path, name in places(page):
        assert (REPOSITORY / path).exists(), path
        if name:
            assert name in defined(REPOSITORY / path), f"{path} has no {name}"


def test_the_walks_name_many_places() -> None:
    """Else the test above would look past them."""
    found = list(places(REPOSITORY / "docs/architecture.md"))
    assert len([name for _, name in found if name]) > 30


@PAGE
def test_tests_that_a_page_names_exist(page: Path) -> None:
    functions = {name for path in (REPOSITORY / "tests").glob("*.py") for name in defined(path)}
    files = {path.stem for path in (REPOSITORY / "tests").glob("*.py")}
    for name in re.findall(r"`(test_\w+)`", prose(page)):
        assert name in functions | files, name


@PAGE
def test_links_lead_to_pages(page: Path) -> None:
    for target, anchor in LINK.findall(prose(page)):
        if "://" in target:
            continue
        other = (page.parent / target).resolve()
        assert other.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
            assert anchor[1:] in {each.lower().replace(" ", "-") for each in headings}


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, new = set[Path](), {REPOSITORY / "README.md"}
    while new:
        reached |= new
        links = {
            (page.parent / target).resolve()
            for page in new
            if page.suffix == ".md"
            for target, _ in LINK.findall(prose(page))
            if "://" not in target
        }
        new = links - reached
    assert set(PAGES) <= reached


@pytest.mark.parametrize("page", DECISIONS, ids=[page.stem for page in DECISIONS])
def test_a_decision_has_its_parts(page: Path) -> None:
    number, _, _ = page.stem.partition("-")
    assert page.read_text().startswith(f"# {int(number)}. ")
    headings = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
    assert headings == ["Context", "Decision", "Evidence", "Consequence"]


def test_decisions_are_numbered_through() -> None:
    numbers = [int(page.stem[:4]) for page in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_recipe_names_the_next_migration() -> None:
    number = int(schema.latest()) + 1
    paths = [block.path for block in blocks(REPOSITORY / "docs/adding-a-record-type.md")]
    assert f"migrations/versions/{number:04}_rulings.py" in paths
