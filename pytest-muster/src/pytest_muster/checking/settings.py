"""`[tool.muster]` in pyproject.toml: which rules, which files."""

import tomllib
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pytest_muster.checking.rules import all_rules

_KEYS = {"select", "ignore", "exclude", "paths", "per-file-ignores"}


class SettingsError(Exception):
    """A key, a value or a rule that does not exist; the message names it and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is checked. Patterns are of paths relative to `root`, with `*` for anything, `/` included."""

    root: Path
    select: tuple[str, ...] = ()
    """Ids, or beginnings of ids such as `M2`; empty for all."""
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    """What is checked when nothing is named."""
    per_file_ignores: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def rules_for(self, path: str) -> frozenset[str]:
        chosen = {one for one in all_rules() if not self.select or one.startswith(self.select)}
        off = [
            *self.ignore,
            *(one for glob, ids in self.per_file_ignores.items() if fnmatch(path, glob) for one in ids),
        ]
        return frozenset(one for one in chosen if not (off and one.startswith(tuple(off))))

    def is_excluded(self, path: str) -> bool:
        return any(fnmatch(path, glob) or fnmatch(path, f"{glob.rstrip('/')}/*") for glob in self.exclude)


def read_settings(start: Path) -> Settings:
    """The settings of the project that `start` lies in. Raises `SettingsError`."""
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            try:
                table = tomllib.loads(file.read_text(encoding="utf-8"))
            except tomllib.TOMLDecodeError as error:
                raise SettingsError(f"{file} is not TOML: {error}") from None
            tool = table.get("tool", {})
            testpaths = tool.get("pytest", {}).get("ini_options", {}).get("testpaths", [])
            return _settings(file, tool.get("muster", {}), testpaths)
        if (folder / ".git").exists():
            break
    return Settings(root=start)


def _settings(file: Path, table: dict[str, Any], testpaths: list[str]) -> Settings:
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise SettingsError(f"{file}: [tool.muster] has no key {unknown[0]!r}; it has {', '.join(sorted(_KEYS))}")
    settings = Settings(root=file.parent, paths=tuple(testpaths))
    for key in sorted(_KEYS & set(table)):
        value = table[key]
        if key == "per-file-ignores":
            if not isinstance(value, dict):
                raise SettingsError(f"{file}: tool.muster.{key} must be a table of patterns, each with a list of ids")
            chosen = {glob: _texts(file, f"{key}.{glob}", ids) for glob, ids in value.items()}
            settings = replace(settings, per_file_ignores=chosen)
            for ids in chosen.values():
                check_ids(ids)
        else:
            texts = _texts(file, key, value)
            settings = replace(settings, **{key: texts})  # type: ignore[arg-type]  # these four are tuples of texts
            if key in {"select", "ignore"}:
                check_ids(texts)
    return settings


def _texts(file: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise SettingsError(f"{file}: tool.muster.{key} must be a list of texts, not {value!r}")
    return tuple(value)


def check_ids(ids: tuple[str, ...]) -> None:
    """Raises `SettingsError` for an id with which no rule begins."""
    for one in ids:
        if not one or not any(rule.startswith(one) for rule in all_rules()):
            raise SettingsError(f"there is no rule {one!r}; there are {', '.join(all_rules())}")
