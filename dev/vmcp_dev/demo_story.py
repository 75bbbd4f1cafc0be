"""The story that the demo tells: a backend dies and comes back, and a client that is connected sees it."""

import asyncio
import statistics
import time

from rich.box import SIMPLE
from rich.table import Table

from vmcp_dev.demo_client import DemoClient, connected
from vmcp_dev.demo_screen import Screen
from vmcp_dev.demo_stage import Stage
from vmcp_dev.demo_view import DemoFailed, StatusWatch, View, seconds_left

NAMESPACE = "default"
NAME = "demo"
VICTIM = "time"
_TOOL = f"{VICTIM}_get_current_time"
_ARGUMENTS = {"timezone": "UTC"}

_READY_SECONDS = 180.0
_CHANGE_SECONDS = 60.0
_EVENTS_SECONDS = 20.0
_REFUSED_CALLS = 20
_UNAVAILABLE = -32003


class Story:
    """One telling of it.

    Attributes:
        steps: what happened, in order, and how long it took.
    """

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self.steps: list[tuple[str, str]] = []
        self._stage = stage
        self._screen = screen
        self._watch = StatusWatch(stage.kubectl, NAME, on_change=screen.status)

    async def tell(self, *, keep: bool) -> None:
        """From the manifest to the summary; with `keep`, stay until cancelled.

        Raises:
            DemoFailed: something that it shows did not happen.
            ControlPlaneError: a part of the cluster died.
        """
        async with asyncio.TaskGroup() as tasks:
            company = [tasks.create_task(self._watch.run()), tasks.create_task(self._guard())]
            url = await self._open_for_business()
            async with connected(f"{url}/mcp", self._screen.tools) as client:
                await self._greet(client, url)
                await self._break(client)
                await self._repair(client)
                await self._sum_up()
                if keep:
                    self._invite(url)
                    await asyncio.Event().wait()
            for task in company:
                task.cancel()

    async def _open_for_business(self) -> str:
        started = time.monotonic()
        # From a file as anyone would, but with the ports that the servers really have.
        self._screen.output("kubectl apply -f examples/demo.yaml", await self._kubectl("apply", "-f", "-"))
        await self._watch.until(lambda view: view.ready == "True", "Ready", _READY_SECONDS)
        self._step(
            "manifest applied, until the gateway was deployed and every backend checked", time.monotonic() - started
        )
        self._screen.output("kubectl get vmcp", await self._kubectl("get", "vmcp"))
        return await asyncio.to_thread(self._stage.runner.wait_address, NAMESPACE, NAME)

    async def _greet(self, client: DemoClient, url: str) -> None:
        names = [backend.name for backend in self._watch.view.backends]
        await client.until(lambda tools: _all_served(names, tools), "tools of every backend", _CHANGE_SECONDS)
        self._screen.say(f"an MCP client of revision {client.revision} is connected to {url}/mcp")
        self._screen.say(f"it calls {_TOOL}: {await client.call(_TOOL, _ARGUMENTS)}")
        self._screen.still()

    async def _break(self, client: DemoClient) -> None:
        before = len(client.tools)
        killed = time.time()
        await asyncio.to_thread(self._stage.backends[VICTIM].kill)
        self._screen.say(f"the MCP server {VICTIM} is killed", style="bold")
        # Both at once: the client may be told before kubectl has printed it.
        async with asyncio.TaskGroup() as waits:
            opening = waits.create_task(self._watch.until_moved(VICTIM, "open", killed, _CHANGE_SECONDS))
            gone = waits.create_task(client.until(_none_served, f"leaving of {VICTIM}'s tools", _CHANGE_SECONDS))
        opened = opening.result().at
        self._step(f"{VICTIM} killed, until its circuit opened", opened - killed)
        self._step("then until its tools left the client", gone.result() - opened)
        told = f"told {client.told} times" if client.told != 1 else "told once"
        self._screen.say(f"the client was {told} and sees {len(client.tools)} tools instead of {before}")
        await self._try_in_vain(client)
        self._screen.still()
        self._screen.output("kubectl get vmcp -o wide", await self._kubectl("get", "vmcp", "-o", "wide"))

    async def _try_in_vain(self, client: DemoClient) -> None:
        refusals = [await client.refused(_TOOL, _ARGUMENTS) for _ in range(_REFUSED_CALLS)]
        refusal = refusals[0]
        if refusal.code != _UNAVAILABLE:
            raise DemoFailed(f"a call to {VICTIM} gave {refusal.code} {refusal.message}, not {_UNAVAILABLE}")
        self._screen.say(f"it calls {_TOOL}: error {refusal.code}, {refusal.message}", style="red")
        median = statistics.median(refusal.took_ms for refusal in refusals)
        self._step(f"one call to {VICTIM} while it is out, refused (median of {len(refusals)})", median / 1000)

    async def _repair(self, client: DemoClient) -> None:
        server = self._stage.backends[VICTIM]
        restored = time.time()
        server.start()
        await asyncio.to_thread(server.wait_listening)
        entry = self._watch.view.backend(VICTIM)
        left = seconds_left(entry.open_until) if entry else 0.0
        self._screen.say(f"the MCP server {VICTIM} is back; its circuit stays open for {left:.0f} s more", style="bold")
        trial = await self._watch.until_moved(VICTIM, "half-open", restored, _CHANGE_SECONDS)
        self._step(f"{VICTIM} restored, until its open time was over and it was tried", trial.at - restored)
        closing = await self._watch.until_moved(VICTIM, "closed", trial.at, _CHANGE_SECONDS)
        self._step("then until the trial succeeded and its circuit closed", closing.at - trial.at)
        back = await client.until(_served, f"return of {VICTIM}'s tools", _CHANGE_SECONDS)
        self._step("then until its tools were back at the client", back - closing.at)
        self._screen.say(f"it calls {_TOOL}: {await client.call(_TOOL, _ARGUMENTS)}")
        await self._watch.until(_all_well, "Ready again", _CHANGE_SECONDS)
        self._step("circuit closed, until everything was healthy again", time.time() - closing.at)
        self._screen.still()

    async def _sum_up(self) -> None:
        self._screen.output("kubectl get vmcp", await self._kubectl("get", "vmcp"))
        self._screen.output("kubectl describe vmcp demo  # its Events", await self._events())
        table = Table(title="How long each step took", title_justify="left", title_style="bold", box=SIMPLE)
        table.add_column("step")
        table.add_column("time", justify="right")
        for step, took in self.steps:
            table.add_row(step, took)
        self._screen.show(table)

    async def _events(self) -> str:
        deadline = time.monotonic() + _EVENTS_SECONDS
        while True:
            described = await self._kubectl("describe", "vmcp", NAME)
            _, heading, events = described.partition("\nEvents:")
            # Events are recorded beside the status, and may come a moment after it.
            if all(reason in events for reason in ("CircuitOpened", "CircuitHalfOpen", "CircuitClosed")):
                return f"{heading.strip()}{events}"
            if time.monotonic() > deadline:
                raise DemoFailed(f"kubectl describe shows no Events of the circuit:\n{events}")
            await asyncio.sleep(0.5)

    def _invite(self, url: str) -> None:
        kubectl, server = self._stage.kubectl, self._stage.backends[VICTIM]
        lines = (
            "",
            "It stays up until Ctrl-C. In another terminal:",
            f"  export KUBECONFIG={kubectl.kubeconfig}",
            f"  alias kubectl={kubectl.binary}",
            "  kubectl get vmcp,mcpgroups,mcpserverentries -o wide",
            "  kubectl get vmcp demo --watch",
            "  kubectl explain vmcp.spec.config.operational.failureHandling",
            f"  curl {url}/api/backends/health",
            f"The gateway is at {url}/mcp, for any MCP client. Break a backend, and repair it:",
            f"  kill {server.pid}",
            f"  {' '.join(server.command)}",
        )
        for line in lines:
            self._screen.show(line)

    def _step(self, what: str, seconds: float) -> None:
        took = f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
        self.steps.append((what, took))
        self._screen.say(f"{what}: {took}")

    async def _kubectl(self, *arguments: str) -> str:
        text = self._stage.manifest if "-" in arguments else None
        return await asyncio.to_thread(self._stage.kubectl, *arguments, stdin=text)

    async def _guard(self) -> None:
        while True:
            self._stage.check()
            await asyncio.sleep(0.5)


def _served(tools: tuple[str, ...]) -> bool:
    return any(tool.startswith(f"{VICTIM}_") for tool in tools)


def _none_served(tools: tuple[str, ...]) -> bool:
    return not _served(tools)


def _all_served(backends: list[str], tools: tuple[str, ...]) -> bool:
    return all(any(tool.startswith(f"{name}_") for tool in tools) for name in backends)


def _all_well(view: View) -> bool:
    return view.phase == "Ready" and all(backend.health == "ready" for backend in view.backends)
