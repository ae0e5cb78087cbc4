"""The audit hook of the interpreter, once for everything in this plugin that observes what a process does.

The interpreter calls every audit hook for every audited event, also for those that nobody asked for, and a hook can
never be removed. So there is one. Subscribers name the events that they want; an event without a subscriber costs one
look-up. Who caused an event is looked for only by handlers that ask for it.

A run within a run (pytest's own `pytester`) has observers of its own, which take the place of the outer ones until
they are closed.
"""

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import pytest

from pytest_muster.records.project import Project

Handler = Callable[[tuple[Any, ...]], None]
"""Gets the arguments of an event. What it raises is dropped: it would break the tested code."""
FrameHandler = Callable[[tuple[Any, ...], FrameType], None]
"""Gets the frame that caused the event, too."""
_Table = dict[str, tuple[tuple[Handler, ...], tuple[FrameHandler, ...]]]


class Observers:
    """The handlers of one run."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.table: _Table = {}
        self._outer = _active
        self._is_closed = False

    def subscribe(self, handlers: Mapping[str, Handler]) -> None:
        """Call each handler for its event, from whichever thread, as long as these observers are active."""
        for event, handler in handlers.items():
            plain, framed = self.table.get(event, ((), ()))
            self.table[event] = ((*plain, handler), framed)
        _install()

    def subscribe_with_frame(self, handlers: Mapping[str, FrameHandler]) -> None:
        """The same for handlers that want to know who caused an event, each time."""
        for event, handler in handlers.items():
            plain, framed = self.table.get(event, ((), ()))
            self.table[event] = (plain, (*framed, handler))
        _install()

    def activate(self) -> None:
        """Take the place of what a run within this process may have left active."""
        if not self._is_closed:
            _use(self)

    def close(self) -> None:
        """Observe no longer; the observers of an outer run are active again."""
        if not self._is_closed:
            self._is_closed = True
            _use(self._outer)


_OBSERVERS = pytest.StashKey[Observers]()
_active: Observers | None = None
_table: _Table = {}
"""That of the active observers."""
_is_installed = False


def observers_of(config: pytest.Config) -> Observers:
    """The observers of a run, active from the first call on until the run is unconfigured."""
    if _OBSERVERS not in config.stash:
        observers = config.stash[_OBSERVERS] = Observers(Project(config.rootpath))
        observers.activate()
        config.add_cleanup(observers.close)
    return config.stash[_OBSERVERS]


def event_frame() -> FrameType:
    """The frame that caused the event of which a handler was told. Called by handlers only."""
    frame: FrameType | None = _frame(1)
    while frame is not None:
        code, frame = frame.f_code, frame.f_back
        if frame is not None and code is _HOOK:
            return frame
    raise LookupError("not called by a handler of an audit event")


def location_of(frame: FrameType | None, project: Project) -> tuple[str | None, str | None]:
    """The innermost frame of the project from here on outwards, as `file:line` and the name of its function."""
    known = project.known
    while frame is not None:
        code = frame.f_code
        name = code.co_filename
        file = known[name] if name in known else project.relative(name)
        if file is not None:
            return f"{file}:{frame.f_lineno}", code.co_qualname
        frame = frame.f_back
    return None, None


def relay(event: str, *args: Any) -> None:
    """Tell the handlers with a frame of an event that the interpreter does not audit; the caller's caller caused it."""
    _, framed = _table.get(event, ((), ()))
    for handle in framed:
        try:  # noqa: SIM105  # as below
            handle(args, _frame(2))
        except Exception:  # noqa: BLE001, S110  # as below
            pass


def _use(observers: Observers | None) -> None:
    global _active, _table
    _active = observers
    _table = observers.table if observers else {}


def _install() -> None:
    global _is_installed
    if not _is_installed:
        _is_installed = True
        sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    """Called by the interpreter for each audited event, in whichever thread it happens."""
    if event in _table:
        _dispatch(event, args)


def _dispatch(event: str, args: tuple[Any, ...]) -> None:
    try:
        plain, framed = _table[event]
        for handle in plain:
            try:  # noqa: SIM105  # `contextlib.suppress` costs more than what it would protect
                handle(args)
            except Exception:  # noqa: BLE001, S110  # what is raised here would break the tested code
                pass
        if framed:
            frame = _frame(2)
            for handle_with_frame in framed:
                handle_with_frame(args, frame)
    except Exception:  # noqa: BLE001, S110  # as above; also if another thread has closed the observers meanwhile
        pass


_HOOK = _hook.__code__
_frame = sys._getframe  # noqa: SLF001  # `inspect.stack` would read files
