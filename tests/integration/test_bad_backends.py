"""Whatever a backend does, its own entry says it in one clear message, and nobody else is disturbed."""

from tests.integration.badservers import CATEGORIES, STATUSES, bad_servers
from tests.integration.stage import OperatorProcess, Stage, entry, eventually, gateway, group, mcp_backends


def test_every_bad_backend_is_named_by_category_and_the_good_one_is_not_disturbed(
    stage: Stage, operator: OperatorProcess
) -> None:
    with bad_servers() as urls, mcp_backends("good") as backends:
        entries = [entry(name, url) for name, url in urls.items()]
        stage.apply(group(), *entries, entry("good", backends["good"].url), gateway())

        def seen() -> dict[str, tuple[str, str | None]]:
            found = stage.status("front")["discoveredBackends"]
            return {b["name"]: (b["status"], b.get("errorCategory")) for b in found}

        wanted = {name: (STATUSES.get(name, "unavailable"), category) for name, category in CATEGORIES.items()}
        # Circuits open and are tried again meanwhile: all of it holds at one moment, not at any.
        eventually(lambda: seen() == wanted | {"good": ("ready", None)})
        for backend in stage.status("front")["discoveredBackends"]:
            if backend["name"] in CATEGORIES:
                assert backend["message"], backend
                assert "Traceback" not in backend["message"]
                assert "Errno" not in backend["message"]


def test_a_group_of_dead_backends_only_is_failed_with_no_routable_backends(
    stage: Stage, operator: OperatorProcess, local_runner: object
) -> None:
    with bad_servers() as urls:
        stage.apply(group(), entry("one", urls["refused"]), entry("two", urls["hangs"]), gateway())
        eventually(lambda: stage.condition("front", "Ready")["reason"] == "NoRoutableBackends")
        assert stage.status("front")["phase"] == "Failed"
        assert stage.status("front")["backendCount"] == 0


def test_an_empty_group_is_ready(stage: Stage, operator: OperatorProcess, local_runner: object) -> None:
    stage.apply(group(), gateway())
    eventually(lambda: stage.condition("front", "Ready")["status"] == "True")
    assert stage.status("front")["phase"] == "Ready"


def test_an_image_that_does_not_start_is_said_and_a_pod_that_runs_again_heals_it(
    stage: Stage, operator: OperatorProcess, local_runner: object
) -> None:
    stage.apply(group(), gateway(serviceAccount="nobody"))
    ready = eventually(lambda: (c := stage.condition("front", "Ready"))["reason"] == "DeploymentFailed" and c)
    assert "nobody" in ready["message"]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    stage.apply(account)
    eventually(lambda: stage.condition("front", "Ready")["status"] == "True", patience_s=180)
