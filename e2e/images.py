"""The two images of e2e, built here and loaded into the node under a tag that says what is in them."""

import os
import shutil
import tempfile
from pathlib import Path

from e2e.kind import REPOSITORY, CommandFailed, Kind, run

BASE_IMAGE = "python:3.11-slim"

_BUILD_SECONDS = 1800.0
_BACKEND_FILES = (
    "e2e/backend/Dockerfile",
    "e2e/backend/server.py",
    "dev/vmcp_dev/backends/legacyonly.py",
    "constraints.txt",
)
_PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")


def operator_image(kind: Kind) -> tuple[str, str]:
    """Repository and tag of the operator's image, which is also the gateways'."""
    return _built(kind, "vmcp-operator", REPOSITORY)


def backend_image(kind: Kind) -> str:
    """The image of the backends."""
    with tempfile.TemporaryDirectory(prefix="vmcp-e2e-") as folder:
        for file in _BACKEND_FILES:
            shutil.copy(REPOSITORY / file, folder)
        return ":".join(_built(kind, "vmcp-e2e-backend", Path(folder)))


def retagged(kind: Kind, repository: str, tag: str, new_tag: str) -> None:
    """Give an image one more tag, in the node too."""
    run("docker", "tag", f"{repository}:{tag}", f"{repository}:{new_tag}")
    kind.load(f"{repository}:{new_tag}")


def _built(kind: Kind, repository: str, context: Path) -> tuple[str, str]:
    arguments = [f"--build-arg={name}" for name in _PIP_SETTINGS if name in os.environ]
    command = ["docker", "build", "--quiet", f"--build-arg=BASE_IMAGE={BASE_IMAGE}", *arguments, str(context)]
    try:
        identity = run(*command, timeout_s=_BUILD_SECONDS).strip()
    except CommandFailed as error:
        print(f"once more, since a build downloads packages: {error}", flush=True)
        identity = run(*command, timeout_s=_BUILD_SECONDS).strip()
    tag = "e2e-" + identity.removeprefix("sha256:")[:12]
    run("docker", "tag", identity, f"{repository}:{tag}")
    kind.load(f"{repository}:{tag}")
    return repository, tag
