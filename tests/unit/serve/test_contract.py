"""The API keeps what its OpenAPI file promises, whatever is sent: schemathesis makes the requests."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_headers_conformance, response_schema_conformance, status_code_conformance

from tests.unit.serve.in_process import local_api
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder = tmp_path_factory.mktemp("contract") / "bundle"
    return local_api(save_tiny_bundle(folder, tiny_network(scale=30), samples=[tiny_clip(glosses=("HAUS",))]).folder)


def test_the_promises_hold(served: FastAPI) -> None:
    """Fifteen requests of each of the operations, in about ten seconds."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", served)
    tried = 0
    for found in schema.get_all_operations():

        @given(case=found.ok().as_strategy())
        @settings(max_examples=15, deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        def sends(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        sends()
        tried += 1
    assert tried == sum(len(operations) for operations in served.openapi()["paths"].values())


def test_every_operation_is_described(served: FastAPI, tmp_path: Path) -> None:
    for path, operations in served.openapi()["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            assert operation.get("description"), (method, path)
            assert operation.get("tags"), (method, path)
