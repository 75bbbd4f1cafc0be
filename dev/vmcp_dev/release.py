"""Downloads the official release of a binary, verified against the checksum file published beside it."""

import hashlib
import os
import platform
import tarfile
from collections.abc import Callable
from pathlib import Path

import httpx

from vmcp_dev import versions

KUBERNETES_RELEASES = "https://dl.k8s.io"
ETCD_RELEASES = "https://github.com/etcd-io/etcd/releases/download"

# An offline machine must fall through to the build fast; a slow one must still get its 100 MB.
_TIMEOUT = httpx.Timeout(30.0, connect=4.0)
_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 2


class NotDownloaded(Exception):
    """Nothing was put in place. The message says why."""


class Offline(NotDownloaded):
    """The release site cannot be reached at all: the next binary need not be tried."""


def download(
    name: str,
    target: Path,
    say: Callable[[str], None],
    *,
    kubernetes: str = KUBERNETES_RELEASES,
    etcd: str = ETCD_RELEASES,
) -> None:
    """Put the released binary at `target`, in one rename.

    Raises:
        Offline: no network.
        NotDownloaded: no such release, or the checksum differs.
    """
    machine = _machine()
    partial = target.with_name(f".{name}.{os.getpid()}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)

    def fetch(client: httpx.Client) -> None:
        if name == "etcd":
            _fetch_etcd(client, f"{etcd}/{versions.ETCD}", machine, partial, say)
        else:
            url = f"{kubernetes}/{versions.KUBERNETES}/bin/{machine.replace('-', '/')}/{name}"
            expected = _text(client, f"{url}.sha256").split()[0]
            say(f"downloading {url}")
            _fetch(client, url, expected, partial)

    try:
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    fetch(client)
                    break
                except (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError) as error:
                    if attempt == _ATTEMPTS:
                        raise
                    say(f"{name}: {type(error).__name__}, once more")
        partial.chmod(0o755)
        os.replace(partial, target)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise Offline(f"{kubernetes if name != 'etcd' else etcd} cannot be reached: {error}") from error
    except (httpx.HTTPError, OSError, IndexError, tarfile.TarError) as error:
        raise NotDownloaded(f"{type(error).__name__}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _machine() -> str:
    processor = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    known = processor.get(platform.machine().lower())
    if platform.system() != "Linux" or known is None:
        raise NotDownloaded(f"a control plane is not released for {platform.system()} {platform.machine()}")
    return f"linux-{known}"


def _fetch_etcd(client: httpx.Client, base: str, machine: str, target: Path, say: Callable[[str], None]) -> None:
    folder = f"etcd-{versions.ETCD}-{machine}"
    archive = target.with_name(f"{target.name}.tar.gz")
    lines = [line.split() for line in _text(client, f"{base}/SHA256SUMS").splitlines()]
    sums = {line[1]: line[0] for line in lines if len(line) == 2}
    say(f"downloading {base}/{folder}.tar.gz")
    try:
        _fetch(client, f"{base}/{folder}.tar.gz", sums.get(f"{folder}.tar.gz", ""), archive)
        with tarfile.open(archive) as members:
            member = members.extractfile(f"{folder}/etcd")
            if member is None:
                raise NotDownloaded(f"{folder}.tar.gz holds no etcd")
            target.write_bytes(member.read())
    except KeyError as missing:
        raise NotDownloaded(f"{folder}.tar.gz holds no etcd") from missing
    finally:
        archive.unlink(missing_ok=True)


def _text(client: httpx.Client, url: str) -> str:
    return client.get(url).raise_for_status().text


def _fetch(client: httpx.Client, url: str, sha256: str, target: Path) -> None:
    digest = hashlib.sha256()
    with client.stream("GET", url) as answer, target.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_bytes(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256.lower():
        raise NotDownloaded(f"{url} does not have the published checksum")
