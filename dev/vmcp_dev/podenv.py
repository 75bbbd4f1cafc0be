"""The environment of a pod's process."""

import os
from pathlib import Path

from vmcp_dev.cluster import Cluster
from vmcp_dev.podview import Json, PodView
from vmcp_dev.podvolumes import CannotMount, Files, config_map, field, secret

# A container sees nothing of the developer's environment; a local process needs this much to run at all.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV")


def process_environment() -> dict[str, str]:
    """What every process gets, whatever its container says."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # Relative entries would point elsewhere from the pod's folder.
    entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return kept | {
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in entries),
        "PYTHONUNBUFFERED": "1",
        "VMCP_ALLOW_LOOPBACK": "true",
    }


async def container_environment(cluster: Cluster, pod: PodView, container: Json, ip: str) -> dict[str, str]:
    """`env` and `envFrom` of the container, references resolved.

    Raises:
        CannotMount: a reference leads nowhere.
        Refused, Unreachable: the API server does not answer it.
    """
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        files: Files = {}
        if "configMapRef" in source:
            files = await config_map(cluster, pod.namespace, source["configMapRef"])
        elif "secretRef" in source:
            files = await secret(cluster, pod.namespace, source["secretRef"])
        found |= {source.get("prefix", "") + key: value.decode() for key, value in files.items()}
    for entry in container.get("env", ()):
        value = await _value(cluster, pod, entry, ip)
        if value is not None:
            found[entry["name"]] = value
    return found


async def _value(cluster: Cluster, pod: PodView, entry: Json, ip: str) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value", ""))
    if "fieldRef" in source:
        path = source["fieldRef"]["fieldPath"]
        return ip if path in ("status.podIP", "status.podIPs") else field(pod, path)
    if "secretKeyRef" in source:
        reference = source["secretKeyRef"]
        return _key(await secret(cluster, pod.namespace, reference), reference)
    if "configMapKeyRef" in source:
        reference = source["configMapKeyRef"]
        return _key(await config_map(cluster, pod.namespace, reference), reference)
    raise CannotMount(f"env {entry['name']}: the local runner does not know {', '.join(source)}")


def _key(files: Files, reference: Json) -> str | None:
    if reference["key"] in files:
        return files[reference["key"]].decode()
    if reference.get("optional"):
        return None
    raise CannotMount(f"couldn't find key {reference['key']} in {reference['name']}")
