"""The production entry points: configuration from a file and the environment, then the service until SIGTERM."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import cyclopts
import yaml

from kubernaut.cli.columns import Table
from kubernaut.cli.errors import CommandError, command_error
from kubernaut.cli.output import note, say, table

if TYPE_CHECKING:
    from kubernaut.datastorage.migrate import SchemaStatus

C = TypeVar("C")

MIGRATIONS = Table(heads=("version", "stage", "name", "state"), details=("stage",), both_ends=("name",))

ConfigOption = Annotated[
    Path | None,
    cyclopts.Parameter(
        name="--config", help="YAML file; variables such as KUBERNAUT_GATEWAY__SERVER__PORT override it"
    ),
]


@contextmanager
def hints(service: str) -> Iterator[None]:
    """What helps with an error of a service is its configuration, not an option of a command."""
    try:
        yield
    except Exception as error:
        known = command_error(error)
        if known is None:
            raise
        hint = known.hint and f"kubernaut config check {service}, with the same --config"
        raise CommandError(str(known), code=known.code, hint=hint) from error


def configured(cls: type[C], path: Path | None, service: str) -> C:
    """The service's configuration from the file and the environment. Raises SettingsError."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.ops.settings import load

    return load(cls, path, env=os.environ, prefix=f"KUBERNAUT_{service}")


async def controller(*, config: ConfigOption = None) -> int:
    """Run the SignalProcessing controller until SIGTERM; SIGHUP has it read log level and policy again."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.ops import logs
    from kubernaut.ops.reload import ignore_hangups
    from kubernaut.signalprocessing.config import SignalProcessingConfig
    from kubernaut.signalprocessing.service import run

    ignore_hangups()
    settings = configured(SignalProcessingConfig, config, "CONTROLLER")
    logs.configure(settings.logging.level, settings.logging.format)
    logs.set_level(settings.logging.level, settings.logging.max_lines_per_second)
    with hints("controller"):
        await run(settings, lambda: configured(SignalProcessingConfig, config, "CONTROLLER"))
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
    with hints("datastorage"):
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
    with hints("gateway"):
        await run(settings)
    return 0


async def migrate(
    *,
    config: ConfigOption = None,
    stage: Literal["pre", "post"] = "post",
    status: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> int:
    """Apply pending migrations to DataStorage's PostgreSQL schema; safe to run at any time, also concurrently.

    Parameters
    ----------
    config
        The configuration of `kubernaut datastorage`.
    stage
        pre: only what the version before this one works with as well, to be run before its processes are replaced.
        post: everything.
    status
        List the migrations and change nothing; exit 1 while one of them is pending. Triggers, rules, row-level
        security and altered columns on the tables are warned of.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.datastorage import migrate as migrations
    from kubernaut.datastorage.config import DataStorageConfig

    settings = configured(DataStorageConfig, config, "DATASTORAGE")
    if status:
        return _show_status(await migrations.status(settings.database.dsn()))
    for name in (applied := await migrations.migrate(settings.database.dsn(), upto=migrations.Stage(stage))):
        say(f"applied {name}")
    if not applied:
        note("schema is up to date, nothing applied")
    return 0


def _show_status(schema: "SchemaStatus") -> int:
    rows = [
        [f"{each.version:05d}", each.stage, each.name, "applied" if each.is_applied else "pending"]
        for each in schema.migrations
    ]
    table(MIGRATIONS, rows)
    for each in schema.foreign_objects:
        note(f"warning: {each}: not of this version; events that it changes or discards are refused")
    return 0 if all(each.is_applied for each in schema.migrations) else 1


def crd() -> int:
    """Print the CRD manifests: kubernaut crd | kubectl apply --server-side -f -"""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.api.crds import all_crds

    say(yaml.safe_dump_all(all_crds(), sort_keys=False, width=120).rstrip())
    return 0
