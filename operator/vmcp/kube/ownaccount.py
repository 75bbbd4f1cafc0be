"""The ServiceAccount that this pod runs as: the owner of what must not outlive the operator's installation."""

import base64
import binascii
import json
from pathlib import Path

from vmcp.kube.client import JsonObject

_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def own_account(namespace: str) -> JsonObject | None:
    """An owner reference to it, for objects in `namespace`; None outside of a pod and for other namespaces.

    Its name and uid are read from the pod's token, which takes no permission. Who removes the installation removes the
    account, and with it goes what it owns.
    """
    try:
        claims = _claims((_FOLDER / "token").read_text())["kubernetes.io"]
        if claims["namespace"] != namespace:
            return None
        account = claims["serviceaccount"]
        return {"apiVersion": "v1", "kind": "ServiceAccount", "name": account["name"], "uid": account["uid"]}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _claims(token: str) -> JsonObject:
    """What the token says of itself; its signature is the API server's business."""
    part = token.split(".")[1]
    try:
        return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
    except binascii.Error as error:
        raise ValueError(str(error)) from None
