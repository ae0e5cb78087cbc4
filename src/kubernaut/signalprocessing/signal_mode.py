"""Proactive signals: names that predict something, and the name of what they predict.

The file is YAML with one key, `proactive_signal_mappings`, a map of predicted name to base name. It is read again when
it changes; a file that cannot be used is reported and the previous one stays.
"""

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import structlog
import yaml

from kubernaut.api.vocabulary import SignalMode
from kubernaut.signalprocessing import default_policy

log = structlog.get_logger("signal-mode")

KEY = "proactive_signal_mappings"
FILE = "proactive-signal-mappings.yaml"


class ModesInvalid(ValueError):
    """The file of signal modes cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How a signal is to be read."""

    mode: SignalMode
    name: str
    """The normalised name, for everything downstream."""
    source_name: str = ""
    """The original name of a proactive signal."""


@dataclass(frozen=True)
class SignalModes:
    """Predicted names and their base names."""

    base_names: dict[str, str] = field(default_factory=dict)

    def mode_of(self, name: str) -> Mode:
        """Exact and case-sensitive; every other name is reactive and stays as it is."""
        base = self.base_names.get(name)
        if base is None:
            return Mode(mode=SignalMode.REACTIVE, name=name)
        return Mode(mode=SignalMode.PROACTIVE, name=base, source_name=name)


def builtin() -> SignalModes:
    """The mapping that comes with the package."""
    return parse((resources.files(default_policy) / FILE).read_text())


def parse(text: str) -> SignalModes:
    """Raises ModesInvalid."""
    try:
        content = yaml.load(text, Loader=yaml.CSafeLoader) or {}
    except yaml.YAMLError as error:
        raise ModesInvalid(f"not YAML: {error}") from error
    names = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(names, dict):
        raise ModesInvalid(f"a map under {KEY!r} is expected")
    wrong = [name for name, base in names.items() if not isinstance(name, str) or not isinstance(base, str) or not base]
    if wrong:
        raise ModesInvalid(f"{wrong[0]!r} is not mapped to a name")
    return SignalModes(dict(names))


class WatchedModes:
    """The signal modes of a file as it is now."""

    def __init__(self, path: Path | None) -> None:
        self.current = SignalModes()
        self._path = path
        self._text: str | None = None

    def reload(self) -> None:
        """Read the file again; without it every signal is reactive."""
        if self._path is None:
            return
        try:
            text = self._path.read_text()
        except OSError as error:
            if self._text is not None or self.current.base_names:
                log.info("signal modes cannot be read, keeping what was read last", error=str(error))
            return
        if text == self._text:
            return
        self._text = text
        try:
            self.current = parse(text)
        except ModesInvalid as error:
            log.error("signal modes were refused, keeping the previous ones", error=str(error))
        else:
            log.info("signal modes are in force", names=len(self.current.base_names))
