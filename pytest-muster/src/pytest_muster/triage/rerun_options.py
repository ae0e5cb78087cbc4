"""What a triage changes in a rerun: which tests run in which order, and what they wait for.

`--muster-only=FILE` runs the tests that the file names, one node id a line, in its order.
`--muster-settle=SECONDS` waits after the set-up of each fixture of the project, or of a shared resource: what it
started has that long to get ready before anybody can use it. A pause before the first body alone would come too late
for a fixture that uses what another one has just started.
`--muster-timeout-factor=FACTOR` multiplies every time limit (see `timeout_scaling`), `--muster-swap-address-family`
connects to the other address family of this machine first (see `address_family_swap`), and
`--muster-retry-probe=SECONDS` repeats calls that raised at the end of a test (see `retry_probe`).
"""

import time
from collections.abc import Generator
from pathlib import Path

import pytest

from pytest_muster.records.run import run_of


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("muster")
    group.addoption(
        "--muster-only", metavar="FILE", help="run the tests that this file names, one node id a line, in its order"
    )
    group.addoption(
        "--muster-settle",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait after the set-up of each fixture of the project, so that what it started can get ready (default: 0)",
    )
    group.addoption(
        "--muster-timeout-factor",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="multiply every time limit of the tests by this (default: 1)",
    )
    group.addoption(
        "--muster-swap-address-family",
        action="store_true",
        help="connect to the other address family of this machine first",
    )
    group.addoption(
        "--muster-retry-probe",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="after each test, repeat the calls that raised in it, at once and after so long (default: 0, never)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("muster_only"):
        config.pluginmanager.register(_Only(config), "muster-only")
    if config.getoption("muster_settle") > 0 and run_of(config).runs_tests:
        config.pluginmanager.register(_SettleDelay(config), "muster-settle")
    if config.getoption("muster_retry_probe") > 0 and run_of(config).runs_tests:
        from pytest_muster.triage import retry_probe  # only reruns need it

        probe = retry_probe.RetryProbe(run_of(config), config.rootpath, config.getoption("muster_retry_probe"))
        config.pluginmanager.register(probe, "muster-retry-probe")
    if config.getoption("muster_timeout_factor") > 1:
        from pytest_muster.triage import timeout_scaling  # only reruns need it

        timeout_scaling.apply(config.getoption("muster_timeout_factor"), config.rootpath)
    if config.getoption("muster_swap_address_family"):
        from pytest_muster.triage import address_family_swap  # only reruns need it

        address_family_swap.apply()


class _Only:
    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        text = Path(config.getoption("muster_only")).read_text(encoding="utf-8")
        self.places = {test: place for place, test in enumerate(line for line in text.splitlines() if line)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self.places]
        left_out = [item for item in items if item.nodeid not in self.places]
        if left_out:
            self.config.hook.pytest_deselected(items=left_out)
        items[:] = sorted(chosen, key=lambda item: self.places[item.nodeid])


class _SettleDelay:
    def __init__(self, config: pytest.Config) -> None:
        self.seconds: float = config.getoption("muster_settle")
        self.root = config.rootpath

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        __tracebackhide__ = True
        value = yield
        if self._is_projects(fixturedef):
            time.sleep(self.seconds)
        return value

    def _is_projects(self, fixturedef: pytest.FixtureDef[object]) -> bool:
        code = getattr(fixturedef.func, "__code__", None)
        file = Path(code.co_filename) if code else None
        if file is None or (file.is_relative_to(self.root) and "site-packages" not in file.parts):
            return True
        return fixturedef.scope != "function" and file.is_relative_to(Path(__file__).parent.parent)
