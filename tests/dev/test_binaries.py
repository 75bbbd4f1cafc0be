import hashlib
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from vmcp_dev import binaries, gobuild, release, versions

PROGRAM = b"#!/bin/sh\necho Kubernetes v1.36.3\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def _on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def publish(folder: Path, checksum: str) -> None:
    place = folder / versions.KUBERNETES / "bin" / "linux" / "amd64"
    place.mkdir(parents=True)
    (place / "kube-apiserver").write_bytes(PROGRAM)
    (place / "kube-apiserver.sha256").write_text(checksum)


def test_a_release_with_the_published_checksum_is_put_in_place(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = site
    publish(folder, hashlib.sha256(PROGRAM).hexdigest())
    target = tmp_path / "bin" / "kube-apiserver"
    release.download("kube-apiserver", target, print, kubernetes=url)
    assert versions.fits("kube-apiserver", target)
    assert list(target.parent.iterdir()) == [target]


def test_a_release_with_another_checksum_is_refused(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = site
    publish(folder, "0" * 64)
    target = tmp_path / "bin" / "kube-apiserver"
    with pytest.raises(release.NotDownloaded, match="checksum"):
        release.download("kube-apiserver", target, print, kubernetes=url)
    assert list(target.parent.iterdir()) == []


def test_a_download_that_breaks_off_is_begun_again(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = site
    publish(folder, hashlib.sha256(PROGRAM).hexdigest())
    whole, broken = release._fetch, iter([True, False])

    def fetch(*arguments: Any) -> None:
        if next(broken):
            raise httpx.ReadError("connection reset")
        whole(*arguments)

    monkeypatch.setattr(release, "_fetch", fetch)
    target = tmp_path / "bin" / "kube-apiserver"
    release.download("kube-apiserver", target, print, kubernetes=url)
    assert target.read_bytes() == PROGRAM


def test_etcd_is_taken_out_of_its_archive(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = site
    name = f"etcd-{versions.ETCD}-linux-amd64"
    archive = folder / versions.ETCD / f"{name}.tar.gz"
    archive.parent.mkdir()
    (tmp_path / name).mkdir()
    (tmp_path / name / "etcd").write_bytes(PROGRAM)
    with tarfile.open(archive, "w:gz") as members:
        members.add(tmp_path / name, arcname=name)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (archive.parent / "SHA256SUMS").write_text(f"{'1' * 64}  other.zip\n{digest}  {archive.name}\n")
    target = tmp_path / "bin" / "etcd"
    release.download("etcd", target, print, etcd=url)
    assert target.read_bytes() == PROGRAM


def test_without_network_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(release.Offline):
        release.download("kubectl", tmp_path / "bin" / "kubectl", print, kubernetes="http://127.0.0.1:9")


def test_without_go_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(gobuild.BuildFailed, match=r"Go is not installed; install Go 1\.26"):
        gobuild.build("etcd", tmp_path / "bin" / "etcd", print)


def test_an_old_go_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "go").write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(gobuild.BuildFailed, match=r"too old .*go1\.19\.8.*install Go 1\.26"):
        gobuild.build("etcd", tmp_path / "bin" / "etcd", print)


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go that can do what the test appends to it; its eighth argument is where the result belongs."""
    program = tmp_path / "go"
    program.write_text("#!/bin/sh\n[ $1 = version ] && { echo go version go1.26.1 linux/amd64; exit; }\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(gobuild, "_AGAIN_SECONDS", 0.0)
    return program


def test_a_build_whose_download_broke_off_is_tried_again(tmp_path: Path, go: Path) -> None:
    with go.open("a") as program:
        program.write(f'[ -e {tmp_path}/asked ] || {{ touch {tmp_path}/asked; echo proxy: 502; exit 1; }}\n: >"$8"\n')
    target = tmp_path / "bin" / "etcd"
    said: list[str] = []
    gobuild.build("etcd", target, said.append)
    assert target.exists()
    assert any("once more: proxy: 502" in line for line in said)


def test_a_build_that_never_works_puts_nothing_in_place(tmp_path: Path, go: Path) -> None:
    with go.open("a") as program:
        program.write('echo half >"$8"; echo no space left; exit 1\n')
    target = tmp_path / "bin" / "etcd"
    with pytest.raises(gobuild.BuildFailed, match="no space left"):
        gobuild.build("etcd", target, print)
    assert [path.name for path in target.parent.iterdir()] == ["etcd.build.log"]


def test_a_build_that_hangs_is_ended(tmp_path: Path, go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gobuild, "PROGRESS_SECONDS", 0.1)
    monkeypatch.setattr(gobuild, "ATTEMPT_SECONDS", 0.2)
    with go.open("a") as program:
        program.write("exec sleep 600\n")
    with pytest.raises(gobuild.BuildFailed, match="not built within"):
        gobuild.build("etcd", tmp_path / "bin" / "etcd", print)


def test_what_a_killed_build_left_is_removed_by_the_next_one(tmp_path: Path, go: Path) -> None:
    with go.open("a") as program:
        program.write(': >"$8"\n')
    target = tmp_path / "bin" / "etcd"
    target.parent.mkdir()
    (target.parent / ".etcd.123.partial").write_bytes(PROGRAM)
    gobuild.build("etcd", target, print)
    assert {path.name for path in target.parent.iterdir()} == {"etcd", "etcd.build.log"}


def test_the_named_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in versions.NAMES:
        (tmp_path / name).write_bytes(PROGRAM)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv(binaries.FOLDER_VARIABLE, str(tmp_path))
    assert binaries.find_binaries().kubectl == tmp_path / "kubectl"


def test_a_named_folder_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.FOLDER_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(binaries.BinaryNotFound, match="is no folder"):
        binaries.find_binaries()


def test_another_version_on_path_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "kube-apiserver").write_text("#!/bin/sh\necho Kubernetes v1.35.0\n")
    (tmp_path / "kube-apiserver").chmod(0o755)
    assert not versions.fits("kube-apiserver", tmp_path / "kube-apiserver")


def test_an_offline_machine_asks_once_and_builds_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(name: str, target: Path, say: object) -> None:
        asked.append(name)
        raise release.Offline("no route")

    def build(name: str, target: Path, say: object) -> None:
        target.write_bytes(PROGRAM)
        target.chmod(0o755)

    monkeypatch.setattr(release, "download", download)
    monkeypatch.setattr(gobuild, "build", build)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = binaries.find_binaries()
    assert asked == ["etcd"]
    assert found.kube_apiserver == tmp_path / "cache" / "vmcp" / "kube" / "v1.36.3" / "bin" / "kube-apiserver"
    assert binaries.find_binaries() == found
