"""The generated pages of `docs/reference/` that are more than a table of one module."""

import ast
import inspect
import re
import textwrap
import typing
from enum import Enum
from importlib import resources

import cyclopts
import msgspec
import yaml
from prometheus_client import CollectorRegistry

from kubernaut.api import vocabulary
from kubernaut.api.events import AuditEvent, GatewayPayload, SignalPayload
from kubernaut.audit.metrics import AuditMetrics
from kubernaut.cli.app import app, describe_whole
from kubernaut.datastorage.dead_letter.metrics import DeadLetterMetrics
from kubernaut.datastorage.lifecycle_metrics import LifecycleMetrics
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.scheduled_verification import VerificationMetrics
from kubernaut.gateway.heartbeats import Heartbeats
from kubernaut.gateway.metrics import GatewayMetrics
from kubernaut.ops.http.connections import ConnectionTable
from kubernaut.ops.http.limits import HttpLimits
from kubernaut.ops.metrics import new_registry
from kubernaut.signalprocessing.registry import new_metrics

NOTICE = "Written by `make fmt` from the code; do not edit."


def commands() -> str:
    """Every command with its options, as `--help` has them."""
    _describe_whole(app)
    text = app.generate_docs(output_format="markdown").replace("```console", "```text")
    _, _, body = text.partition("## Table of Contents")
    contents, _, rest = body.partition("\n**Commands**")
    rest = rest[rest.index("\n## ") :]
    rest = re.sub(r"\n{3,}", "\n\n", rest)
    exits = (
        "Exit codes: 0 success, 1 a finding (something did not verify, decide or match), 2 wrong usage, "
        "3 something could not be reached."
    )
    return f"# Commands\n\n{NOTICE}\n\n{exits}\n{contents.rstrip()}\n{rest.rstrip()}\n"


def _describe_whole(parent: cyclopts.App) -> None:
    for name in parent:
        if not name.startswith("-"):
            describe_whole(parent[name])
            _describe_whole(parent[name])


def http() -> str:
    """DataStorage's HTTP interface, from its OpenAPI document."""
    document = yaml.safe_load(resources.files("kubernaut.datastorage").joinpath("openapi.yaml").read_text())
    rows = [
        f"| `{method.upper()} {path}` | {operation['summary']} | {', '.join(operation['responses'])} |"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]
    return "\n".join(
        [
            "# HTTP: DataStorage",
            "",
            NOTICE,
            "",
            "A running DataStorage serves the whole document, with every field and example, under `/openapi.yaml`.",
            "Every answer of 400 and above is a problem document (RFC 9457) that says what was wrong and what to do.",
            "The gateway's answers are in [howto-alertmanager.md](../howto-alertmanager.md#what-the-answers-mean).",
            "",
            "| request | | answers |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def audit_events() -> str:
    """The fields of an audit event, and the events that our services write."""
    meanings = sentences_of(vocabulary.EventType)
    types = "\n".join(f"| `{each.value}` | {meanings[each.name]} |" for each in vocabulary.EventType)
    return "\n".join(
        [
            "# Audit events",
            "",
            NOTICE,
            "",
            "## Fields of every event",
            "",
            "Absent fields are left out. `event_id` follows from what the event is about, so one that is sent twice is",
            "stored once.",
            "",
            "| field | | required |",
            "|---|---|---|",
            *_fields(AuditEvent),
            "",
            "## Events of our services",
            "",
            "| `event_type` | |",
            "|---|---|",
            types,
            "",
            "DataStorage writes `datastorage.*` events about itself: legal holds, erasures, retention, refused events",
            "and dead letters.",
            "",
            "## event_data of signalprocessing events",
            "",
            "| key | |",
            "|---|---|",
            *(row.rsplit(" |", 2)[0] + " |" for row in _fields(SignalPayload)),
            "",
            "## event_data of gateway events",
            "",
            "| key | |",
            "|---|---|",
            *(row.rsplit(" |", 2)[0] + " |" for row in _fields(GatewayPayload)),
            "",
        ]
    )


def _fields(cls: type[msgspec.Struct]) -> list[str]:
    """One row per field: name, what it may be, whether it is required."""
    hints, sentences = typing.get_type_hints(cls, include_extras=True), sentences_of(cls)
    rows = []
    for field in msgspec.structs.fields(cls):
        about = " ".join(part for part in (_kind(hints[field.name]), sentences.get(field.name, "")) if part)
        rows.append(f"| `{field.encode_name}` | {about} | {'yes' if field.required else ''} |")
    return rows


def _kind(hint: typing.Any) -> str:
    choices = [each for each in typing.get_args(hint) if each is not type(None)]
    if type(None) in typing.get_args(hint):
        return _kind(choices[0])
    if typing.get_origin(hint) is typing.Annotated:
        meta = next((each for each in hint.__metadata__ if isinstance(each, msgspec.Meta)), None)
        name = _kind(typing.get_args(hint)[0])
        if meta is None:
            return name
        if meta.max_length is not None:
            return f"{name}, {meta.min_length or 0} to {meta.max_length} characters"
        return f"{name}, {meta.ge} to {meta.le}" if meta.le is not None else name
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = ", ".join(f"`{each.value}`" for each in hint)
        return "event type" if hint is vocabulary.EventType else values
    if typing.get_origin(hint) is dict:
        return "object"
    names = {"str": "text", "int": "whole number", "bool": "true or false", "Raw": "JSON object", "UUID": "UUID"}
    return names.get(getattr(hint, "__name__", ""), "RFC 3339 time with its zone")


def sentences_of(cls: type) -> dict[str, str]:
    """What stands under each field of a class or member of an enumeration, its bases included, on one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):  # a class of the interpreter itself
            continue
        for field, after in zip(tree.body, tree.body[1:], strict=False):
            if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
                continue
            target = field.target if isinstance(field, ast.AnnAssign) else getattr(field, "targets", [None])[0]
            if isinstance(target, ast.Name):
                found[target.id] = " ".join(str(after.value.value).split()).replace("|", "\\|")
    return found


def metrics() -> str:
    """The page of every service's metrics, from registries that hold them all."""
    controller = new_metrics().registry
    AuditMetrics("signalprocessing", controller)
    gateway = new_registry("gateway", "")
    GatewayMetrics(gateway)
    Heartbeats((), gateway)
    AuditMetrics("gateway", gateway)
    datastorage = new_registry("datastorage", "")
    Metrics(datastorage)
    LifecycleMetrics(datastorage)
    DeadLetterMetrics(datastorage)
    VerificationMetrics(datastorage)
    sections = [
        f"## {name}\n\n| metric | type | labels | |\n|---|---|---|---|\n" + "\n".join(_rows_of_metrics(registry)) + "\n"
        for name, registry in {"Controller": controller, "Gateway": gateway, "DataStorage": datastorage}.items()
    ]
    return (
        f"# Metrics\n\n{NOTICE}\n\n"
        "Besides these, `/metrics` has what the Prometheus client says about every process (`process_…`, `python_…`).\n"
        "Labels whose values come from a policy are bounded; further values count as `other`.\n\n" + "\n".join(sections)
    )


def _rows_of_metrics(registry: CollectorRegistry) -> list[str]:
    ConnectionTable(HttpLimits(), registry)
    rows = []
    for collector in registry._collector_to_names:  # noqa: SLF001 - the library has no public list with labels
        if not hasattr(collector, "_labelnames"):
            continue  # what the client library says about every process
        (family,) = collector.describe()
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)  # noqa: SLF001
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return sorted(rows)
