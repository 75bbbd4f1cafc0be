"""Objects that came from ToolHive carry its finalizers, which nobody removes once that operator is gone."""

from contextlib import suppress

from vmcp.api.kinds import Kind
from vmcp.kube.client import JsonObject, Kube, NotFound

GROUP_FINALIZER = "toolhive.stacklok.dev/mcpgroup-finalizer"
SERVER_FINALIZER = "mcpserver.toolhive.stacklok.dev/finalizer"


async def release(kube: Kube, kind: Kind, obj: JsonObject, finalizer: str) -> None:
    """Let an object that is being deleted go, as far as that finalizer holds it. Others are not touched.

    Raises:
        Conflict: the object changed since it was read.
        KubeError: the API server refused or did not answer.
    """
    metadata = obj["metadata"]
    finalizers = metadata.get("finalizers", [])
    if not metadata.get("deletionTimestamp") or finalizer not in finalizers:
        return
    others = [each for each in finalizers if each != finalizer]
    patch = {"metadata": {"finalizers": others, "resourceVersion": metadata["resourceVersion"]}}
    with suppress(NotFound):
        await kube.patch(kind, metadata["namespace"], metadata["name"], patch)
