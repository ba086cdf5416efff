"""Requests that schemathesis makes up from the service's own OpenAPI: whatever comes, no 5xx."""

import pytest
from hypothesis import HealthCheck, settings

from serving_samples import running

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis; .ci/run installs it")
openapi = pytest.importorskip("schemathesis.specs.openapi.checks")
serving = pytest.importorskip("adadsr.serving")

CHECKS = [
    pytest.importorskip("schemathesis.checks").not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
]
schema = schemathesis.openapi.from_dict(serving.create_app(serving.Settings(memory=2**30, threads=1)).openapi())


@pytest.fixture(scope="module")
def address():
    with running(max_pixels=10_000) as service:
        yield service.address


@schema.parametrize()
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_its_promises(case, address):
    case.call_and_validate(base_url=address, checks=CHECKS)
