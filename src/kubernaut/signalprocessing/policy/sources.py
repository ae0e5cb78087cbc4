"""Where a policy's text comes from: the built-in one, a `policy.rego`, or one file per dimension."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path

from kubernaut.signalprocessing import default_policy
from kubernaut.signalprocessing import policy as _here
from kubernaut.signalprocessing.policy.errors import PolicyError, PolicyMissing
from kubernaut.signalprocessing.watched_file import InvalidFile, read_text

MAX_BYTES = 1024 * 1024
"""Bytes of one file of a policy."""


class Form(StrEnum):
    """How a policy is written, hence how it is evaluated."""

    UNIFIED = "unified"
    PER_DIMENSION = "per-dimension"


_RULES = {
    Form.UNIFIED: ("severity", "priority", "labels", "cluster"),
    Form.PER_DIMENSION: ("severity", "priority", "labels", "business"),
}

PER_DIMENSION_FILES = (
    "environment.rego",
    "priority.rego",
    "business.rego",
    "customlabels.rego",
    "labels.rego",
    "severity.rego",
)
"""File names of the per-dimension form; each may be absent."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The text of one version of a policy."""

    files: tuple[tuple[str, str], ...]
    form: Form
    hash: str
    """SHA-256 in hex: of the file as it is, or of all files with their names."""

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that are evaluated besides `environment`."""
        return _RULES[self.form]

    @property
    def entry(self) -> str:
        """The module through which all rules are evaluated at once."""
        text = (resources.files(_here) / "entry" / f"{self.form}.rego").read_text()
        # Labels had two packages over time.
        if any("package signalprocessing.customlabels" in text for _, text in self.files):
            text = text.replace("data.signalprocessing.labels.labels", "data.signalprocessing.customlabels.labels")
        return text

    @property
    def entries(self) -> list[str]:
        """The paths of the rules that are asked for, such as `data.signalprocessing.severity`."""
        return sorted(set(re.findall(r"data\.signalprocessing[\w.]*", self.entry)))


def builtin() -> Sources:
    """The default policy that comes with the package."""
    return from_text((resources.files(default_policy) / "policy.rego").read_text())


def from_text(text: str, file: str = "policy.rego") -> Sources:
    """A policy in the unified form."""
    return Sources(files=((file, text),), form=Form.UNIFIED, hash=_digest(text.encode()))


def from_files(files: Mapping[str, str], form: str = Form.PER_DIMENSION) -> Sources:
    """A policy of files by their names. Raises ValueError where a unified one has not exactly one file."""
    if form == Form.PER_DIMENSION:
        named = [(name, files[name]) for name in PER_DIMENSION_FILES if name in files]
        joined = b"\0".join(f"{name}\0{text}".encode() for name, text in sorted(named))
        return Sources(files=tuple(named), form=Form.PER_DIMENSION, hash=_digest(joined))
    ((name, text),) = files.items()
    return from_text(text, name)


def read(directory: Path | None, file: str = "policy.rego") -> Sources:
    """The policy of a directory, or the built-in one for None.

    Raises PolicyMissing when the directory holds none, PolicyError when a file cannot be read.
    """
    if directory is None:
        return builtin()
    if os.path.lexists(directory / file):
        return from_text(read_file(directory / file), file)
    present = [name for name in PER_DIMENSION_FILES if os.path.lexists(directory / name)]
    files = {name: read_file(directory / name) for name in present}
    if not files:
        raise PolicyMissing(f"there is no {file} in {directory}, nor any of {', '.join(PER_DIMENSION_FILES)}")
    return from_files(files)


def read_file(path: Path) -> str:
    """The text of one file of a policy. Raises PolicyError when it is too large or no UTF-8."""
    try:
        return read_text(path, MAX_BYTES)
    except InvalidFile as error:
        raise PolicyError(str(error), file=path.name) from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
