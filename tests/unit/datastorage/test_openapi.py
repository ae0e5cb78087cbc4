"""The contract and the code name the same routes, words and limits."""

import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import yaml
from prometheus_client import CollectorRegistry

from kubernaut.api import events, lifecycle
from kubernaut.api.problems import Problem, Slug
from kubernaut.api.vocabulary import EventCategory, EventOutcome
from kubernaut.datastorage import parameters, permissions
from kubernaut.datastorage.actors import Actors
from kubernaut.datastorage.config import DatabaseConfig, ServerConfig
from kubernaut.datastorage.endpoints import Endpoints
from kubernaut.datastorage.export_endpoint import ExportEndpoint
from kubernaut.datastorage.ledger_endpoints import LedgerEndpoints
from kubernaut.datastorage.lifecycle_endpoints import LifecycleEndpoints
from kubernaut.datastorage.lifecycle_metrics import LifecycleMetrics
from kubernaut.datastorage.metrics import Metrics
from kubernaut.ops.health import Health
from support.ledger_events import a_wire_event

CONTRACT: dict[str, Any] = yaml.safe_load(resources.files("kubernaut.datastorage").joinpath("openapi.yaml").read_text())
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in CONTRACT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_is_in_the_contract_and_the_other_way_round():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    endpoints = Endpoints(None, None, ServerConfig(), metrics, Actors())  # type: ignore[arg-type]
    ledger = LedgerEndpoints(None, None, None)  # type: ignore[arg-type]
    export = ExportEndpoint(None, None, None)  # type: ignore[arg-type]
    holds = LifecycleEndpoints(DatabaseConfig(), ServerConfig(), LifecycleMetrics(registry), export)
    routes = [*endpoints.routes(), *ledger.routes(), *holds.routes(), *Health({}).routes(registry)]

    served = {
        (method, re.sub(r":\w+}", "}", route.path))  # types of parameters stand elsewhere in the contract
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }

    assert served == {(method, path) for method, path, _ in operations()}


def test_paths_with_permissions_of_their_own_are_in_the_contract():
    assert {permissions.VERIFY, permissions.OPENAPI} <= set(CONTRACT["paths"])


def test_every_operation_has_an_id_of_its_own():
    ids = [operation["operationId"] for _, _, operation in operations()]

    assert len(ids) == len(set(ids))


def test_every_refusal_is_a_problem_document():
    for _, path, operation in operations():
        if not path.startswith("/api/"):
            continue
        for status, answer in operation["responses"].items():
            name = answer.get("$ref", "").rpartition("/")[2]
            content = (CONTRACT["components"]["responses"][name] if name else answer)["content"]
            expected = "application/json" if status.startswith("2") else "application/problem+json"
            allowed = [[expected], ["application/json", "application/x-ndjson"]] if status == "200" else [[expected]]
            assert list(content) in allowed, (path, status)


def test_query_parameters_are_those_the_code_reads():
    (query,) = (operation for method, path, operation in operations() if (method, path) == ("GET", EVENTS))
    named = {p.get("name") or p["$ref"].rpartition("/")[2] for p in query["parameters"]}

    assert named == set(parameters.QUERY_NAMES)


EVENTS = "/api/v1/audit/events"


def test_timeline_parameters_are_those_the_code_reads():
    timeline = CONTRACT["paths"]["/api/v1/audit/timeline/{correlation_id}"]["get"]

    assert {p["name"] for p in timeline["parameters"] if p["in"] == "query"} == set(parameters.TIMELINE_NAMES)


def test_every_problem_is_declared_where_it_can_happen():
    of_paths = {404, 405}  # these answer paths and methods that have no operation
    of_writes = {408, 409, 413, 415}
    for method, path, operation in operations():
        if not path.startswith("/api/"):
            continue
        expected = {slug.status for slug in Slug} - of_paths
        if method == "GET":
            expected -= of_writes
        elif path.endswith("verify-chain") or method == "DELETE":
            expected -= {409}
        if "requestBody" not in operation and not any(p.get("in") != "path" for p in operation.get("parameters", ())):
            expected -= {400}  # a path that does not fit is not served
        declared = {int(status) for status in operation["responses"] if status != "default"}

        assert expected <= declared, (method, path, expected - declared)


def test_closed_vocabularies_are_those_of_the_code():
    assert SCHEMAS["Category"]["enum"] == list(EventCategory)
    assert SCHEMAS["Outcome"]["enum"] == list(EventOutcome)


def nullable(schema: object) -> bool:
    if isinstance(schema, dict):
        return "null" in schema.get("type", ()) or any(map(nullable, schema.values()))
    return isinstance(schema, list) and any(map(nullable, schema))


ANSWERS = ("EventCreated", "BatchCreated", "BatchResults", "StoredEvent", "EventPage", "Timeline", "Verification")


@pytest.mark.parametrize("schema", [*ANSWERS, "Problem"])
def test_answers_leave_out_what_has_no_value(schema: str):
    assert not nullable(SCHEMAS[schema])
    type_ = getattr(events, schema, Problem)
    assert type_.__struct_config__.omit_defaults
    required = {field.encode_name for field in msgspec.structs.fields(type_) if field.required}
    assert set(SCHEMAS[schema]["required"]) == required


@pytest.mark.parametrize(
    ("schema", "type_"),
    [
        ("AuditEventRequest", events.AuditEvent),
        ("EventCreated", events.EventCreated),
        ("BatchCreated", events.BatchCreated),
        ("BatchResults", events.BatchResults),
        ("StoredEvent", events.StoredEvent),
        ("EventPage", events.EventPage),
        ("Timeline", events.Timeline),
        ("VerifyRequest", events.VerifyRequest),
        ("Verification", events.Verification),
        ("RemovedEvents", events.RemovedEvents),
        ("PlaceHold", lifecycle.PlaceHold),
        ("LegalHold", lifecycle.LegalHold),
        ("HoldPlaced", lifecycle.HoldPlaced),
        ("ReleaseHold", lifecycle.ReleaseHold),
        ("HoldReleased", lifecycle.HoldReleased),
        ("HoldList", lifecycle.HoldList),
        ("EraseEvents", lifecycle.EraseEvents),
        ("EventsErased", lifecycle.EventsErased),
        ("Problem", Problem),
    ],
)
def test_schema_has_the_fields_of_the_type(schema: str, type_: type[msgspec.Struct]):
    assert set(SCHEMAS[schema]["properties"]) == set(type_.__struct_fields__)


@pytest.mark.parametrize(
    "field", [f for f in events.AuditEvent.__struct_fields__ if f not in ("event_data", "event_category")]
)
def test_limits_of_the_request_are_those_of_the_type(field: str):
    described = msgspec.json.schema(events.AuditEvent)["$defs"]["AuditEvent"]["properties"][field]
    variants = [described, *described.get("anyOf", [])]
    promised = SCHEMAS["AuditEventRequest"]["properties"][field]

    for limit in ("minLength", "maxLength", "minimum", "maximum"):
        assert promised.get(limit) == next((v[limit] for v in variants if limit in v), None), limit


def validator(schema: str) -> Any:
    return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{schema}", "components": CONTRACT["components"]})


def test_example_event_fits_the_contract():
    assert validator("AuditEventRequest").is_valid(a_wire_event())
    assert not validator("AuditEventRequest").is_valid(a_wire_event(event_outcome="maybe"))
