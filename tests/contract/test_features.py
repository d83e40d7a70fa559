"""What every source of looked-up features promises: in memory, from functions, HTTP, SQL, Redis and Feast."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.server
import json
import pathlib
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.core import lookup_values, lookups, release
from softlaunch.serving.features import (
    feast_source,
    http_source,
    opening,
    python_source,
    redis_source,
    source,
    sql_source,
    workers,
)
from softlaunch.testing import features as memory

KNOWN: Mapping[str, Mapping[str, Any]] = {
    "JFK": {"wind": 7.5, "gusts": 12, "sky": "grey"},
    "LGA": {"wind": -1.25, "gusts": 0, "sky": "bl'ue ☁"},
}
COLUMNS = {
    "wind": release.Column(name="wind", datatype=release.Datatype.FP64),
    "gusts": release.Column(name="gusts", datatype=release.Datatype.INT64),
    "sky": release.Column(name="sky", datatype=release.Datatype.BYTES),
}
SECONDS = 5.0
UNKNOWN = ("EWR", "../JFK", "JFK?x=1", "JFK' or '1'='1", "J\nFK", "é☁", "", "*")


class Place:
    """A source, and how to end it."""

    def __init__(self, made: source.Source, spec: lookups.LookupSpec, stop: Callable[[], None]) -> None:
        self.source = made
        self.spec = spec
        self.stop = stop

    def read(self, origin: str) -> dict[str, tuple[Any, str]]:
        answer = self.source.fetch([{"origin": origin}], SECONDS)[0]
        return lookup_values.read(self.spec, COLUMNS, answer, now=time.time())


def spec(kind: lookups.LookupSource, target: str, server: str = "", **changes) -> lookups.LookupSpec:
    defaults = {"wind": 0.0, "gusts": 0, "sky": "none"}
    fields = {"name": "weather", "by": ("origin",), "features": defaults, "timeout_seconds": SECONDS}
    return lookups.LookupSpec(source=kind, target=target, server=server, **{**fields, **changes})


def opened(found: lookups.LookupSpec, code: pathlib.Path = pathlib.Path("/nowhere")) -> source.Opening:
    return source.Opening(
        spec=found, server=found.server, code=code, connection_count=workers.THREADS, own_environment=False
    )


def of_memory(_: pathlib.Path) -> Iterator[Place]:
    made = memory.MemoryFeatures()
    for origin, fields in KNOWN.items():
        made.put({"origin": origin}, fields)

    def stop() -> None:
        made.failing = True

    yield Place(made, spec(lookups.LookupSource.PYTHON, "m.py:f"), stop)


def of_python(folder: pathlib.Path) -> Iterator[Place]:
    (folder / "weather_of.py").write_text(
        f"KNOWN = {dict(KNOWN)!r}\ndef look(origin):\n    if KNOWN is None:\n        raise OSError('gone')\n"
        "    return KNOWN.get(origin)\n"
    )
    found = spec(lookups.LookupSource.PYTHON, "weather_of.py:look")
    made = python_source.open_source(opened(found, folder))

    def stop() -> None:
        import weather_of

        weather_of.KNOWN = None

    yield Place(made, found, stop)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fields = KNOWN.get(urllib.parse.unquote(self.path.removeprefix("/weather/")))
        body = json.dumps(fields).encode() if fields is not None else b"none"
        self.send_response(200 if fields is not None else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


def of_http(_: pathlib.Path) -> Iterator[Place]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    found = spec(lookups.LookupSource.HTTP, f"http://127.0.0.1:{server.server_port}/weather/{{origin}}")
    made = http_source.open_source(opened(found))

    def stop() -> None:
        server.shutdown()
        server.server_close()
        made.close()  # kept connections are served by their threads to their end

    yield Place(made, found, stop)
    stop()


def of_sqlite(folder: pathlib.Path) -> Iterator[Place]:
    file = folder / "weather ☁.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("create table weather (origin text, wind real, gusts integer, sky text)")
        rows = [(origin, *fields.values()) for origin, fields in KNOWN.items()]
        database.executemany("insert into weather values (?, ?, ?, ?)", rows)
        database.commit()
    query = "select wind, gusts, sky from weather where origin = :origin"
    found = spec(lookups.LookupSource.SQL, query, f"sqlite:///{file}")

    def stop() -> None:
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("drop table weather")

    yield Place(sql_source.open_source(opened(found)), found, stop)


def redis_server(folder: pathlib.Path) -> tuple[subprocess.Popen[bytes], str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: `make test-all` installs Debian's")
    path = folder / "redis.sock"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            return process, f"unix://{path}"
        time.sleep(0.02)
    process.kill()
    raise AssertionError("redis-server does not listen")


def of_redis(folder: pathlib.Path, *, as_json: bool) -> Iterator[Place]:
    import redis

    process, server = redis_server(folder)
    try:
        with redis.Redis.from_url(server) as client:
            for origin, fields in KNOWN.items():
                if as_json:
                    client.set(f"weather:{origin}", json.dumps(fields))
                else:
                    client.hset(f"weather:{origin}", mapping=dict(fields))
        found = spec(lookups.LookupSource.REDIS, "weather:{origin}", server)

        def stop() -> None:
            process.terminate()
            process.wait(10)

        yield Place(redis_source.open_source(opened(found)), found, stop)
    finally:
        process.kill()
        process.wait(10)


def of_redis_hash(folder: pathlib.Path) -> Iterator[Place]:
    yield from of_redis(folder, as_json=False)


def of_redis_json(folder: pathlib.Path) -> Iterator[Place]:
    yield from of_redis(folder, as_json=True)


@pytest.fixture(
    params=[
        of_memory,
        of_python,
        of_http,
        of_sqlite,
        pytest.param(of_redis_hash, marks=pytest.mark.servers),
        pytest.param(of_redis_json, marks=pytest.mark.servers),
    ],
    ids=lambda make: make.__name__,
)
def place(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Place]:
    making = request.param(tmp_path)
    made = next(making)
    yield made
    made.source.close()
    for _ in making:
        raise AssertionError


@pytest.mark.parametrize("origin", KNOWN)
def test_what_is_known_is_given_whole(place: Place, origin: str) -> None:
    assert {name: (value, lookups.ServedAs.FRESH) for name, value in KNOWN[origin].items()} == place.read(origin)


def test_what_is_not_known_is_nothing_however_it_is_written(place: Place) -> None:
    for origin in UNKNOWN:
        assert {lookups.ServedAs.MISSING} == {how for _, how in place.read(origin).values()}, origin


def test_several_are_answered_in_their_order(place: Place) -> None:
    wanted = [{"origin": origin} for origin in ("LGA", "EWR", "JFK", "LGA")][: place.source.batch_count_max]

    found = place.source.fetch(wanted, SECONDS)

    expected = [KNOWN.get(values["origin"], {}).get("gusts") for values in wanted]
    read = [lookup_values.read(place.spec, COLUMNS, answer, now=0.0)["gusts"] for answer in found]
    assert expected == [value if how is lookups.ServedAs.FRESH else None for value, how in read]


def test_threads_ask_at_once_and_each_gets_its_own(place: Place) -> None:
    origins = ["JFK", "LGA", "EWR"] * 60
    with concurrent.futures.ThreadPoolExecutor(workers.THREADS) as pool:
        found = list(pool.map(place.read, origins))

    assert [KNOWN.get(origin, {"wind": 0.0})["wind"] for origin in origins] == [each["wind"][0] for each in found]


def test_a_source_that_is_gone_raises_and_one_that_was_not_asked_before_too(place: Place) -> None:
    place.read("JFK")
    place.stop()

    for _ in range(3):
        with pytest.raises(Exception, match=r".*"):  # every library has its own
            place.source.fetch([{"origin": "JFK"}], SECONDS)


# What only some sources can get wrong.


@contextlib.contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does with each connection what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def http_of(port: int) -> http_source.HttpSource:
    found = spec(lookups.LookupSource.HTTP, f"http://127.0.0.1:{port}/{{origin}}")
    return http_source.open_source(opened(found))


def test_a_server_that_hangs_or_drips_is_a_timeout() -> None:
    def hang(connection: socket.socket) -> None:
        connection.recv(10_000)
        time.sleep(1.0)

    def drip(connection: socket.socket) -> None:
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(200):
            connection.sendall(b" ")
            time.sleep(0.01)

    for behaviour in (hang, drip):
        with raw_server(behaviour) as port:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                http_of(port).fetch([{"origin": "JFK"}], 0.1)
            assert time.monotonic() - began < 0.9


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 no\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 302 there\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b" " * (2**20 + 1),
        b"nonsense\r\n\r\n",
        b"",
    ],
    ids=["500", "redirect", "a list", "no JSON", "too large", "no HTTP", "nothing"],
)
def test_an_answer_that_is_none_raises(answer: bytes) -> None:
    def send(connection: socket.socket) -> None:
        connection.recv(10_000)
        connection.sendall(answer)

    with raw_server(send) as port, pytest.raises(Exception, match=r".*"):  # as above
        http_of(port).fetch([{"origin": "JFK"}], SECONDS)


def test_a_connection_the_server_closed_is_made_anew() -> None:
    counted = []

    def once(connection: socket.socket) -> None:
        counted.append(connection.recv(10_000))
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"wind":1}')

    with raw_server(once) as port:
        found = http_of(port)
        for _ in range(3):
            assert [lookup_values.Answer({"wind": 1})] == found.fetch([{"origin": "JFK"}], SECONDS)

    assert 3 == len(counted)


def test_a_user_in_the_server_s_url_becomes_a_header() -> None:
    asked = []

    def note(connection: socket.socket) -> None:
        asked.append(connection.recv(10_000))
        connection.sendall(b"HTTP/1.1 404 no\r\ncontent-length: 0\r\n\r\n")

    with raw_server(note) as port:
        found = spec(lookups.LookupSource.HTTP, "/w/{origin}", f"http://ada:s%20cret@127.0.0.1:{port}/v1")
        http_source.open_source(opened(found)).fetch([{"origin": "a/b"}], SECONDS)

    assert asked[0].startswith(b"GET /v1/w/a%2Fb HTTP/1.1\r\n")
    assert b"authorization: Basic YWRhOnMgY3JldA==\r\n" in asked[0]


def test_a_query_of_several_rows_raises_and_a_locked_file_is_a_timeout(tmp_path: pathlib.Path) -> None:
    making = of_sqlite(tmp_path)
    made = next(making)
    server = made.spec.server
    several = sql_source.open_source(opened(spec(lookups.LookupSource.SQL, "select * from weather", server)))
    with pytest.raises(LookupError, match="more than one row"):
        several.fetch([{"origin": "JFK"}], SECONDS)
    brief = sql_source.open_source(
        opened(spec(lookups.LookupSource.SQL, made.spec.target, server, timeout_seconds=0.02))
    )
    with contextlib.closing(sqlite3.connect(server.removeprefix("sqlite:///"))) as database:
        database.execute("begin exclusive")
        with pytest.raises(TimeoutError):
            brief.fetch([{"origin": "JFK"}], 0.02)
    assert [lookup_values.Answer(KNOWN["JFK"])] == brief.fetch([{"origin": "JFK"}], 0.02)


def test_looking_for_a_database_does_not_make_one(tmp_path: pathlib.Path) -> None:
    found = spec(lookups.LookupSource.SQL, "select 1 as wind", f"sqlite:///{tmp_path}/none.db")

    with pytest.raises(RuntimeError, match="unable to open"):
        sql_source.open_source(opened(found)).fetch([{"origin": "JFK"}], SECONDS)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "target", "server", "said"),
    [
        ("redis", "w:{origin}", "http://:pa55word@x", "not a Redis URL"),
        ("sql", "select 1", "pa55word", "not a database URL"),
        ("sql", "select 1", "nodb://u:pa55word@x/y", "not a database URL|has no"),
        ("sql", "select 1", "mysql+pymysql://u:pa55word@x/y", "has no 'pymysql'"),
        ("http", "/w/{origin}", "ftp://u:pa55word@x", "not an http or https URL"),
        ("feast", "weather", "http://u:pa55word@[x", "not an http or https URL"),
        ("feast", "weather", "pa55word", "has no 'feast'"),
        ("python", "none.py:f", "", "there is no none.py"),
        ("python", "here.py:g", "", "has no function g"),
        ("python", "here.py:later", "", "is a coroutine function"),
        ("python", "broken.py:f", "", "broken.py raised ZeroDivisionError"),
    ],
)
def test_what_cannot_even_be_tried_is_said_at_the_start_and_no_secret_with_it(
    kind: str, target: str, server: str, said: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "here.py").write_text("async def later(origin): ...\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    found = spec(lookups.LookupSource(kind), target, server)
    with pytest.raises(errors.ConfigError, match=said) as caught:
        opening.open_one(opened(found, tmp_path))

    assert errors.Code.LOOKUP_UNUSABLE is caught.value.code
    assert "pa55word" not in f"{caught.value} {caught.value.__cause__!r}"


def test_a_server_that_is_a_variable_is_taken_from_the_environment() -> None:
    found = spec(lookups.LookupSource.REDIS, "w:{origin}", "redis://:$PASSWORD@cache")

    assert "redis://:s3cret@cache" == source.server(found, {"PASSWORD": "s3cret"})
    with pytest.raises(errors.ConfigError, match=r"\$PASSWORD, which is not set"):
        source.server(found, {})


def test_what_a_feature_server_says_of_each_value_is_understood() -> None:
    columns = {
        "origin": {
            "values": ["JFK", "LGA"],
            "statuses": ["PRESENT"] * 2,
            "event_timestamps": ["1970-01-01T00:00:00Z"] * 2,
        },
        "wind": {
            "values": [7.5, None],
            "statuses": ["PRESENT", "NOT_FOUND"],
            "event_timestamps": ["2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z"],
        },
        "gusts": {
            "values": [3, 4],
            "statuses": ["OUTSIDE_MAX_AGE", "PRESENT"],
            "event_timestamps": ["2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z"],
        },
    }

    first = feast_source.answer_of(columns, 0)

    assert 7.5 == first.fields["wind"]
    assert frozenset({"gusts"}) == first.stale
    assert 1767225600.0 == first.made_at["wind"]
    assert "wind" not in feast_source.answer_of(columns, 1).fields
