"""What the documents say of the repository is there: files, functions, links."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ROOT / "src" / "kubernaut"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILE = re.compile(r"`([\w.-]+(?:/[\w.-]+)*\.(?:py|sql|toml|yaml|json|rego|md)|(?:[\w.-]+/)+)`")
LINK = re.compile(r"\]\(([\w./-]+)(?:#[^)]*)?\)")
STEP = re.compile(r"^\| \d+ \| `([\w/]+\.py)` \| `([\w.]+)` \|", re.MULTILINE)


def names_of(path: Path) -> set[str]:
    """Functions, classes and methods of a module, as `function` and `Class.method`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if hasattr(each, "name")}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page):
    named = {name for name in FILE.findall(page.read_text()) if "/" in name}
    missing = {name for name in named if not any((base / name).exists() for base in (ROOT, CODE, page.parent))}

    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page):
    links = {link for link in LINK.findall(page.read_text()) if "://" not in link}

    assert {link for link in links if not (page.parent / link).exists()} == set()


def test_every_page_is_in_the_table_of_contents():
    docs = ROOT / "docs"
    listed = LINK.findall((docs / "README.md").read_text())
    pages = {str(page.relative_to(docs)) for page in docs.rglob("*.md")} - {"README.md"}

    assert {page for page in pages if page not in listed and f"{page.rpartition('/')[0]}/" not in listed} == set()


def test_the_path_of_one_signal_names_functions_that_exist():
    steps = STEP.findall((ROOT / "docs" / "architecture.md").read_text())

    assert len(steps) == 18
    assert [(file, name) for file, name in steps if name not in names_of(CODE / file)] == []


def test_the_layers_of_the_architecture_are_those_of_the_import_contract():
    page = (ROOT / "docs" / "architecture.md").read_text()
    packages = {path.name for path in CODE.iterdir() if (path / "__init__.py").exists()}
    rows = set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE))

    assert rows == packages


def test_the_glossary_has_twenty_words():
    rows = re.findall(r"^\| ([\w -]+) \| .+ \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)

    assert len(rows[1:]) == 20
