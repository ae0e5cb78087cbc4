"""When shared resources start: after collection and before the first test, those that a collected test needs.

Workers collect, so they say which resources their tests need; the process that owns the run starts them.
"""

import importlib
import importlib.util
import json
import sys
import threading
from collections.abc import Generator, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pytest_muster import hooks
from pytest_muster.records import journal
from pytest_muster.records.run import Role, run_of
from pytest_muster.resources import declarations, log_capture
from pytest_muster.resources.shared import SetupFailed, shared_resources


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hooks)


def needs_of(items: Iterable[pytest.Item]) -> dict[str, Any]:
    """What the `collected` line says of shared resources: which are needed, and which file declares each."""
    known = declarations.declared()
    names = {name for item in items for name in getattr(item, "fixturenames", ()) if name in known}
    return {"shared": sorted(names), "declared": {name: str(found.file) for name, found in known.items()}}


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    config = session.config
    option = config.option
    if run_of(config).role is not Role.ALONE or option.collectonly or getattr(option, "setupplan", False):
        return
    if session.items and (not session.testsfailed or option.continue_on_collection_errors):
        start_needed(config, needs_of(session.items)["shared"])


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> Generator[None, Any, Any]:
    """Whatever scheduler it is: when all workers have collected, and before it hands out the first test."""
    scheduler = yield
    schedule = scheduler.schedule

    def schedule_after_start() -> None:
        start_collected(config)
        schedule()

    scheduler.schedule = schedule_after_start
    return scheduler


def start_collected(config: pytest.Config) -> None:
    """Start what the workers say that their tests need, unless that has been done."""
    if shared_resources(config).began:
        return
    names: set[str] = set()
    files: dict[str, str] = {}
    for file in sorted((run_of(config).directory / "workers").glob("*.jsonl")):
        for line in journal.lines(file, only="collected"):
            names.update(line["shared"])
            files.update(line["declared"])
    for name, declared_in in files.items():
        if name not in declarations.declared():
            _import(Path(declared_in), config.getoption("importmode"))
    start_needed(config, names)


def start_needed(config: pytest.Config, names: Iterable[str]) -> None:
    """Start the named shared resources, what they depend on, and those that always start; ends the run on a failure."""
    resources = shared_resources(config)
    try:
        wanted = declarations.needed(names, declarations.declared())
    except declarations.DeclarationError as error:
        raise pytest.UsageError(str(error)) from None
    if resources.began or not wanted:
        return
    before = set(threading.enumerate())
    try:
        resources.start(wanted)
    except SetupFailed as failed:
        pytest.exit(f"{failed.error.title} failed, so no test was run")
    log_capture.keep_out(config, set(threading.enumerate()) - before)
    config.hook.pytest_muster_shared_ready(config=config, values=json.loads(json.dumps(resources.values)))


def _import(file: Path, mode: str) -> None:
    """Import a conftest.py, or another file, of which only workers have had to know so far.

    As pytest does it: a package's file under its dotted name, another one with its directory on `sys.path`.
    """
    top = file.parent
    names = [] if file.stem == "__init__" else [file.stem]
    while (top / "__init__.py").exists():
        names.insert(0, top.name)
        top = top.parent
    if mode != "importlib" and str(top) not in sys.path:
        sys.path.insert(0, str(top))
    if len(names) > 1:
        importlib.import_module(".".join(names))
        return
    name = f"muster_{file.stem}_{sha256(str(file).encode()).hexdigest()[:8]}"
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise declarations.DeclarationError(f"{file} declares a shared resource, but cannot be imported as Python")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
