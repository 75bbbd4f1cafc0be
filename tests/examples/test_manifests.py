"""The examples as files: accepted by the API server, and nothing left unexplained."""

from pathlib import Path

import pytest
from tests.examples.manifests import EXAMPLES, gateway_of, manifests

from vmcp.api.model import ApiModel
from vmcp.api.operational import CircuitBreaker, FailureHandling
from vmcp.api.unsupported import left_out
from vmcp.api.validation import validate
from vmcp.api.virtualmcpserver import VirtualMCPServerSpec
from vmcp_dev.kubectl import Kubectl

HEALTH = EXAMPLES / "health-monitoring.yaml"


@pytest.mark.parametrize("path", manifests(), ids=lambda path: path.name)
def test_the_api_server_takes_it_without_a_warning(path: Path, kubectl: Kubectl, crds: None, namespace: str) -> None:
    applied = kubectl("-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", str(path))

    assert applied.count("created (server dry run)") >= 3


@pytest.mark.parametrize("path", manifests(), ids=lambda path: path.name)
def test_the_operator_finds_nothing_to_say_about_it(path: Path) -> None:
    spec = gateway_of(path)["spec"]

    assert validate(spec) == []
    assert left_out(VirtualMCPServerSpec.model_validate(spec)) == []


@pytest.mark.parametrize("model", [FailureHandling, CircuitBreaker])
def test_every_field_of_failure_handling_is_explained(model: type[ApiModel]) -> None:
    lines = [line.strip() for line in HEALTH.read_text().splitlines()]
    for name, field in model.model_fields.items():
        alias = field.alias or name
        if alias == "circuitBreaker":
            continue
        at = next((number for number, line in enumerate(lines) if line.startswith(f"{alias}:")), None)
        assert at is not None, f"{alias} is missing"
        assert lines[at - 1].startswith("#"), f"{alias} has no comment above it"
