"""The bill of materials in the image."""

import json
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from vmcp_dev.sbom import document

SCRIPT = Path(__file__).parents[2] / "dev" / "vmcp_dev" / "sbom.py"


def test_it_names_every_distribution_with_its_version_and_package_url() -> None:
    written = document("kopf", list(distributions()))
    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.6")
    assert written["metadata"]["component"]["purl"].startswith("pkg:pypi/kopf@")
    named = {component["name"]: component for component in written["components"]}
    assert {"aiohttp", "kubernetes", "pydantic-core", "python"} <= named.keys()
    assert "kopf" not in named
    assert named["pydantic-core"]["purl"] == f"pkg:pypi/pydantic-core@{named['pydantic-core']['version']}"
    assert len({component["bom-ref"] for component in written["components"]}) == len(written["components"])


def test_the_same_distributions_give_the_same_document() -> None:
    installed = list(distributions())
    assert document("kopf", installed) == document("kopf", installed[::-1])


def test_it_needs_nothing_but_the_standard_library() -> None:
    done = subprocess.run([sys.executable, "-I", SCRIPT, "kopf"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["serialNumber"].startswith("urn:uuid:")


def test_an_application_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(ValueError, match="not installed"):
        document("no-such-thing", list(distributions()))
