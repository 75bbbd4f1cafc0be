"""What every scenario stands on: the cluster, the images, the installed operator, a namespace and a stopwatch."""

import os
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from e2e import artifacts, fleet, images
from e2e.kind import Kind
from e2e.release import Release, Values
from e2e.scenario import Figure, Scenario, table, write
from e2e.stage import Stage

OPERATOR_NAMESPACE = "vmcp-system"

# The cluster has one operator at a time, so what replaces it comes last; what looks back over all calls comes before.
_LAST = ("test_upgrade", "test_migration", "test_permissions", "test_namespaced", "test_uninstall")
# Of the scenario alone: what the first one stands on, cluster and images, takes 20 minutes where nothing is cached.
_SCENARIO_SECONDS = 1200
_FIGURES = pytest.StashKey[list[Figure]]()
_OUTCOME = pytest.StashKey[bool]()


@dataclass(frozen=True, slots=True)
class Images:
    """What pods run: repository and tag of the operator's image, and the backends' image."""

    repository: str
    tag: str
    backend: str


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "smoke: part of `make e2e-smoke`")
    config.stash[_FIGURES] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return _LAST.index(item.path.stem) + 1 if item.path.stem in _LAST else 0

    items.sort(key=place)
    for item in items:
        item.add_marker(pytest.mark.timeout(_SCENARIO_SECONDS, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_OUTCOME] = report.passed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[_FIGURES]
    if figures:
        terminalreporter.section("scenarios")
        terminalreporter.write_line(table(figures))
        write(figures, artifacts.FOLDER / "scenarios.json")


@pytest.fixture(scope="session")
def cluster() -> Kind:
    """The kind cluster that E2E_CLUSTER names (default: vmcp), brought up if need be."""
    kind = Kind(os.environ.get("E2E_CLUSTER", "vmcp"))
    kind.up()
    return kind


@pytest.fixture(scope="session")
def pulled(cluster: Kind) -> Images:
    """The images, built and in the node."""
    repository, tag = images.operator_image(cluster)
    return Images(repository, tag, images.backend_image(cluster))


@pytest.fixture(scope="session")
def values(pulled: Images) -> Values:
    """Values of the chart for two replicas of what was built here."""
    return {"image": {"repository": pulled.repository, "tag": pulled.tag}, "replicas": 2}


@pytest.fixture(scope="session")
def operator(cluster: Kind, values: Values) -> Iterator[Release]:
    """The operator for all namespaces; uninstalled at the end."""
    cluster.kubectl.apply(fleet.namespace(OPERATOR_NAMESPACE))
    release = Release(cluster, OPERATOR_NAMESPACE)
    _clear_what_a_killed_run_left(cluster, release)
    release.install(values)
    yield release
    if os.environ.get("E2E_KEEP"):  # for work on one scenario: the next run finds it installed
        return
    release.uninstall()
    # Awaited, since nothing can be installed there while it goes: the next run may begin at once.
    cluster.kubectl("delete", "namespace", OPERATOR_NAMESPACE, "--ignore-not-found", timeout_seconds=300.0)


def _clear_what_a_killed_run_left(cluster: Kind, release: Release) -> None:
    if release.half_done():
        release.uninstall()
    others = ("--selector=vmcp-e2e=true", f"--field-selector=metadata.name!={OPERATOR_NAMESPACE}")
    cluster.kubectl("delete", "namespace", *others, "--wait=false")


@pytest.fixture
async def api(cluster: Kind) -> AsyncIterator[httpx.AsyncClient]:
    """The API server, as the administrator."""
    async with cluster.client() as client:
        yield client


@pytest.fixture
async def stage(cluster: Kind, api: httpx.AsyncClient, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A namespace of the scenario's own; when that fails, what it shows is kept before it is deleted."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    cluster.kubectl.apply(fleet.namespace(name))
    yield Stage(cluster, name, api)
    try:
        if not request.node.stash.get(_OUTCOME, False):
            release = Release(cluster, OPERATOR_NAMESPACE)
            folder = artifacts.collect(cluster, request.node.name, [name, OPERATOR_NAMESPACE], [release.account])
            print(f"kept in {folder}")
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> Iterator[Scenario]:
    """Notes what this scenario measures, for the table."""
    measured = Scenario(request.node.name.removeprefix("test_").replace("_", " "))
    yield measured
    request.config.stash[_FIGURES].extend(measured.figures)
