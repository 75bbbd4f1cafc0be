"""Attaching to a container: the account, the protocol, and what is said when it does not work."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from tests.gateway.world import PATIENCE_S, Running, until
from tests.stdio.apiserver import ApiServer
from tests.stdio.proxying import Speaker, proxy

from vmcp.gateway.kubewatch import ServiceAccount
from vmcp.stdio.attach import AttachError
from vmcp.stdio.cluster import KubeconfigCluster, OwnCluster
from vmcp.stdio.podattach import Container, PodContainer

WHICH = Container("team-a", "files-0", "mcp")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiServer]:
    server = ApiServer(tmp_path)
    async with server.serving():
        yield server


def own(api: ApiServer) -> PodContainer:
    """As in a pod."""
    return PodContainer(OwnCluster(ServiceAccount(f"https://127.0.0.1:{api.port}", api.folder)), WHICH)


async def test_the_container_is_attached_to_with_the_pods_own_account(api: ApiServer) -> None:
    async with proxy(own(api)) as running:
        client = await Speaker.open(running)
        assert await client.call("echo", text="hello") == "hello"
    assert api.asked == [
        "/api/v1/namespaces/team-a/pods/files-0/attach?container=mcp&stdin=true&stdout=true&stderr=true"
    ]
    assert api.agreed == ["v5.channel.k8s.io"]
    # The end of stdin is told, since version 5 has a word for it.
    await until(lambda: api.frames[-1] == b"\xff\x00")


async def test_an_older_api_server_is_spoken_to_in_version_4(api: ApiServer) -> None:
    api.protocols = ("v4.channel.k8s.io",)
    async with proxy(own(api)) as running:
        client = await Speaker.open(running)
        assert await client.call("echo", text="hello") == "hello"
    assert api.agreed == ["v4.channel.k8s.io"]
    assert all(frame[0] == 0 for frame in api.frames)


async def test_frames_cut_lines_anywhere(api: ApiServer) -> None:
    api.frame = 7
    async with proxy(own(api)) as running:
        client = await Speaker.open(running)
        text = "a\u00e4\U0001f600" * 50
        assert await client.call("echo", text=text) == text
    api.frame = 32 * 1024
    async with proxy(own(api)) as running:
        client = await Speaker.open(running)
        large = "y" * 3_000_000
        assert await client.call("echo", text=large) == large
    assert max(len(frame) for frame in api.frames) == 32 * 1024 + 1


async def test_stderr_is_logged_and_no_part_of_the_session(api: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "vmcp.stdio.stderr")
    async with proxy(own(api)) as running:
        client = await Speaker.open(running)
        await client.call("complain", text="disk is full")
        await until(lambda: "disk is full" in caplog.text)


async def test_a_broken_attach_ends_sessions_and_is_attached_again_with_a_fresh_token(api: ApiServer) -> None:
    async with proxy(own(api)) as running:
        client = await Speaker.open(running)
        api.token = "second"
        (socket,) = api.open
        await socket.close()
        await until(lambda: says(running, "HTTP 401: the account's token is not accepted"))
        assert (await client.post({"id": 1, "method": "ping"})).status_code == 503
        api.write_token("second")
        await until(lambda: ready(running))
        assert (await client.post({"id": 1, "method": "ping"})).status_code == 404
        again = await Speaker.open(running)
        assert await again.call("echo", text="hello") == "hello"
        # Nothing of the first session was left: the container had begun anew.
        assert len(await again.seen("initialize")) == 1


async def test_what_kubernetes_says_of_the_end_is_the_reason(api: ApiServer) -> None:
    api.last_words = json.dumps({"status": "Failure", "message": "container mcp was\nOOM killed"})
    async with proxy(own(api)) as running:
        client = await Speaker.open(running)
        assert "container mcp was\N{REPLACEMENT CHARACTER}OOM killed" in (await client.fails("die"))["message"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "the account may not `get` and `create` pods/attach of this pod"),
        (404, "there is no such pod"),
        (500, "the container may not be running"),
    ],
)
async def test_a_refusal_is_said_with_what_it_means(api: ApiServer, status: int, reason: str) -> None:
    api.refusal = status
    async with proxy(own(api), ready=False) as running:
        await until(lambda: says(running, f"attaching was answered with HTTP {status}: {reason}"))


async def test_what_is_missing_is_named(api: ApiServer, tmp_path: Path) -> None:
    api.protocols = ()
    async with proxy(own(api), ready=False) as running:
        await until(lambda: says(running, "the API server speaks neither v5.channel.k8s.io nor v4.channel.k8s.io"))
    account = ServiceAccount(f"https://127.0.0.1:{api.port}", tmp_path / "nothing")
    async with proxy(PodContainer(OwnCluster(account), WHICH), ready=False) as running:
        await until(lambda: says(running, "the ServiceAccount's files cannot be used (No such file or directory)"))


async def test_a_foreign_api_server_is_not_given_the_token(
    api: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    foreign = ApiServer(tmp_path_factory.mktemp("foreign"))
    async with foreign.serving():
        account = ServiceAccount(f"https://127.0.0.1:{foreign.port}", api.folder)
        async with proxy(PodContainer(OwnCluster(account), WHICH), ready=False) as running:
            await until(lambda: says(running, "the API server cannot be reached (ClientConnectorCertificateError)"))
    assert foreign.asked == []


async def test_a_kubeconfig_will_do_on_a_laptop(api: ApiServer, tmp_path: Path) -> None:
    authority = base64.b64encode((api.folder / "ca.crt").read_bytes()).decode()
    config = {
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": f"https://127.0.0.1:{api.port}", "certificate-authority-data": authority},
            }
        ],
        "users": [{"name": "u", "user": {"token": "first"}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    async with proxy(PodContainer(KubeconfigCluster(file), WHICH)) as running:
        client = await Speaker.open(running)
        assert await client.call("echo", text="hello") == "hello"


async def test_letting_go_of_a_container_that_reads_nothing_ends(api: ApiServer) -> None:
    api.deaf = True
    # aiohttp waits for room after so many bytes only: the first attach counts them, the second is let go of just there.
    frames = await _filled(api, 2**30)
    assert await _filled(api, frames - 1) == frames - 1


async def _filled(api: ApiServer, most_frames: int) -> int:
    """Write until it no longer can be, then so many frames of one byte more; how many were taken."""
    attach = await own(api).open()
    try:
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(2):
                    await attach.write(b"x" * 32_000)
        for frames in range(most_frames):
            try:
                await attach.write(b"y")
            except asyncio.CancelledError:
                return frames
        return most_frames
    finally:
        async with asyncio.timeout(PATIENCE_S):
            await attach.close()


async def test_a_kubeconfig_without_a_user_is_said_to_be_of_no_use(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    config = {
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": None}],
    }
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(AttachError, match="kubeconfig cannot be used"):
        await PodContainer(KubeconfigCluster(file), WHICH).open()


async def says(running: Running, reason: str) -> bool:
    return reason in str((await running.get("/readyz")).json().get("reason"))


async def ready(running: Running) -> bool:
    return (await running.get("/readyz")).status_code == 200
