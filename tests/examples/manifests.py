from pathlib import Path

import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"


def manifests() -> list[Path]:
    """The examples that are applied with kubectl; others are configurations of the gateway alone."""
    return [path for path in sorted(EXAMPLES.glob("*.yaml")) if "\nkind: VirtualMCPServer" in path.read_text()]


def gateway_of(path: Path) -> dict[str, object]:
    """The VirtualMCPServer in a manifest."""
    documents = yaml.safe_load_all(path.read_text())
    found: dict[str, object] = next(document for document in documents if document["kind"] == "VirtualMCPServer")
    return found
