"""Which files are a project's own."""

import sys
from pathlib import Path


class Project:
    """Knows which files are the project's own: below its root, but of no environment that is installed there."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._below = self.root.rstrip("/") + "/"
        self._foreign = tuple(
            {f"{Path(prefix)}/" for prefix in (sys.prefix, sys.base_prefix) if f"{prefix}/".startswith(self._below)}
        )
        self.known: dict[str, str | None] = {}
        """What `relative` answered before; for callers to whom a method call is too slow."""

    def relative(self, file: str) -> str | None:
        """The path below the root, or None for a file of others."""
        try:
            return self.known[file]
        except KeyError:
            answer = self.known[file] = self._relative(file)
            return answer

    def _relative(self, file: str) -> str | None:
        if not file.startswith(self._below) or file.startswith(self._foreign) or "/site-packages/" in file:
            return None
        return file[len(self._below) :]
