"""Models and data in buckets, against a real S3 server."""

from __future__ import annotations

import hashlib
import os

import build_kit as kit
import pytest
import s3_kit

from softlaunch import errors
from softlaunch.adapters.data_sources import objects, parts
from softlaunch.config import home as homes
from softlaunch.core import pins
from softlaunch.wiring import builds, locking

obstore = pytest.importorskip("obstore")
pytestmark = [pytest.mark.slow, *s3_kit.MARKS]
YAML = """\
service: flight-delay
model: {url: s3://models/late/m.joblib, path: model.joblib, features: [hour, delay], compile: false}
tests:
  quality: {data: s3://models/holdout.csv, label: late, metrics: {accuracy: '>= 0.6'}}
environments: [production]
"""


@pytest.fixture(scope="module")
def server(s3):
    s3.bucket("models")
    return s3


@pytest.fixture
def bucket(server, monkeypatch):
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return obstore.store.from_url("s3://models", client_options={"allow_http": True})


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
