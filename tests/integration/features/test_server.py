"""A model server with lookups: by rows, by tensors, in a replay; and what it says when it cannot even try."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from softlaunch.adapters.local import replay_sender
from softlaunch.adapters.spool import local
from softlaunch.core import lookup_recorded, lookups, release, release_json

CODE = """
class Double:
    def predict(self, rows):
        return [row["wind"] * 2 for row in rows]
"""
COLUMNS = (
    release.Column(name="origin", datatype=release.Datatype.BYTES),
    release.Column(name="wind", datatype=release.Datatype.FP64),
)


class Connection(http.client.HTTPConnection):
    def __init__(self, path: pathlib.Path) -> None:
        super().__init__("model", timeout=20)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


def written(folder: pathlib.Path) -> pathlib.Path:
    """A release whose wind is looked up."""
    spec = lookups.LookupSpec(
        name="weather",
        source=lookups.LookupSource.SQL,
        target="select wind from weather where origin = :origin",
        by=("origin",),
        features={"wind": 3.0},
        server="$WEATHER_URL",
        timeout_seconds=0.5,
    )
    content = release.ReleaseContent(
        service="wind",
        runtime=release.Runtime.PYTHON,
        model_file=None,
        python_target="double.py:Double",
        signature=release.Signature(
            inputs=COLUMNS, outputs=(release.Column(name="prediction", datatype=release.Datatype.FP64),)
        ),
        lock_file=None,
        profile_file=None,
        smoke_file=None,
        lookups=(spec,),
    )
    assert content == release_json.load_content(release_json.dump_content(content))
    found = folder / "release"
    (found / "code").mkdir(parents=True)
    (found / "code" / "double.py").write_text(CODE)
    (found / "release.json").write_bytes(release_json.dump_content(content))
    return found


def start(folder: pathlib.Path, **variables: str) -> subprocess.Popen[str]:
    arguments = ["--release", str(written(folder)), "--socket", str(folder / "m.sock"), "--instance", "i"]
    arguments += ["--spool", str(folder / "spool" / "wind" / "production")]
    return subprocess.Popen(
        [sys.executable, "-m", "softlaunch.serving", *arguments],
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    folder = tmp_path_factory.mktemp("m")
    with contextlib.closing(sqlite3.connect(folder / "weather.db")) as database, database:
        database.execute("create table weather (origin text, wind real)")
        database.execute("insert into weather values ('JFK', 7.5)")
    process = start(folder, WEATHER_URL=f"sqlite:///{folder / 'weather.db'}")
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if ask(folder / "m.sock", "GET", "/v2/health/ready")[0] == 200:
                    break
            time.sleep(0.05)
        yield folder / "m.sock"
    finally:
        process.terminate()
        process.communicate(timeout=20)


def ask(
    path: pathlib.Path, method: str, target: str, document: Any = None, **headers: str
) -> tuple[int, str | None, Any]:
    """Status, what it says of features, and the answer."""
    connection = Connection(path)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, target, json.dumps(document), {"content-type": "application/json", **named})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.getheader("x-softlaunch-features"), json.loads(body)


def test_rows_get_what_they_lack(server: pathlib.Path) -> None:
    rows = [{"origin": "JFK"}, {"origin": "JFK", "wind": 1.0}, {"origin": "JFK", "wind": None}, {"origin": "EWR"}]

    status, said, answer = ask(server, "POST", "/predict", {"rows": rows})

    assert (200, "missing=1,late=0,stale=0") == (status, said)
    assert [15.0, 2.0, 15.0, 6.0] == [each["prediction"] for each in answer["predictions"]]


def test_tensors_get_what_they_lack(server: pathlib.Path) -> None:
    origin = {"name": "origin", "shape": [2], "datatype": "BYTES", "data": ["JFK", "EWR"]}

    status, said, answer = ask(server, "POST", "/v2/models/wind/infer", {"inputs": [origin]})

    assert (200, "missing=1,late=0,stale=0") == (status, said)
    assert [15.0, 6.0] == answer["outputs"][0]["data"]


@pytest.mark.parametrize("target", ["/predict", "/v2/models/wind/infer"])
def test_a_replay_says_what_was_served(server: pathlib.Path, target: str) -> None:
    header = lookup_recorded.header({"wind": [[9.0, "stale"]]})
    tensor = {"inputs": [{"name": "origin", "shape": [1], "datatype": "BYTES", "data": ["JFK"]}]}
    document = {"rows": [{"origin": "JFK"}]} if target == "/predict" else tensor

    status, said, answer = ask(server, "POST", target, document, **header)

    assert (200, "missing=0,late=0,stale=0") == (status, said)
    assert "18.0" in json.dumps(answer)
    assert 400 == ask(server, "POST", target, document, **{lookup_recorded.HEADER: "nonsense"})[0]


def test_what_was_served_is_recorded_and_replayed_whatever_the_source_says_by_then(server: pathlib.Path) -> None:
    rows = [{"origin": "JFK"}, {"origin": "EWR"}, {"origin": "LGA", "wind": 1.0}]
    answer = ask(server, "POST", "/predict", {"rows": rows}, x_request_id="r-1")[2]
    spool = local.LocalSpool(server.parent / "spool")
    deadline = time.monotonic() + 20
    while not (found := spool.find("r-1")) and time.monotonic() < deadline:
        time.sleep(0.05)

    (record,) = found
    assert record.features is not None
    assert {"wind": [[7.5, "fresh"], [3.0, "missing"], [1.0, "sent"]]} == json.loads(json.dumps(record.features))
    replay = replay_sender.SocketSender([str(server)], release="c" * 12, timeout_seconds=20, thread_count=1)
    with contextlib.closing(sqlite3.connect(server.parent / "weather.db")) as database, database:
        database.execute("update weather set wind = 100.0")
    try:
        replay.send(record)
        while not (sent := replay.collect()) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        replay.close()
        with contextlib.closing(sqlite3.connect(server.parent / "weather.db")) as database, database:
            database.execute("update weather set wind = 7.5")
    assert sent[0].answer is not None
    assert answer["predictions"] == json.loads(sent[0].answer.answer)["predictions"]
    assert sent[0].answer.features is None


def test_what_is_not_looked_up_has_to_be_sent(server: pathlib.Path) -> None:
    status, said, answer = ask(server, "POST", "/predict", {"rows": [{"wind": 1.0}]})

    assert (422, None, "origin") == (status, said, answer["column"])


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "its `server` is $WEATHER_URL, which is not set"),
        ({"WEATHER_URL": "nonsense pa55word"}, "its `server` is not a database URL"),
    ],
)
def test_a_server_that_is_none_ends_the_start_with_one_line(
    tmp_path: pathlib.Path, variables: dict[str, str], said: str
) -> None:
    process = start(tmp_path, **variables)
    _, printed = process.communicate(timeout=30)

    assert 1 == process.returncode
    assert said in printed
    assert "lookup-unusable" in printed
    assert "pa55word" not in printed


def test_a_source_that_is_down_does_not_keep_a_release_from_being_ready(tmp_path: pathlib.Path) -> None:
    process = start(tmp_path, WEATHER_URL=f"sqlite:///{tmp_path}/none.db")
    try:
        deadline = time.monotonic() + 30
        answer: tuple[int, str | None, Any] = (0, None, None)
        while answer[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
            with contextlib.suppress(OSError):
                answer = ask(tmp_path / "m.sock", "POST", "/predict", {"rows": [{"origin": "JFK"}]})
        assert (200, "missing=1,late=0,stale=0") == answer[:2]
    finally:
        process.terminate()
        _, printed = process.communicate(timeout=20)
    assert "the lookup 'weather' failed, 1 times so far" in printed
