"""The production entry points: configuration from a file and the environment, then the service until SIGTERM."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import cyclopts
import yaml

from kubernaut.cli.output import note, say

C = TypeVar("C")

ConfigOption = Annotated[
    Path | None,
    cyclopts.Parameter(
        name="--config", help="YAML file; variables such as KUBERNAUT_GATEWAY__SERVER__PORT override it"
    ),
]


def configured(cls: type[C], path: Path | None, service: str) -> C:
    """The service's configuration from the file and the environment. Raises SettingsError."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.ops.settings import load

    return load(cls, path, env=os.environ, prefix=f"KUBERNAUT_{service}")


async def controller(*, config: ConfigOption = None) -> int:
    """Run the SignalProcessing controller until SIGTERM."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.ops import logs
    from kubernaut.signalprocessing.config import SignalProcessingConfig
    from kubernaut.signalprocessing.service import run

    settings = configured(SignalProcessingConfig, config, "CONTROLLER")
    logs.configure(settings.logging.level, settings.logging.format)
    await run(settings)
    return 0


async def datastorage(*, config: ConfigOption = None) -> int:
    """Run DataStorage, the audit service, until SIGTERM."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.datastorage.config import DataStorageConfig
    from kubernaut.datastorage.service import run
    from kubernaut.ops import logs

    settings = configured(DataStorageConfig, config, "DATASTORAGE")
    if endpoint := settings.tracing.endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""):
        settings = replace(settings, tracing=replace(settings.tracing, endpoint=endpoint))
    logs.configure(settings.logging.level, settings.logging.format)
    await run(settings)
    return 0


async def gateway(*, config: ConfigOption = None) -> int:
    """Run the gateway, which receives Alertmanager webhooks, until SIGTERM."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway.config import GatewayConfig
    from kubernaut.gateway.service import run
    from kubernaut.ops import logs

    settings = configured(GatewayConfig, config, "GATEWAY")
    logs.configure(settings.logging.level, settings.logging.format)
    await run(settings)
    return 0


async def migrate(*, config: ConfigOption = None) -> int:
    """Apply pending migrations to DataStorage's PostgreSQL schema; safe to run at any time, also concurrently.

    Parameters
    ----------
    config
        The configuration of `kubernaut datastorage`.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.datastorage.config import DataStorageConfig
    from kubernaut.datastorage.migrate import migrate as apply

    settings = configured(DataStorageConfig, config, "DATASTORAGE")
    for name in (applied := await apply(settings.database.dsn())):
        say(f"applied {name}")
    if not applied:
        note("schema is up to date, nothing applied")
    return 0


def crd() -> int:
    """Print the CRD manifests: kubernaut crd | kubectl apply --server-side -f -"""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.api.crds import all_crds

    say(yaml.safe_dump_all(all_crds(), sort_keys=False, width=120).rstrip())
    return 0
