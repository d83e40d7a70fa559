"""What everybody who is asked for a check promises; and what Prometheus and URLs can say, from a server on loopback."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from softlaunch.adapters.checks import http_checks
from softlaunch.core import spec
from softlaunch.ports import checks
from softlaunch.testing import checks as memory

NAMES = {"service": 'de"lay', "environment": "production", "candidate": "0123456789ab", "stable": "ba9876543210"}
QUERY = 'errors{service="{service}", release="{candidate}"}'
FILLED = 'errors{service="de\\"lay", release="0123456789ab"}'


class Server:
    """Answers by query or path; notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.hang = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(self.path)

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                assert self.path == "/api/v1/query"
                self.answer(urllib.parse.parse_qs(form)["query"][0])

            def answer(self, what: str) -> None:
                outer.asked.append(what)
                if what == "hang":
                    outer.hang.wait(10)
                status, body = outer.answers.get(what, (404, b"nothing here"))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def say(self, query: str, data: Any, *, status: int = 200) -> None:
        self.answers[query] = (status, json.dumps({"status": "success", "data": data}).encode())

    def close(self) -> None:
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


@pytest.fixture
def adapter() -> Iterator[http_checks.HttpChecks]:
    found = http_checks.HttpChecks(seconds_max=0.5)
    yield found
    found.close()


def promql(target: str, server: Server | str) -> spec.CheckSpec:
    url = server if isinstance(server, str) else server.url
    return spec.CheckSpec(name="c", kind=spec.CheckKind.PROMQL, target=target, server=f"{url}/")


def url_check(url: str, json_path: str = "") -> spec.CheckSpec:
    return spec.CheckSpec(name="c", kind=spec.CheckKind.HTTP, target=url, json_path=json_path)


def vector(*values: str) -> dict[str, Any]:
    return {"resultType": "vector", "result": [{"metric": {}, "value": [1.5, value]} for value in values]}


# Every adapter.


@pytest.fixture(params=["http", "memory"])
def asked(request, server, adapter):
    """An adapter, and a way to say what a query's value is."""
    if request.param == "http":
        return adapter, lambda query, value: server.say(query, vector(str(value)))
    found = memory.MemoryChecks()
    return found, lambda query, value: found.answers.update({query: checks.Value(value=value)})


def test_a_query_has_the_value_that_is_there_now(asked, server) -> None:
    port, say = asked
    for value in (0.25, 3.0):
        say("up", value)
        assert checks.Value(value=value) == port.ask(promql("up", server), NAMES)


def test_names_are_put_in_escaped(asked, server) -> None:
    port, say = asked
    say(FILLED, 1.0)

    assert checks.Value(value=1.0) == port.ask(promql(QUERY, server), NAMES)


@pytest.mark.parametrize("query", ["nothing", "nan", "up{release='{stable}'}"])
def test_what_is_not_known_is_unavailable_with_a_reason_and_never_raised(asked, server, query) -> None:
    port, say = asked
    say("nan", float("nan"))
    names = {name: value for name, value in NAMES.items() if name != "stable"}
    answer = port.ask(promql(query, server), names)

    assert isinstance(answer, checks.Unavailable)
    assert answer.reason


def test_nobody_is_asked_about_an_expression(asked) -> None:
    port, _ = asked
    check = spec.CheckSpec(name="c", kind=spec.CheckKind.EXPRESSION, target="status == 200")

    assert isinstance(port.ask(check, NAMES), checks.Unavailable)


# Prometheus and URLs.


def test_a_scalar_is_a_value_too(server, adapter) -> None:
    server.say("1 + 1", {"resultType": "scalar", "result": [1.5, "2"]})
    server.say("1 / 0", {"resultType": "scalar", "result": [1.5, "+Inf"]})

    assert checks.Value(value=2.0) == adapter.ask(promql("1 + 1", server), NAMES)
    assert checks.Value(value=float("inf")) == adapter.ask(promql("1 / 0", server), NAMES)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, {"status": "success", "data": vector()}, "no sample"),
        (200, {"status": "success", "data": vector("1", "2")}, "2 samples"),
        (200, {"status": "success", "data": vector("NaN")}, "NaN"),
        (200, {"status": "success", "data": {"resultType": "matrix", "result": []}}, "is a matrix"),
        (200, {"status": "success", "data": {"resultType": "scalar", "result": []}}, "no result of a query"),
        (200, {"status": "success"}, "no result of a query"),
        (400, {"status": "error", "error": "parse error: unclosed"}, "400: parse error: unclosed"),
        (200, b"<html>sign in</html>", "no JSON: <html>"),
        (503, b"starting", "503 and no JSON"),
        (200, [], "answered 200"),
    ],
)
def test_a_query_that_has_no_one_number_is_no_failure(server, adapter, status, body, words) -> None:
    server.answers["q"] = (status, body if isinstance(body, bytes) else json.dumps(body).encode())
    answer = adapter.ask(promql("q", server), NAMES)

    assert isinstance(answer, checks.Unavailable)
    assert words in answer.reason


def test_a_server_that_hangs_is_gone_or_says_too_much_is_unavailable(server, adapter) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"http://user:secret@127.0.0.1:{unused.getsockname()[1]}"
        answers = [adapter.ask(promql("up", gone), NAMES), adapter.ask(promql("up", "no url"), NAMES)]
    started = time.monotonic()
    answers.append(adapter.ask(promql("hang", server), NAMES))
    assert time.monotonic() - started < 5
    server.answers["/big"] = (200, b" " * (1 << 21))
    answers.append(adapter.ask(url_check(f"{server.url}/big"), NAMES))

    for answer, words in zip(answers, ("ConnectError", "cannot be asked", "no answer in 0.5 s", "larger"), strict=True):
        assert isinstance(answer, checks.Unavailable)
        assert words in answer.reason
        assert "secret" not in answer.reason


def test_a_url_says_yes_by_2xx_and_no_by_anything_else(server, adapter) -> None:
    server.answers = {"/ok/de%22lay": (204, b""), "/bad": (503, b"queue is full")}

    yes = adapter.ask(url_check(server.url + "/ok/{service}"), NAMES)
    no = adapter.ask(url_check(f"{server.url}/bad"), NAMES)

    assert checks.Status(ok=True, detail="it answered 204") == yes
    assert checks.Status(ok=False, detail="it answered 503: queue is full") == no


def test_a_url_s_number_is_found_by_its_path(server, adapter) -> None:
    server.answers["/x"] = (200, json.dumps({"a": [{"b.c": 1, "d": 2.5}], "t": True, "s": "1"}).encode())

    def ask(path: str) -> checks.Answer:
        return adapter.ask(url_check(f"{server.url}/x", path), NAMES)

    assert checks.Value(value=2.5) == ask("a.0.d")
    for path in ("a.1.d", "a.x", "t", "s", "a", "nope"):
        assert isinstance(ask(path), checks.Unavailable), path
    server.answers["/x"] = (200, b"OK")
    assert isinstance(ask("a"), checks.Unavailable)


@pytest.mark.servers
def test_a_real_prometheus_answers(tmp_path: pathlib.Path, adapter) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian package prometheus; make test-all installs it)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    process = subprocess.Popen(
        [
            program,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/-/ready").status_code == 200:
                    break
            time.sleep(0.05)

        def ask(query: str) -> checks.Answer:
            return adapter.ask(promql(query, url), NAMES)

        assert checks.Value(value=3.0) == ask("1 + 2")
        assert checks.Value(value=7.0) == ask('label_replace(vector(7), "service", "{service}", "", "")')
        # The name arrives whole: Prometheus itself finds it equal to the string as JSON writes it.
        assert checks.Value(value=1.0) == ask(
            'label_replace(vector(1), "s", "{service}", "", "") and on (s) '
            'label_replace(vector(1), "s", "de\\"lay", "", "")'
        )
        for query, words in (("up", "no sample"), ("0 / 0", "NaN"), ("up{", "400"), ("vector(0)[5m:1m]", "matrix")):
            answer = ask(query)
            assert isinstance(answer, checks.Unavailable)
            assert words in answer.reason
    finally:
        process.terminate()
        process.wait(timeout=30)
