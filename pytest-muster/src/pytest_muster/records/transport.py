"""Reports on their way from a worker to the controller, which xdist sends as UTF-8.

A name of a file that is not UTF-8 is a text with halves of surrogates, which cannot be sent: the worker would end with
an internal error, and with it the run. They are written as escapes instead, as in `no-such-\\udcff.txt`.
"""

from collections.abc import Generator
from typing import Any

import pytest

from pytest_muster.records.run import Role, run_of
from pytest_muster.records.text import encodable

_WITH_TEXTS = ("longrepr", "sections", "muster", "wasxfail")
"""What of a report may hold text that comes from outside."""


def pytest_configure(config: pytest.Config) -> None:
    if run_of(config).role is Role.WORKER:
        config.pluginmanager.register(_Encoder(), "muster-encoder")


class _Encoder:
    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
        data = yield
        if data is not None:
            for name in _WITH_TEXTS:
                if data.get(name):
                    data[name] = encodable(data[name])
        return data
