"""What shared resources log stays out of the tests that run beside them.

With workers, shared resources live in another process than the tests. In a process that is alone they live on threads
beside the tests, and pytest captures for a test what any thread logs meanwhile: its `caplog` would hold other records
with `-n 0` than with `-n 4`. Handlers of live logs and log files get everything as before.
"""

import logging
import threading
import weakref
from collections.abc import Iterable

import pytest

_HANDLERS = ("caplog_handler", "report_handler")
"""Those of pytest's logging plugin that hold the records of the current test."""


def keep_out(config: pytest.Config, threads: Iterable[threading.Thread]) -> None:
    """Let tests capture no record that one of these threads logs."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    for name in _HANDLERS:
        handler = getattr(plugin, name, None)
        if isinstance(handler, logging.Handler):
            handler.addFilter(_OtherThreads(threads))


class _OtherThreads(logging.Filter):
    def __init__(self, threads: Iterable[threading.Thread]) -> None:
        super().__init__()
        self._threads = weakref.WeakSet(threads)

    def filter(self, record: logging.LogRecord) -> bool:  # handlers are called by the thread that logs
        return threading.current_thread() not in self._threads
