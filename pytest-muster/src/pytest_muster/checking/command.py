"""`muster check`: read test code and say what breaks when tests run in parallel."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from pytest_muster.checking.engine import METAS, Checker, Violation, files_in
from pytest_muster.checking.reference import explain, rules_page
from pytest_muster.checking.rules import all_rules
from pytest_muster.checking.sarif import sarif
from pytest_muster.checking.settings import Settings, SettingsError, check_ids, read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATHS", help="files and directories (default: the project's testpaths)"
    )
    parser.add_argument("--select", metavar="IDS", help="only these rules, such as M101,M2")
    parser.add_argument("--ignore", metavar="IDS", help="not these rules")
    parser.add_argument("--output", choices=["terminal", "json", "sarif"], default="terminal")
    parser.add_argument("--explain", metavar="ID", help="what a rule finds and why, with examples")
    parser.add_argument("--docs", action="store_true", help="print the page of all rules as Markdown")


def run(arguments: argparse.Namespace) -> int:
    if arguments.docs:
        sys.stdout.write(rules_page())
        return 0
    if arguments.explain:
        return _explain(arguments.explain)
    try:
        settings = _settings(arguments)
        paths = arguments.paths or _default_paths(settings)
    except SettingsError as error:
        sys.stderr.write(f"muster check: {error}\n")
        return 2
    checker = Checker(settings)
    files = list(files_in(paths, settings))
    violations = [violation for file in files for violation in checker.check(file)]
    _WRITERS[arguments.output](violations, len(files))
    return 1 if violations else 0


def _explain(id: str) -> int:
    rule = all_rules().get(id)
    if rule:
        sys.stdout.write(explain(rule))
        return 0
    meta = next((one for one in METAS if one.id == id), None)
    if meta:
        sys.stdout.write(f"{meta.id} {meta.name}\n\n{meta.title}\n\nInstead: {meta.remedy}\n")
        return 0
    sys.stderr.write(f"muster check: there is no rule {id!r}; there are {', '.join(all_rules())}\n")
    return 2


def _settings(arguments: argparse.Namespace) -> Settings:
    settings = read_settings(Path.cwd())
    for option in ("select", "ignore"):
        given = getattr(arguments, option)
        if given is not None:
            ids = tuple(one.strip() for one in given.split(","))
            check_ids(ids)
            # A choice for this call narrows what the project ignores; it does not repeal it.
            ids = (*settings.ignore, *ids) if option == "ignore" else ids
            settings = replace(settings, select=ids) if option == "select" else replace(settings, ignore=ids)
    for path in arguments.paths:
        if not path.exists():
            raise SettingsError(f"{path} does not exist; name files or directories of tests")
    return settings


def _default_paths(settings: Settings) -> list[Path]:
    named = [settings.root / one for one in settings.paths]
    return [one for one in named if one.exists()] or [Path.cwd()]


def _terminal(violations: list[Violation], files: int) -> None:
    lines = [f"{one.path}:{one.line}:{one.column}: {one.id} {one.message}\n    {one.remedy}\n" for one in violations]
    if violations:
        found, faulty = _count(len(violations), "violation"), len({one.path for one in violations})
        lines.append(f"{found} in {faulty} of {_count(files, 'file')}; `muster check --explain ID` says why\n")
    else:
        lines.append(f"no violations in {_count(files, 'file')}\n")
    sys.stdout.writelines(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _json(violations: list[Violation], files: int) -> None:
    json.dump({"files": files, "violations": [asdict(one) for one in violations]}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _sarif(violations: list[Violation], files: int) -> None:
    json.dump(sarif(violations), sys.stdout, indent=2)
    sys.stdout.write("\n")


_WRITERS: dict[str, Callable[[list[Violation], int], None]] = {"terminal": _terminal, "json": _json, "sarif": _sarif}
