"""Answers of what is no API server, or none at all: each is a KubeError that says what was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from vmcp.kube import client as module
from vmcp.kube.client import Conflict, Kube, KubeError, NotFound, connect
from vmcp.kube.kinds import CONFIG_MAP

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def kubeconfig(folder: Path, server: str) -> str:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "c", "user": {"token": "very-secret"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    path.write_text(json.dumps(content))
    return str(path)


@asynccontextmanager
async def answering(folder: Path, handler: Handler) -> AsyncIterator[Kube]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with connect(kubeconfig(folder, f"http://{host}:{port}")) as kube:
            yield kube
    finally:
        await runner.cleanup()


async def refusal(kube: Kube) -> KubeError:
    with pytest.raises(KubeError) as caught:
        await kube.get(CONFIG_MAP, "prod", "settings")
    assert "very-secret" not in str(caught.value)
    return caught.value


async def test_nothing_that_listens_is_no_answer(tmp_path: Path, unused_tcp_port: int) -> None:
    async with connect(kubeconfig(tmp_path, f"http://127.0.0.1:{unused_tcp_port}")) as kube:
        error = await refusal(kube)
    assert (error.status, error.reason) == (0, "NoAnswer")
    assert "GET /api/v1/namespaces/prod/configmaps/settings: no answer from the API server" in str(error)


async def test_an_answer_that_does_not_come_in_time_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)

    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    async with answering(tmp_path, hang) as kube:
        assert (await refusal(kube)).status == 0


async def test_a_body_that_does_not_end_in_time_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5)

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    async with answering(tmp_path, trickle) as kube:
        assert (await refusal(kube)).status == 0


async def test_a_page_of_html_is_an_error_whatever_its_status(tmp_path: Path) -> None:
    for status in (200, 502):

        async def page(request: web.Request, status: int = status) -> web.StreamResponse:
            return web.Response(text="<html>gateway</html>", status=status, content_type="text/html")

        async with answering(tmp_path, page) as kube:
            assert (await refusal(kube)).status == status


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", Conflict),
        (403, "Forbidden", KubeError),
        (500, "", KubeError),
    ],
)
async def test_a_refusal_is_an_error_of_its_kind_with_the_servers_reason_and_words(
    tmp_path: Path, status: int, reason: str, kind: type[KubeError]
) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "reason": reason, "message": "says so"}, status=status)

    async with answering(tmp_path, refuse) as kube:
        error = await refusal(kube)
    assert type(error) is kind
    assert (error.status, error.reason) == (status, reason)
    assert str(error).endswith(f": {status} says so")


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("", None), ("soon", None)])
async def test_what_the_server_asks_to_wait_is_told(tmp_path: Path, header: str, seconds: float | None) -> None:
    async def overloaded(request: web.Request) -> web.StreamResponse:
        return web.json_response([], status=429, headers={"Retry-After": header})

    async with answering(tmp_path, overloaded) as kube:
        error = await refusal(kube)
    assert (error.status, error.retry_after_s) == (429, seconds)


async def test_an_answer_to_the_fenced_client_is_one_to_both(tmp_path: Path) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({}, status=404)

    async with answering(tmp_path, refuse) as kube:
        assert kube.answered_at is None
        await refusal(kube.fenced(lambda: None))
        assert kube.answered_at is not None


@pytest.mark.parametrize("name", ["", ".", "..", "../secrets/x", "a/b", "a%2Fb"])
async def test_a_name_that_leads_elsewhere_is_not_even_asked_for(tmp_path: Path, name: str) -> None:
    asked = []

    async def note(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({})

    async with answering(tmp_path, note) as kube:
        for namespace, other in (("prod", name), (name or "..", "settings")):
            with pytest.raises(NotFound):
                await kube.get(CONFIG_MAP, namespace, other)
    assert asked == []


@pytest.mark.parametrize("name", ["settings?watch=true", "settings#x", "a b", "ä"])
async def test_a_name_stays_one_part_of_the_path(tmp_path: Path, name: str) -> None:
    asked = []

    async def note(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, request.query_string))
        return web.json_response({})

    async with answering(tmp_path, note) as kube:
        await kube.get(CONFIG_MAP, "prod", name)
    assert asked == [(f"/api/v1/namespaces/prod/configmaps/{name}", "")]
