"""`python sbom.py NAME`: a CycloneDX document of the distributions that this Python has installed, on stdout.

Only the standard library: it runs inside the image that it describes. The same distributions give the same bytes.
"""

import json
import platform
import re
import sys
import uuid
from importlib.metadata import Distribution, distributions
from typing import Any

JsonObject = dict[str, Any]

_LICENSE_CLASSIFIER = "License :: OSI Approved :: "


def document(name: str, installed: list[Distribution]) -> JsonObject:
    """The bill of materials of the application `name`, which is one of the distributions.

    Raises:
        ValueError: it is not among them.
    """
    components = {component["bom-ref"]: component for component in map(_component, installed)}
    ordered = [components[reference] for reference in sorted(components)]
    subject = next((component for component in ordered if component["name"] == _normal(name)), None)
    if subject is None:
        raise ValueError(f"{name} is not installed here")
    python = {
        "type": "platform",
        "bom-ref": f"pkg:generic/python@{platform.python_version()}",
        "name": "python",
        "version": platform.python_version(),
    }
    parts = [python, *(component for component in ordered if component is not subject)]
    body: JsonObject = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject | {"type": "application"}},
        "components": parts,
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "serialNumber": f"urn:uuid:{serial}"} | body


def _component(distribution: Distribution) -> JsonObject:
    metadata = distribution.metadata
    name, version = _normal(metadata["Name"]), distribution.version
    purl = f"pkg:pypi/{name}@{version}"
    component: JsonObject = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    licenses = _licenses(distribution)
    return component | ({"licenses": licenses} if licenses else {})


def _licenses(distribution: Distribution) -> list[JsonObject]:
    expressions = distribution.metadata.get_all("License-Expression")
    if expressions:
        return [{"expression": str(expressions[0])}]
    named = [
        classifier.removeprefix(_LICENSE_CLASSIFIER)
        for classifier in distribution.metadata.get_all("Classifier") or []
        if classifier.startswith(_LICENSE_CLASSIFIER)
    ]
    return [{"license": {"name": name}} for name in named]


def _normal(name: str) -> str:
    """As package URLs and PyPI write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _main() -> int:
    json.dump(document(sys.argv[1], list(distributions())), sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(_main())
