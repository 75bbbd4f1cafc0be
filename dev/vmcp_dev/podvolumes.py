"""Puts a pod's volumes into local folders: configMap, secret, projected, emptyDir, downwardAPI."""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path

from vmcp_dev.cluster import Cluster, Refused
from vmcp_dev.podview import Json, PodView

SERVICE_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"

Files = dict[str, bytes]


class CannotMount(Exception):
    """A volume's source is missing or of a kind that the runner does not know. The message names it."""


async def mount(cluster: Cluster, pod: PodView, root: Path) -> dict[str, Path]:
    """Write all mounts of the container below `root`; local folder (or file, for a subPath) by mount path.

    Raises:
        CannotMount: a source is missing.
        Refused, Unreachable: the API server does not give one.
    """
    places: dict[str, Path] = {}
    for wanted in (pod.container or {}).get("volumeMounts", ()):
        path, volume = wanted["mountPath"].rstrip("/"), pod.volumes[wanted["name"]]
        files = await _files(cluster, pod, volume)
        folder = root / volume["name"]
        if "emptyDir" not in volume:  # which outlives a restart of the container
            shutil.rmtree(folder, ignore_errors=True)
        _write(folder, files)
        places[path] = folder / wanted["subPath"] if wanted.get("subPath") else folder
    return places


async def config_map(cluster: Cluster, namespace: str, source: Json) -> Files:
    """Contents of a ConfigMap by key; empty when it is missing and optional.

    Raises:
        CannotMount: it is missing.
    """
    found = await _read(cluster, namespace, "configmaps", source["name"], source)
    texts = {key: text.encode() for key, text in found.get("data", {}).items()}
    return texts | {key: base64.b64decode(data) for key, data in found.get("binaryData", {}).items()}


async def secret(cluster: Cluster, namespace: str, source: Json) -> Files:
    """Contents of a Secret by key; empty when it is missing and optional.

    Raises:
        CannotMount: it is missing.
    """
    found = await _read(cluster, namespace, "secrets", source.get("secretName") or source["name"], source)
    return {key: base64.b64decode(data) for key, data in found.get("data", {}).items()}


def field(pod: PodView, path: str) -> str:
    """A field of the downward API.

    Raises:
        CannotMount: the runner does not know the field.
    """
    simple = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": pod.node,
        "spec.serviceAccountName": pod.service_account,
    }
    maps = {"metadata.labels": pod.labels, "metadata.annotations": pod.annotations}
    if path in simple:
        return simple[path]
    prefix, _, key = path.partition("[")
    if prefix in maps and key:
        return maps[prefix].get(key.strip("]'\""), "")
    raise CannotMount(f"the local runner does not know the field {path}")


async def _files(cluster: Cluster, pod: PodView, volume: Json) -> Files:
    if "emptyDir" in volume:
        return {}
    if "configMap" in volume:
        source = volume["configMap"]
        return _selected(await config_map(cluster, pod.namespace, source), source)
    if "secret" in volume:
        source = volume["secret"]
        return _selected(await secret(cluster, pod.namespace, source), source)
    if "downwardAPI" in volume:
        return _downward(pod, volume["downwardAPI"])
    if "projected" in volume:
        files: Files = {}
        for source in volume["projected"].get("sources", ()):
            files |= await _projected(cluster, pod, source)
        return files
    kind = ", ".join(key for key in volume if key != "name")
    raise CannotMount(f"volume {volume['name']}: the local runner does not know the kind {kind}")


async def _projected(cluster: Cluster, pod: PodView, source: Json) -> Files:
    if "serviceAccountToken" in source:
        wanted = source["serviceAccountToken"]
        return {wanted["path"]: await _token(cluster, pod, wanted)}
    if "configMap" in source:
        return _selected(await config_map(cluster, pod.namespace, source["configMap"]), source["configMap"])
    if "secret" in source:
        return _selected(await secret(cluster, pod.namespace, source["secret"]), source["secret"])
    if "downwardAPI" in source:
        return _downward(pod, source["downwardAPI"])
    raise CannotMount(f"the local runner does not know the projected source {', '.join(source)}")


async def _token(cluster: Cluster, pod: PodView, wanted: Json) -> bytes:
    # Bound to the pod, as a kubelet does it: worth nothing once the pod is gone. 3607 s, what admission asks
    # for, is extended to a year by the API server, so that it needs no refresh here.
    spec = {
        "expirationSeconds": wanted.get("expirationSeconds", 3607),
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid},
        "audiences": [wanted["audience"]] if wanted.get("audience") else [],
    }
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{pod.namespace}/serviceaccounts/{pod.service_account}/token"
    answer = await cluster.call("POST", path, request)
    return str(answer["status"]["token"]).encode()


def _downward(pod: PodView, source: Json) -> Files:
    items = source.get("items", ())
    return {item["path"]: field(pod, item["fieldRef"]["fieldPath"]).encode() for item in items}


def _selected(files: Files, source: Json) -> Files:
    items = source.get("items")
    if not items:
        return files
    missing = [item["key"] for item in items if item["key"] not in files]
    if missing and not source.get("optional"):
        raise CannotMount(f"key {missing[0]} is not in {source.get('name') or source.get('secretName')}")
    return {item["path"]: files[item["key"]] for item in items if item["key"] in files}


async def _read(cluster: Cluster, namespace: str, plural: str, name: str, source: Json) -> Json:
    try:
        return await cluster.call("GET", f"/api/v1/namespaces/{namespace}/{plural}/{name}")
    except Refused as refused:
        if refused.status != 404:
            raise
    if source.get("optional"):
        return {}
    raise CannotMount(f'{plural.removesuffix("s")} "{name}" not found')


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)
