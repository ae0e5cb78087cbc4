"""What is logged while a test runs: by the test, and not by what muster starts on a thread beside it.

with capture_logs() as logs:          # structlog's own also takes what shared resources log meanwhile
    ...
assert [line["event"] for line in logs] == ["signal classified"]
"""

import threading
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any

import structlog
import structlog.testing

from pytest_muster.records.run import RESOURCE_THREAD

Entry = MutableMapping[str, Any]


def capture_logs() -> AbstractContextManager[list[Entry]]:
    """The entries that are logged in the block, by whatever belongs to the test."""
    return structlog.testing.capture_logs(processors=[_drop_logs_of_resources])


def mute_resources() -> None:
    """Print nothing of what shared resources log: it would land in the output of whatever test runs."""
    structlog.configure(processors=[_drop_logs_of_resources, *structlog.get_config()["processors"]])


def _drop_logs_of_resources(_logger: Any, _method: str, event: Entry) -> Entry:
    if threading.current_thread().name == RESOURCE_THREAD:
        raise structlog.DropEvent
    return event
