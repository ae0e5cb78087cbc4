"""Proactive signals: names that predict something, and the name of what they predict.

The file is YAML with one key, `proactive_signal_mappings`, a map of predicted name to base name. It is read again when
it changes; an invalid file is reported and the previous mapping stays.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import structlog
import yaml

from kubernaut.api.vocabulary import SignalMode
from kubernaut.ops.tasks import background
from kubernaut.signalprocessing import default_policy
from kubernaut.signalprocessing.directory_watch import watch_directory
from kubernaut.signalprocessing.watched_file import InvalidFile, read_text

log = structlog.get_logger("signal-mode")

WATCH_INTERVAL = 30.0  # seconds
KEY = "proactive_signal_mappings"
FILE = "proactive-signal-mappings.yaml"
MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
"""Of collections in each other; the YAML library has no limit of its own, and deep ones overflow its stack."""


class InvalidMapping(ValueError):
    """The file of the signal mode mapping is invalid."""


@dataclass(frozen=True, kw_only=True)
class ResolvedMode:
    """The mode of one signal."""

    mode: SignalMode
    name: str
    """The normalised name, for everything downstream."""
    source_name: str = ""
    """The original name of a proactive signal."""


@dataclass(frozen=True)
class SignalModeMapping:
    """Predicted names and their base names."""

    base_names: dict[str, str] = field(default_factory=dict)

    def mode_of(self, name: str) -> ResolvedMode:
        """Exact and case-sensitive; every other name is reactive and stays as it is."""
        base = self.base_names.get(name)
        if base is None:
            return ResolvedMode(mode=SignalMode.REACTIVE, name=name)
        return ResolvedMode(mode=SignalMode.PROACTIVE, name=base, source_name=name)


def builtin() -> SignalModeMapping:
    """The mapping that comes with the package."""
    return parse((resources.files(default_policy) / FILE).read_text())


def parse(text: str) -> SignalModeMapping:
    """Raises InvalidMapping."""
    try:
        _check_depth(text)
        content = yaml.load(text, Loader=yaml.CSafeLoader) or {}
    # Its constructors raise all of these for a date or a number that is none.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise InvalidMapping(f"not YAML: {error}") from error
    names = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(names, dict):
        raise InvalidMapping(f"a map under {KEY!r} is expected")
    wrong = [name for name, base in names.items() if not isinstance(name, str) or not isinstance(base, str) or not base]
    if wrong:
        raise InvalidMapping(f"{wrong[0]!r} is not mapped to a name")
    return SignalModeMapping(dict(names))


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"collections nest deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class WatchedSignalModes:
    """The signal mode mapping of a file as it is now."""

    def __init__(self, path: Path | None) -> None:
        self.current = SignalModeMapping()
        self._path = path
        self._last = ""
        """The text that was read last, or why it could not be read."""

    def reload(self) -> None:
        """Read the file again; without it every signal is reactive."""
        if self._path is None:
            return
        try:
            text = read_text(self._path, MAX_BYTES)
        except InvalidFile as error:
            if str(error) != self._last:
                log.warning("signal mode mapping unreadable, keeping the previous one", error=str(error))
            self._last = str(error)
            return
        if text == self._last:
            return
        self._last = text
        try:
            self.current = parse(text)
        except InvalidMapping as error:
            log.error("signal mode mapping rejected, keeping the previous one", error=str(error))
        else:
            log.info("signal mode mapping loaded", names=len(self.current.base_names))

    async def follow(self) -> None:
        """Read the file again whenever its directory changes, until cancelled."""
        while self._path is not None:
            try:
                async for _ in watch_directory(self._path.parent, interval=WATCH_INTERVAL):
                    await asyncio.to_thread(self.reload)
            except OSError as error:  # there is no such directory, and there may be one later
                log.debug("signal mode directory watch failed, retrying", error=str(error))
            await asyncio.sleep(WATCH_INTERVAL)
            await asyncio.to_thread(self.reload)


@asynccontextmanager
async def open_signal_modes(path: Path | None) -> AsyncIterator[WatchedSignalModes]:
    """The signal mode mapping of a file, reloaded while the block runs."""
    modes = WatchedSignalModes(path)
    await asyncio.to_thread(modes.reload)
    async with background(modes.follow(), name="signal-modes"):
        yield modes
