"""The words of `docs/vocabulary.toml` that were wrong once do not come back: not in names, messages or documents."""

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "vocabulary.toml"
KEYS = {"words", "names", "phrases", "instead", "except"}
AREAS = [
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("src/kubernaut/*/")),
    "pocketkube",
    "pytest-muster",
    "tests",
    "benchmarks",
    "faults",
    "scripts",
    "docs",
]
PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


@functools.cache
def rules() -> list[dict]:
    return tomllib.loads(TABLE.read_text())["rule"]


def parts(name: str) -> str:
    """The parts of a name: `_lost_bet_` for `_LostBet` and `LOST_BET`."""
    return f"_{'_'.join(part.lower() for part in PART.findall(name))}_"


def names_in(tree: ast.AST) -> Iterator[str]:
    """Every identifier that a module defines or uses: functions, classes, variables, parameters, keywords, modules."""
    for node in ast.walk(tree):
        for field in ("name", "id", "attr", "arg", "asname", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield from value.split(".")


def texts_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def wrong_words(names: set[str], text: str) -> Iterator[tuple[dict, str]]:
    """The rules that names and text break, each with the word that does."""
    text = re.sub(r"\s+", " ", text.lower())
    for rule in rules():
        for word in rule.get("words", ()):
            yield from ((rule, name) for name in names if f"_{word}_" in parts(name))
        yield from ((rule, name) for name in rule.get("names", ()) if name in names)
        yield from ((rule, phrase) for phrase in rule.get("phrases", ()) if phrase in text)


def findings(path: Path) -> list[str]:
    """What is wrong in one file, with what to write instead."""
    if path.suffix == ".md":
        found = wrong_words(set(), path.read_text())
    else:
        tree = ast.parse(path.read_text())
        found = wrong_words({path.stem, path.parent.name, *names_in(tree)}, " ".join(texts_in(tree)))
    file = str(path.relative_to(ROOT))
    return sorted({f"{file}: {word!r}, say {rule['instead']}" for rule, word in found if file not in exceptions(rule)})


def exceptions(rule: dict) -> dict[str, str]:
    return rule.get("except", {})


def files(area: str) -> list[Path]:
    found = [path for suffix in ("py", "md") for path in sorted((ROOT / area).rglob(f"*.{suffix}"))]
    scripts = [path for path in sorted((ROOT / area).glob("*")) if area == "scripts" and path.is_file()]
    return [path for path in found + scripts if path != Path(__file__)]


@pytest.mark.parametrize("area", AREAS)
def test_the_words_of_the_field_are_used(area):
    assert [finding for path in files(area) for finding in findings(path)] == []


def test_pages_at_the_top_use_the_words_of_the_field():
    assert [finding for path in sorted(ROOT.glob("*.md")) for finding in findings(path)] == []


def test_the_table_is_complete():
    for rule in rules():
        assert rule.keys() <= KEYS
        assert rule["instead"]
        assert rule.keys() & {"words", "names", "phrases"}
        for file, reason in exceptions(rule).items():
            assert (ROOT / file).is_file(), f"{file} is gone: remove its exception"
            assert reason


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("class _LostBet: pass", "_LostBet"),
        ("LOST_BET = 1", "LOST_BET"),
        ("import a.obituary", "obituary"),
        ("def f(*, within): pass", "within"),
        ("f(every=1)", "every"),
        ("raise E('PostgreSQL  refuses us')", "refuses us"),
    ],
)
def test_a_wrong_word_is_found_wherever_it_stands(source, word):
    tree = ast.parse(source)

    assert [found for _, found in wrong_words(set(names_in(tree)), " ".join(texts_in(tree)))] == [word]


@pytest.mark.parametrize("source", ["placement = 1", "everything = within_range", "# lane", "laneway = 1"])
def test_other_words_are_left_alone(source):
    tree = ast.parse(source)

    assert not [*wrong_words(set(names_in(tree)), " ".join(texts_in(tree)))]
