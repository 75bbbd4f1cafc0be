"""Finds etcd, kube-apiserver, kube-controller-manager and kubectl, or brings them into the cache.

Looked for in this order: the folder named by VMCP_KUBE_BIN, PATH, the cache, the official releases, a build
from source. A machine that reaches only a Go module proxy ends at the last one.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from vmcp_dev import gobuild, release, versions
from vmcp_dev.bringing import only_one_at_a_time
from vmcp_dev.paths import cache_folder

FOLDER_VARIABLE = "VMCP_KUBE_BIN"


class BinaryNotFound(Exception):
    """A binary is neither there nor could it be fetched or built. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the four programs are."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path


def find_binaries() -> Binaries:
    """The four programs, fetched or built where missing; that may take minutes and is reported on stderr.

    Raises:
        BinaryNotFound: VMCP_KUBE_BIN names no folder, or nothing worked; the message says what to do.
    """
    found = {name: _at_hand(name) for name in versions.NAMES}
    if not all(found.values()):
        with only_one_at_a_time(cached_binaries(), say):
            found |= _brought([name for name, path in found.items() if path is None])
    return Binaries(**{name.replace("-", "_"): path for name, path in found.items() if path})


def cached_binaries() -> Path:
    """The folder of the cache that holds the binaries of this Kubernetes version."""
    return cache_folder() / "kube" / versions.KUBERNETES / "bin"


def say(line: str) -> None:
    """Progress for a person or a CI log; stdout is left to what the command prints."""
    print(f"vmcp-dev: {line}", file=sys.stderr, flush=True)


def _at_hand(name: str) -> Path | None:
    return _in_named_folder(name) or _on_path(name) or _in_cache(name)


def _in_named_folder(name: str) -> Path | None:
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise BinaryNotFound(f"{FOLDER_VARIABLE}={named} is no folder; name one with {name}, or unset it")
    return _executable(Path(named).absolute() / name)


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found and versions.fits(name, Path(found)) else None


def _in_cache(name: str) -> Path | None:
    return _executable(cached_binaries() / name)


def _executable(path: Path) -> Path | None:
    return path if path.is_file() and os.access(path, os.X_OK) else None


def _brought(names: list[str]) -> dict[str, Path]:
    # Another process may have brought some while this one waited for the lock.
    missing = [name for name in names if _in_cache(name) is None]
    offline: release.Offline | None = None
    for name in missing:
        try:
            if offline is not None:
                raise offline
            release.download(name, cached_binaries() / name, say)
        except release.NotDownloaded as reason:
            offline = reason if isinstance(reason, release.Offline) else None
            _build(name, reason)
    return {name: cached_binaries() / name for name in names}


def _build(name: str, not_downloaded: release.NotDownloaded) -> None:
    say(f"{name}: no official release ({not_downloaded}); building it from source")
    try:
        gobuild.build(name, cached_binaries() / name, say)
    except gobuild.BuildFailed as failed:
        raise BinaryNotFound(
            f"{name} {versions.KUBERNETES} could not be had: {not_downloaded}; {failed}. "
            f"Or put the four binaries into a folder and name it by {FOLDER_VARIABLE}."
        ) from failed
