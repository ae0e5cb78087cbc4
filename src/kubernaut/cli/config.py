"""`kubernaut config …`: what a service would run with, and whether its configuration can be used."""

import os
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import cyclopts

from kubernaut.cli.output import Output, OutputOption, emit, note, say
from kubernaut.cli.services import ConfigOption, configured
from kubernaut.ops.settings import read_values
from kubernaut.ops.settings_view import as_values
from kubernaut.ops.visible_text import visible


class ServiceName(StrEnum):
    """The services that read a configuration."""

    CONTROLLER = "controller"
    DATASTORAGE = "datastorage"
    GATEWAY = "gateway"


ServiceArgument = Annotated[ServiceName, cyclopts.Parameter(help="Whose configuration")]
_OTHER_VARIABLES = ("KUBERNAUT_DATASTORAGE_", "KUBERNAUT_PG_BIN", "KUBERNAUT_VALKEY_SERVER", "KUBERNAUT_AUDIT_STATE")


def show(service: ServiceArgument, /, *, config: ConfigOption = None, output: OutputOption = Output.YAML) -> int:
    """Print the whole configuration of a service: defaults, file and environment. Secrets are not printed.

    What is printed can be written into a file and changed; the `***` of a secret must be replaced.
    """
    loaded = configured(_class_of(service), config, service.upper())
    values = as_values(loaded)
    if service is ServiceName.GATEWAY:
        values["intake"]["labels"] = _labels(values["intake"]["labels"])
    emit(values, Output.YAML if output in (Output.TABLE, Output.WIDE) else output, [service])
    return 0


def check(service: ServiceArgument, /, *, config: ConfigOption = None) -> int:
    """Check the configuration of a service as its start would, without starting it. Exit code 2 for one it rejects.

    Files that it names must be there: those of keys, tokens, certificates and policies may be on another machine, so
    that a missing one is only noted.
    """
    if config is not None:
        read_values(config)
    loaded = configured(_class_of(service), config, service.upper())
    server = getattr(loaded, "server", None)
    auth = getattr(loaded, "auth", None)
    if server is not None and auth is not None:
        auth.mode_on(server.host)
    for key, path in _files(as_values(loaded)):
        if not Path(path).exists():
            note(f"{key}: {path} is not on this machine")
    for name in _unread_variables():
        note(f"{visible(name)} is set, and no service reads it: variables are named as KUBERNAUT_GATEWAY__SERVER__PORT")
    say(f"{service}: the configuration can be used")
    return 0


# By name: importing a service takes half a second, and each needs an extra of its own.
_CLASSES = {
    ServiceName.CONTROLLER: ("kubernaut.signalprocessing.config", "SignalProcessingConfig"),
    ServiceName.DATASTORAGE: ("kubernaut.datastorage.config", "DataStorageConfig"),
    ServiceName.GATEWAY: ("kubernaut.gateway.config", "GatewayConfig"),
}


def _class_of(service: ServiceName) -> type[Any]:
    module, name = _CLASSES[service]
    found: type[Any] = getattr(import_module(module), name)
    return found


def _labels(configured_labels: dict[str, str]) -> dict[str, str]:
    """The operator's map and the built-in one behind it, as the gateway reads it."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.gateway.labels import with_defaults

    return with_defaults(configured_labels)


def _files(values: dict[str, Any], at: str = "") -> list[tuple[str, str]]:
    """The keys that name a file which the service reads, with the file."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += _files(value, f"{at}{key}.")
        elif isinstance(value, list):
            for index, each in enumerate(value):
                found += _files(each, f"{at}{key}[{index}].") if isinstance(each, dict) else []
        elif isinstance(value, str) and value and (key in ("kubeconfig", "file") or key.endswith("File")):
            found += [] if key == "portFile" else [(at + key, value)]
    return found


def _unread_variables() -> list[str]:
    prefixes = tuple(f"KUBERNAUT_{service.upper()}__" for service in ServiceName)
    return [
        name
        for name in sorted(os.environ)
        if name.startswith("KUBERNAUT_") and not name.startswith((*prefixes, *_OTHER_VARIABLES))
    ]
