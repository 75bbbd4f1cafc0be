"""Builds a binary from its Go module, at the versions pinned by the go.mod and go.sum in `gomod/`."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmcp_dev import versions

PROGRESS_SECONDS = 15.0
ATTEMPTS = 3
"""Go asks its module proxy once; what one attempt has fetched and compiled the next one finds in Go's caches."""
ATTEMPT_SECONDS = 1800.0
_AGAIN_SECONDS = 5.0
_TOOLCHAIN_SECONDS = 600.0

_MODULES = Path(__file__).with_name("gomod")
_NEEDED_GO = "1.26"
_ADVICE = f"install Go {_NEEDED_GO} or later from https://go.dev/dl/ and put it on PATH"


class BuildFailed(Exception):
    """Nothing was put in place. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Program:
    """How a program is built.

    Attributes:
        module: its folder in `gomod/`.
        tags: build tags, separated by commas.
    """

    module: str
    package: str
    linker_flags: str = "-s -w"
    tags: str = ""


def _stamped() -> str:
    """Kubernetes' own programs tell the version that they were linked with."""
    major, minor, _ = versions.KUBERNETES.removeprefix("v").split(".")
    stamp = {
        "gitVersion": versions.KUBERNETES,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
    }
    flags = (f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamp.items())
    return " ".join(["-s -w", *flags])


_PROGRAMS = {
    "etcd": _Program("etcd", "go.etcd.io/etcd/server/v3"),
    **{
        name: _Program("kubernetes", f"k8s.io/kubernetes/cmd/{name}", _stamped())
        for name in ("kube-apiserver", "kube-controller-manager", "kubectl")
    },
    "helm": _Program("helm", "helm.sh/helm/v4/cmd/helm"),
    # Without the clouds' service discoveries: it only checks rules here.
    "promtool": _Program("promtool", "github.com/prometheus/prometheus/cmd/promtool", tags="remove_all_sd"),
    "blackbox_exporter": _Program("blackbox", "github.com/prometheus/blackbox_exporter"),
}


def build(name: str, target: Path, say: Callable[[str], None]) -> None:
    """Build into `target`, in one rename, a line of progress every 15 s. Minutes when Go's caches are cold.

    Whoever builds into the same folder waits for its turn: `bringing.only_one_at_a_time`.

    Raises:
        BuildFailed: Go is missing or too old, or the build fails.
    """
    program = _PROGRAMS[name]
    module = _MODULES / program.module
    go = _go(module)
    partial = target.with_name(f".{name}.{os.getpid()}.partial")
    log = target.with_name(f"{name}.build.log")
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{name}.*.partial"):  # by one that was killed
        left.unlink(missing_ok=True)
    command = [go, "build", "-trimpath", "-tags", program.tags, "-ldflags", program.linker_flags]
    command += ["-o", str(partial), program.package]
    started = time.monotonic()
    say(f"building {name} from source (minutes when nothing is cached; log: {log})")
    try:
        for attempt in range(1, ATTEMPTS + 1):
            if _built(command, module, log, name, say):
                break
            if attempt == ATTEMPTS:
                raise BuildFailed(f"building {name} failed, see {log}: {_last_lines(log)}")
            say(f"building {name} failed, once more: {_last_lines(log)}")
            time.sleep(_AGAIN_SECONDS)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    say(f"built {name} in {time.monotonic() - started:.0f} s")


def _built(command: list[str], module: Path, log: Path, name: str, say: Callable[[str], None]) -> bool:
    """Whether one attempt has ended well; one that takes too long is ended."""
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=module, env=_environment(), stdout=output, stderr=output)
        try:
            while (took := time.monotonic() - started) < ATTEMPT_SECONDS:
                try:
                    return process.wait(timeout=PROGRESS_SECONDS) == 0
                except subprocess.TimeoutExpired:
                    say(f"building {name}: {took + PROGRESS_SECONDS:.0f} s")
            output.write(f"not built within {ATTEMPT_SECONDS:.0f} s\n")
            return False
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _go(module: Path) -> str:
    go = shutil.which("go")
    if go is None:
        raise BuildFailed(f"Go is not installed; {_ADVICE}")
    # Asked inside the module: a Go of 1.21 or later may fetch the toolchain that go.mod asks for.
    command, env = [go, "version"], _environment()
    try:
        answer = subprocess.run(
            command, cwd=module, env=env, capture_output=True, text=True, timeout=_TOOLCHAIN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"{go} tells no version within {_TOOLCHAIN_SECONDS:.0f} s; {_ADVICE}") from None
    version = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    needed = tuple(int(part) for part in _NEEDED_GO.split("."))
    if answer.returncode != 0 or version is None or (int(version[1]), int(version[2])) < needed:
        said = (answer.stdout + answer.stderr).strip().splitlines()
        raise BuildFailed(f"{go} is too old ({said[-1] if said else 'tells no version'}); {_ADVICE}")
    return go


def _environment() -> dict[str, str]:
    # GOWORK and GOFLAGS of the user must not change what is built; CGO would make it depend on a compiler.
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}


def _last_lines(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-5:])
