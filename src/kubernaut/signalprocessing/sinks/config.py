"""The section `sinks` of the controller's configuration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from kubernaut.api.vocabulary import Environment, Priority
from kubernaut.ops.settings import Between, Seconds, SettingsError


@dataclass(frozen=True, kw_only=True)
class SinkConfig:
    """One receiver of finished signals."""

    name: str
    """Name in metrics, logs and the file of its outbox; unique among the sinks."""

    url: str
    """Address that gets one POST for each event."""

    secret_file: Path | None = None
    """File with the key that signs events as Standard Webhooks does: Base64 behind `whsec_`, or any text."""

    token_file: Path | None = None
    """File with a bearer token; read again for each request."""

    ca_file: Path | None = None
    """PEM file with the CA certificates of an https `url`; without it, those of the system."""

    priorities: tuple[Priority, ...] = ()
    """Only signals of these priorities; empty takes all."""

    environments: tuple[Environment, ...] = ()
    """Only signals of these environments; empty takes all."""

    teams: tuple[str, ...] = ()
    """Only signals of these teams, by the label `team` of the policy, else the business unit; empty takes all."""

    timeout: Annotated[Seconds, Between(0.1, 300)] = 10.0
    """Seconds for one attempt."""

    max_age: Annotated[Seconds, Between(1, 30 * 86400)] = 86400.0
    """Seconds for which an event is tried; then it is given up, counted and logged."""

    max_pending: Annotated[int, Between(1, 10**6)] = 10_000
    """Events that may wait; more are taken from the cluster when there is room again."""

    concurrency: Annotated[int, Between(1, 64)] = 4
    """Requests at the same time."""

    def __post_init__(self) -> None:
        if not self.name or not all(sign.isalnum() or sign in "-_." for sign in self.name) or self.name[0] == ".":
            raise SettingsError("name", self.name, "must consist of letters, digits, '-', '_' and '.'")
        try:
            parts = urlsplit(self.url)
            is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_usable = False
        if not is_usable:
            raise SettingsError("url", self.url, "must be an http:// or https:// URL")
