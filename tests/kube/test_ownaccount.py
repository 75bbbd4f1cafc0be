"""The owner of the operator's Lease, from the pod's own token."""

import base64
import json
from pathlib import Path

import pytest

from vmcp.kube import ownaccount
from vmcp.kube.ownaccount import own_account


def token(**claims: object) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{middle}.signature"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ownaccount, "_FOLDER", tmp_path)
    return tmp_path


def test_it_is_the_account_that_the_token_is_for(folder: Path) -> None:
    claims = {"namespace": "operators", "serviceaccount": {"name": "vmcp", "uid": "4711"}}
    (folder / "token").write_text(token(**{"kubernetes.io": claims}))
    assert own_account("operators") == {"apiVersion": "v1", "kind": "ServiceAccount", "name": "vmcp", "uid": "4711"}


def test_an_owner_in_another_namespace_would_be_no_owner(folder: Path) -> None:
    claims = {"namespace": "operators", "serviceaccount": {"name": "vmcp", "uid": "4711"}}
    (folder / "token").write_text(token(**{"kubernetes.io": claims}))
    assert own_account("elsewhere") is None


@pytest.mark.parametrize("text", ["", "no token", "a.b.c", "a.!!!.c", token(), token(**{"kubernetes.io": None})])
def test_a_token_that_does_not_say_has_no_account(folder: Path, text: str) -> None:
    (folder / "token").write_text(text)
    assert own_account("operators") is None


def test_outside_of_a_pod_there_is_none(folder: Path) -> None:
    assert own_account("operators") is None
