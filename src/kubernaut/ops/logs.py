"""Structured logs: JSON lines, or something readable on a terminal.

A service logs to standard output; a command that prints an answer there logs to standard error.
Level and rate can be changed while the process runs.
"""

import logging
import sys
import time
import traceback
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, TextIO, cast

import msgspec
import structlog

from kubernaut.ops.logins import without_login
from kubernaut.ops.visible_text import visible


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class LogFormat(StrEnum):
    """`auto` is `console` on a terminal and `json` elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


def configure(
    level: LogLevel = LogLevel.INFO, format: LogFormat = LogFormat.AUTO, stream: TextIO | None = None
) -> None:
    """Set up logging for this process; call it once, before the first line. `stream` is standard output by default."""
    stream = stream or sys.stdout
    set_level(level)
    readable = format is LogFormat.CONSOLE or (format is LogFormat.AUTO and stream.isatty())
    shared: list[structlog.types.Processor] = [
        _filter,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide_logins,
    ]
    if readable:
        # Without the values of variables in a traceback: some are secrets.
        console = structlog.dev.ConsoleRenderer(sort_keys=False, exception_formatter=_traceback)
        renderer: list[structlog.types.Processor] = [_show_controls, console]
        factory: structlog.types.BindableLogger | object = structlog.PrintLoggerFactory(stream)
    else:
        shared.insert(0, structlog.stdlib.add_logger_name)
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
        factory = structlog.BytesLoggerFactory(cast("BinaryIO", _LossyStream(stream.buffer)))
    structlog.configure(
        processors=[*shared, *renderer],
        # The filter decides, because loggers are cached and would keep the level that they began with.
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=factory,  # type: ignore[arg-type]  # two factories with one shape and no common type
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module; only what needs attention is let through, on the same stream.
    logging.basicConfig(stream=stream, level=logging.WARNING, format='{"level":"%(levelname)s","event":"%(message)s"}')


def _hide_logins(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Addresses are logged without their login, whoever logs them."""
    for name, value in event.items():
        if isinstance(value, str) and "://" in value:
            event[name] = without_login(value)
    return event


def _show_controls(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """What a terminal would obey is logged as escapes; JSON has its own."""
    return {name: visible(value) if isinstance(value, str) else value for name, value in event.items()}


def _traceback(stream: TextIO, error: structlog.typing.ExcInfo) -> None:
    text = "".join(traceback.format_exception(*error))
    stream.write("\n".join(map(visible, text.rstrip("\n").split("\n"))))


def set_level(level: LogLevel, max_lines_per_second: int = 0) -> None:
    """Change what is logged from now on.

    Of each DEBUG or INFO event at most so many lines are written in a second, all of them for 0; the next line that is
    written says how many were left out. Warnings and errors are always written.
    """
    _filter.min_level = _LEVELS[level.value.lower()]
    _filter.max_lines = max_lines_per_second
    _filter.windows.clear()


_LEVELS = {
    "debug": 10,
    "info": 20,
    "warning": 30,
    "warn": 30,
    "error": 40,
    "exception": 40,
    "critical": 50,
    "fatal": 50,
}
_MAX_WINDOWS = 1000


@dataclass
class _Window:
    """The lines of one event in one second."""

    second: int
    written: int = 0
    suppressed: int = 0


class _Filter:
    """Drops what is below the level, and what exceeds the rate."""

    def __init__(self) -> None:
        self.min_level = logging.INFO
        self.max_lines = 0
        self.windows: dict[str, _Window] = {}

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        level = _LEVELS.get(method, logging.INFO)
        if level < self.min_level:
            raise structlog.DropEvent
        if self.max_lines and level < logging.WARNING:
            self._count(event)
        return event

    def _count(self, event: structlog.typing.EventDict) -> None:
        second, name = int(time.monotonic()), str(event.get("event"))
        if len(self.windows) >= _MAX_WINDOWS and name not in self.windows:
            self.windows.clear()
        window = self.windows.setdefault(name, _Window(second))
        if window.second != second:
            window.second, window.written = second, 0
        if window.written >= self.max_lines:
            window.suppressed += 1
            raise structlog.DropEvent
        window.written += 1
        if window.suppressed:
            event["suppressed"] = window.suppressed
            window.suppressed = 0


_filter = _Filter()


class _LossyStream:
    """A stream that drops lines while its disk is full or its reader gone: that must not end a service.

    Dropped lines are counted, and the count is written as soon as writing works again.
    """

    def __init__(self, stream: BinaryIO) -> None:
        # A buffer would keep a line that failed and fail with it again.
        self._stream = getattr(stream, "raw", stream)
        self._dropped = 0

    def write(self, line: bytes) -> int:
        try:
            if self._dropped:
                self._stream.write(_to_json({"event": "log lines dropped", "count": self._dropped}) + b"\n")
            if self._stream.write(line) is None:
                raise BlockingIOError("the pipe is full")
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._dropped += 1
        else:
            self._dropped = 0
        return len(line)

    def flush(self) -> None:
        """Each line is flushed when it is written."""


def _to_json(event: dict[str, object], **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)
