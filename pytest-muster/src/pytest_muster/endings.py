"""Ends a run in order, whatever ends it: first the workers, then the shared resources, then the record."""

from collections.abc import Generator

import pytest

from pytest_muster.exits import ExitCode
from pytest_muster.keeping import KEEPER
from pytest_muster.run import run_of


def pytest_configure(config: pytest.Config) -> None:
    if run_of(config).owns_shared:
        config.pluginmanager.register(_Ending(config), "muster-ending")


class _Ending:
    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Around xdist's own implementation, which waits for the workers and kills those that do not end."""
        keeper = self.config.stash[KEEPER]
        try:
            return (yield)
        finally:
            for _name in keeper.stop():
                pass
            if keeper.troubles:
                session.exitstatus = ExitCode.INFRASTRUCTURE

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for trouble in self.config.stash[KEEPER].troubles:
            terminalreporter.section(trouble.title, red=True, bold=True)
            terminalreporter.write_line(trouble.text)
