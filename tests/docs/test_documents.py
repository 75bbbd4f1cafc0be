"""What the documents name exists: files, links, commands and their options, fields."""

import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml

from vmcp.api.operational import FailureHandling
from vmcp.cli.main import app
from vmcp_dev.kubectl import Kubectl, KubectlError

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PATH_ROOTS = (ROOT, ROOT / "operator" / "vmcp", ROOT / "docs")

MCP_METHODS = (
    "completion/", "elicitation/", "logging/", "notifications/", "prompts/", "resources/", "roots/", "sampling/",
    "server/", "subscriptions/", "tasks/", "tools/",
)  # fmt: skip

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def code_of(document: Path) -> list[str]:
    """Fenced and indented lines, and what stands in backticks."""
    text = document.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^ {4,}(\S.*)$", rest, flags=re.MULTILINE)
    inline = re.findall(r"`([^`]+)`", rest)
    return [line for block in fenced for line in block.splitlines()] + indented + inline


def found(pattern: str, document: Path) -> list[tuple[str, ...]]:
    """The groups of every match in the document's code."""
    return [match.groups() for line in code_of(document) for match in re.finditer(pattern, line)]


@cache
def help_of(module: str, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *command, "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@each_document
def test_every_link_leads_to_a_file(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not target.startswith("https://"):
            assert (document.parent / target).exists(), target


@each_document
def test_every_path_named_in_code_exists(document: Path) -> None:
    for line in code_of(document):
        for path in re.findall(r"(?<![\w/.:~-])(?:\.?[\w-]+/)+[\w.-]*|[\w-]+\.(?:py|toml)\b", line):
            if re.search(r"^(https?|application|toolhive|\.venv)|^\.?[\w-]+/$", path) and not path.startswith("crds"):
                continue
            if path.startswith(MCP_METHODS) and not path.endswith(".py"):
                continue
            if path.startswith((".venv", "v1")) or "kopf" in path:
                continue
            assert any((root / path).exists() for root in PATH_ROOTS), f"{path} in: {line}"


@each_document
def test_every_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for (target,) in found(r"\bmake ([a-z0-9-]+)", document):
        assert target in targets, target


@each_document
def test_every_vmcp_command_and_option_exists(document: Path) -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    for name, options in found(r"(?<![\w.-])vmcp ([a-z]+)((?: --?[\w-]+(?: [^\s-]\S*)?)*)", document):
        if name in ("health", "demo"):  # objects of `kubectl get vmcp NAME`
            continue
        assert name in commands, name
        known = {option for parameter in commands[name].params for option in parameter.opts}
        for option in re.findall(r"--[\w-]+", options):
            assert option in known, f"vmcp {name} {option}"


@each_document
def test_every_development_command_exists(document: Path) -> None:
    for module, rest in found(r"python -m (vmcp_dev(?:\.\w+)?)([^)`]*)", document):
        words = re.findall(r"(?<= )-{0,2}[a-z][\w-]*(?=[ =]|$)", rest)
        command = [word for word in words[:1] if not word.startswith("-")]
        for word in words:
            assert word in help_of(module, *command), f"{module}: {word}"


@each_document
def test_every_explained_field_exists(document: Path, kubectl: Kubectl, crds: None) -> None:
    for (field,) in found(r"kubectl explain (\S+)", document):
        assert "DESCRIPTION:" in explained(kubectl, field)


def explained(kubectl: Kubectl, field: str) -> str:
    # The API server publishes a new kind a moment after it serves it.
    deadline = time.monotonic() + 60.0
    while True:
        try:
            return kubectl("explain", field)
        except KubectlError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_the_settings_in_the_readme_are_settings() -> None:
    (block,) = re.findall(
        r"^```yaml\n(failureHandling:.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    given = yaml.safe_load(block)["failureHandling"]

    read = FailureHandling.model_validate(given).model_dump(by_alias=True, exclude_unset=True)
    assert given.keys() <= {field.alias or name for name, field in FailureHandling.model_fields.items()}
    assert read.keys() == given.keys()
