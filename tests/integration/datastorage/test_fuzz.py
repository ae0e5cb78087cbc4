"""Requests made up from the OpenAPI document, valid and invalid: no fault of ours, no undeclared answer."""

import asyncio
from collections.abc import Iterator
from importlib import resources

import httpx2
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CONTRACT = yaml.safe_load(resources.files("kubernaut.datastorage").joinpath("openapi.yaml").read_text())
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS: dict[str, APIOperation] = {
    result.ok().label: result.ok() for result in schemathesis.openapi.from_dict(CONTRACT).get_all_operations()
}
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def runs() -> Iterator[tuple[str, GenerationMode]]:
    for label, operation in OPERATIONS.items():
        has_input = bool(operation.body or operation.query or operation.path_parameters or operation.headers)
        yield from ((label, mode) for mode in (MODES if has_input else MODES[:1]))


def fuzz(operation: APIOperation, mode: GenerationMode, base_url: str) -> None:
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        response = case.call(base_url=base_url, timeout=10)

        case.validate_response(response, checks=CHECKS)
        # The one 503 that an event can ask for: its time is ahead of ours.
        assert response.status_code < 500 or "server_time" in response.json()

    check()


@pytest.mark.timeout(120)
async def test_made_up_requests_get_declared_answers(http: httpx2.AsyncClient):
    for label, mode in runs():
        await asyncio.to_thread(fuzz, OPERATIONS[label], mode, str(http.base_url).rstrip("/"))
