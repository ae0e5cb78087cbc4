"""The pytest plugin. It joins the run and registers the modules that hold the hooks."""

from importlib.metadata import version

import pytest

from pytest_muster.leaks import detector
from pytest_muster.records import activity, errors, recorder, transport
from pytest_muster.records.run import RUN, cannot_record, directory_of, open_run
from pytest_muster.resources import health, per_worker, startup
from pytest_muster.schedule import scheduler, slots
from pytest_muster.shutdown import plugin as shutdown_plugin
from pytest_muster.terminal import live, summary
from pytest_muster.triage import child_exits, rerun_options, terminal_summary
from pytest_muster.workspace import sweep, workspace

PLUGINS = (
    slots,
    sweep,
    workspace,
    startup,
    per_worker,
    health,
    shutdown_plugin,
    errors,
    activity,
    recorder,
    transport,
    live,
    summary,
    scheduler,
    rerun_options,
    child_exits,
    terminal_summary,
    detector,
)
"""Modules with pytest hooks, in the order in which they are configured."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    group = parser.getgroup("muster", "pytest-muster")
    group.addoption(
        "--muster-directory", metavar="DIR", help="keep run records here rather than in .muster of the root directory"
    )
    for module in PLUGINS:
        pluginmanager.register(module, f"muster-module-{module.__name__.rpartition('.')[2]}")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[RUN] = open_run(config)
    except OSError as error:
        raise cannot_record(config, error) from None


def pytest_report_header(config: pytest.Config) -> str:
    """One line in pytest's header, so that a log shows which version ran, and where its record is."""
    run = config.stash[RUN]
    own, wanted = run.directory.parent.parent, directory_of(config)
    elsewhere = f", kept in {own}, since {wanted} cannot be written" if own != wanted else ""
    return f"muster: {version('pytest-muster')}, run {run.id}{elsewhere}"
