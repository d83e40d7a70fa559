"""The log in a real S3 server, which goes away, loses the bucket and stops believing us; and every command over it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
import time

import deltalake
import deltalake.exceptions
import deltalake.fs
import msgspec
import pyarrow as pa
import pytest
import s3_kit
import typer.testing

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.lake import place as places
from softlaunch.adapters.oci import registry
from softlaunch.cli import main
from softlaunch.config import home as homes
from softlaunch.core import spool
from softlaunch.core.prediction_log import progress, schema
from softlaunch.ports import lake as lakes
from softlaunch.serving import segments
from softlaunch.testing import releases

pytestmark = s3_kit.MARKS
SERVICE, ENVIRONMENT = releases.SERVICE, "production"
PATIENCE_SECONDS = 60.0


class Site:
    """A home with a spool, and a shipper over a server of its own."""

    def __init__(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "server").mkdir()
        self.server = s3_kit.Server(tmp_path / "server", key=s3_kit.KEY)
        self.server.start()
        self.server.bucket("logs")
        self.home = homes.Home(tmp_path / "home", run_root=tmp_path)
        self.home.root.mkdir()
        self.digest = registry.OciRegistry(self.home.registry).push(releases.write(tmp_path / "release", name="live"))
        self.variables = self.server.variables | {
            "SOFTLAUNCH_LOG_URL": "s3://logs/here", "SOFTLAUNCH_LOG_EVERY": "100ms",
        }  # fmt: skip
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)
        self.lake = delta.DeltaLake(places.Root(folder=self.home.log, url="s3://logs/here"))
        self.written: list[str] = []
        self.log = tmp_path / "shipper.log"
        self._writer = segments.SegmentWriter(
            self.home.spool / SERVICE / ENVIRONMENT,
            service=SERVICE, environment=ENVIRONMENT, release=self.digest.short, instance="writer",
            disk_bytes_max=1 << 30,
        )  # fmt: skip

    def record(self, count: int = 10) -> None:
        names = [f"r{len(self.written) + place}" for place in range(count)]
        rows = [
            [name, time.time() - 60.0, 0, "/predict", "", b'{"x0":1.0,"x1":2.0,"x2":3.0}', 200,
             b'{"prediction":{"label":1,"probability":0.5},"release":"x"}', 9, 9, "u1", 1, "", 0, None, None]
            for name in names
        ]  # fmt: skip
        group = spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=rows)
        self._writer.append(msgspec.msgpack.Encoder().encode(group))
        self.written += names

    @contextlib.contextmanager
    def shipper(self, **variables: str):
        command = [sys.executable, "-m", "softlaunch.cli.main", "log", "ship", "--home", str(self.home.root)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
        try:
            yield process
            assert process.poll() is None, self.log.read_text()[-3000:]  # it never ends by itself
        finally:
            process.kill()
            process.wait()

    def ids(self) -> list[str]:
        asked = "SELECT request_id FROM predictions"
        return [name for (name,) in asking.ask(self.lake.place(SERVICE), asked, row_count_max=100_000).rows]

    def arrives(self) -> None:
        """Everything written is in the log, once."""
        self.eventually(lambda: sorted(self.written) == sorted(self.ids()))

    def warns(self, words: str) -> None:
        begin = len(self.log.read_text())
        self.eventually(lambda: words in self.log.read_text()[begin:])

    def eventually(self, holds) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(errors.SoftlaunchError):
                if holds():
                    return
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def run(self, *arguments: str) -> str:
        done = typer.testing.CliRunner().invoke(main.APP, [*arguments, "--home", str(self.home.root)])
        assert 0 == done.exit_code, done.output
        return done.output

    def close(self) -> None:
        self._writer.close()
        self.server.stop()
        assert s3_kit.SECRET not in self.log.read_text() if self.log.exists() else True
        told = [path for path in self.home.root.rglob("*") if path.is_file() and "registry" not in path.parts]
        assert not [path for path in told if s3_kit.SECRET.encode() in path.read_bytes()]


@pytest.fixture
def site(tmp_path, monkeypatch):
    site = Site(tmp_path, monkeypatch)
    yield site
    site.close()


def test_commands_of_the_log_work_over_a_bucket(site) -> None:
    site.record()
    site.run("log", "ship", "--once")

    assert 10 == json.loads(site.run("log", "query", "SELECT count(*) AS n FROM predictions", "--json"))["rows"][0]["n"]
    assert "nothing waits" in site.run("log", "status")
    assert "r3:0" == json.loads(site.run("why", "r3", "--json"))["id"]
    site.run("log", "maintain")
    assert "10" in site.run("log", "forget", "u1", "--yes")
    assert [] == site.ids()
    assert not list(site.home.log.rglob("*.parquet"))
    assert list(site.home.log.rglob("forgotten.jsonl"))


def test_a_server_that_is_away_holds_nothing_up_and_loses_nothing(site) -> None:
    site.record()
    with site.shipper():
        site.arrives()
        site.server.stop()
        site.record()
        site.warns("the server cannot be reached")
        began = time.monotonic()
        status = site.run("log", "status")
        assert time.monotonic() - began < 20
        assert "segments wait" in status
        assert "the server cannot be reached" in status
        assert "AWS_ENDPOINT_URL" in site.log.read_text()
        site.record()
        time.sleep(5)
        site.server.start()
        site.arrives()
    (state,) = json.loads(site.run("log", "status", "--json"))["logs"]
    assert (None, 30) == (state["outage"], state["rows"])


def test_credentials_that_end_meanwhile_are_said_and_new_ones_go_on(site) -> None:
    site.record()
    with site.shipper():
        site.arrives()
        site.server.stop()
        site.server.credentials("others", "others-secret")
        site.server.start()
        site.record()
        site.warns("the credentials are not accepted")
    site.server.stop()
    site.server.credentials(s3_kit.KEY, s3_kit.SECRET)
    site.server.start()
    with site.shipper(AWS_SECRET_ACCESS_KEY="mistyped"):
        site.warns("the credentials are not accepted")
    with site.shipper():
        site.arrives()


def test_a_bucket_that_vanished_is_said_and_a_log_is_only_begun_anew_by_hand(site) -> None:
    site.record()
    with site.shipper():
        site.arrives()
        site.server.delete_bucket("logs")
        site.record()
        site.warns("there is no such bucket")
        assert "segments wait" in site.run("log", "status")
        site.server.bucket("logs")
        site.warns("was there, and is gone")
        (site.home.log / SERVICE / "predictions.url").unlink()
        site.arrives()  # what went with the bucket too: the spool still had it


def test_a_file_that_somebody_deleted_is_not_the_querys_fault(bucket, tmp_path) -> None:
    place = places.Root(folder=tmp_path, url=bucket).place("pricing", delta.TABLE)
    lake = delta.DeltaLake(places.Root(folder=tmp_path, url=bucket))
    row = tuple({"id": "a:0", "time": 1_700_000_000_000_000}.get(field.name) for field in schema.ENVELOPE)
    field = schema.Field(name="x", kind=schema.Kind.DOUBLE)
    block = lakes.Block(
        rows=[row], feature_fields=(field,), features=[(1.0,)], answer_fields=(field,), answers=[(2.0,)]
    )
    lake.append("pricing", [block], environment="e", progress=progress.Progress(version=1))
    store = deltalake.fs.DeltaStorageHandler(place.uri, place.storage_options)
    store.delete_file("/".join(place.load().file_uris()[0].split("/")[-2:]))

    for ask in (lambda: asking.ask(place, "SELECT id FROM predictions"), lambda: asking.by_id(place, "a:0")):
        with pytest.raises(errors.UnavailableError, match="SOFTLAUNCH_LOG_URL"):
            ask()


def test_of_writers_at_once_the_store_lets_one_through(bucket, tmp_path) -> None:
    place = places.Root(folder=tmp_path, url=bucket).place("pricing", delta.TABLE)
    lake = delta.DeltaLake(places.Root(folder=tmp_path, url=bucket))
    lake.append("pricing", [], environment="e", progress=progress.Progress(version=1))

    def write(table: deltalake.DeltaTable) -> bool:
        properties = deltalake.CommitProperties(
            max_commit_retries=0, app_transactions=[deltalake.Transaction("spool/e", 2)]
        )
        rows = pa.Table.from_batches([], pa.schema(table.schema()))
        try:
            deltalake.write_deltalake(table, rows, mode="append", commit_properties=properties)
        except deltalake.exceptions.CommitFailedError:
            return False
        return True

    for _ in range(10):
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            assert 1 == sum(threads.map(write, [place.load() for _ in range(4)]))
