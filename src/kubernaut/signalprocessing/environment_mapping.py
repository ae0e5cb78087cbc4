"""The environment mapping of `kubernaut-environment-config`: names or patterns of namespaces, one per line."""

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from kubernaut.api.vocabulary import Environment
from kubernaut.signalprocessing.business import parse_enum
from kubernaut.signalprocessing.kinds import ConfigMap

log = structlog.get_logger("environment-mapping")

KEY = "mapping"
MAX_LOGGED_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class EnvironmentMapping:
    """Which environment a namespace belongs to by its name."""

    exact: dict[str, Environment] = field(default_factory=dict)
    patterns: tuple[tuple[str, str, Environment], ...] = ()
    """What a name begins and ends with, the longest first."""

    def environment_of(self, namespace: str) -> Environment | None:
        """The exact name counts first, then the longest pattern; the answer never depends on the order of lines."""
        if found := self.exact.get(namespace):
            return found
        for prefix, suffix, environment in self.patterns:
            fits = len(namespace) >= len(prefix) + len(suffix)
            if fits and namespace.startswith(prefix) and namespace.endswith(suffix):
                return environment
        return None


def parse(text: str, report: Callable[[str], None] = lambda _: None) -> EnvironmentMapping:
    """The mapping of `pattern: environment` lines; an invalid line is ignored and reported."""
    exact: dict[str, Environment] = {}
    patterns: dict[tuple[str, str], Environment] = {}
    for line in text.splitlines():
        content = line.partition("#")[0].strip()
        if not content:
            continue
        name, _, value = content.partition(":")
        name, environment = name.strip(), parse_enum(Environment, value)
        if not name or environment is None:
            report(content)
        elif name.count("*") == 1:
            prefix, _, suffix = name.partition("*")
            patterns.setdefault((prefix, suffix), environment)
        else:
            exact.setdefault(name, environment)
    longest_first = sorted(patterns.items(), key=lambda item: (-len(item[0][0]) - len(item[0][1]), item[0]))
    return EnvironmentMapping(
        exact=exact, patterns=tuple((prefix, suffix, value) for (prefix, suffix), value in longest_first)
    )


class WatchedEnvironmentMapping:
    """The mapping of the ConfigMap as it is now; without the ConfigMap it maps nothing."""

    def __init__(self) -> None:
        self.current = EnvironmentMapping()

    def on_change(self, _old: ConfigMap | None, new: ConfigMap | None) -> None:
        """Listener of the ConfigMap's cache."""
        text = (new.data or {}).get(KEY, "") if new else ""
        invalid: list[str] = []
        self.current = parse(text, invalid.append)
        if invalid:
            log.warning(
                "invalid lines in environment mapping ignored", count=len(invalid), first=invalid[0][:MAX_LOGGED_CHARS]
            )
        log.info("environment mapping loaded", entries=len(self.current.exact) + len(self.current.patterns))
