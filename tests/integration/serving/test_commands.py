"""A command that serves HTTP, as a process beside ours: started, asked, ended; and what goes wrong with one."""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import signal
import sys
import time

import httpx
import own_code
import pytest

SERVER = """
import http.server, os, signal, sys, time
print("child", os.getpid(), flush=True)
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *arguments): pass
    def do_GET(self):
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for part in (b"one", b"two"):
                self.wfile.write(b"3\\r\\n" + part + b"\\r\\n")
                self.wfile.flush()
                time.sleep(0.3)
            self.wfile.write(b"0\\r\\n\\r\\n")
            return
        if self.path == "/dies":
            os._exit(3)
        if self.path == "/moved":
            return self.say(302, b"", location="/elsewhere")
        self.say(200, (self.path + " " + self.headers.get("host", "")).encode())
    def do_POST(self):
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size)
        self.say(200, b'{"late": %s}' % (body or b"0"), content_type="application/json")
    def say(self, status, body, content_type="text/plain", location=None):
        self.send_response(status)
        if location: self.send_header("location", location)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def start(serve, place, *words: str, options: tuple[str, ...] = (), **content):
    directory = own_code.command(place, {"server.py": SERVER}, sys.executable, "server.py", *words, **content)
    return serve(directory, "--predict-path", "/score", *options)


def is_gone(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def child_of(server) -> int:
    found = server.process.stdout.readline().split()
    assert "child" == found[0]
    return int(found[1])


def gone(pid: int) -> bool:
    until = time.monotonic() + 10
    while not is_gone(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return is_gone(pid)


def test_a_command_is_asked_checked_and_ended(serve, place) -> None:
    server = start(serve, place, ready_path="/health")
    child = child_of(server)
    own_code.probed(server)
    with server.client() as client:
        good = client.post("/score", content=b"0.25", headers={"x-request-id": "r1"})
        assert ({"late": 0.25}, "n:0.25") == (good.json(), good.headers["x-softlaunch-out"])
        assert int(good.headers["x-softlaunch-memory-kib"]) > 1000
        assert int(good.headers["x-softlaunch-cpu-us"]) > 0
        assert "1" == client.post("/score", content=b"7").headers["x-softlaunch-invalid"]
        assert "1" == client.post("/score", content=b"NaN").headers["x-softlaunch-invalid"]
        assert "/a%20b?q=%2F model" == client.get("/a%20b?q=%2F").text
        assert "/elsewhere" == client.get("/moved").headers["location"]
        large = b"1" * 3_000_000
        assert len(large) + 10 == len(client.post("/upload", content=large, timeout=20).content)
    server.process.send_signal(signal.SIGTERM)
    _, said = server.process.communicate(timeout=20)
    assert (0, True) == (server.process.returncode, is_gone(child)), said


@pytest.mark.slow
def test_a_stream_comes_as_it_is_made(serve, place) -> None:
    server = start(serve, place)
    own_code.probed(server)
    with server.client() as client, client.stream("GET", "/stream") as answer:
        came = [(time.monotonic(), part) for part in answer.iter_raw()]

    assert [b"one", b"two"] == [part for _, part in came if part]
    assert came[-1][0] - came[0][0] > 0.1


def test_a_command_that_ends_takes_our_process_along(serve, place) -> None:
    server = start(serve, place)
    own_code.probed(server)
    with server.client() as client, contextlib.suppress(httpx.TransportError):  # our process may be faster
        assert 500 == client.get("/dies").status_code

    code, said = own_code.ended(server)
    assert 1 == code
    assert "ended with exit code 3" in said
    assert "command-failed" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-program-here"], "no program 'no-such-program-here'"),
        (["./missing.sh"], "no program './missing.sh'"),
        ([sys.executable, "-c", "print('port is taken', flush=True); raise SystemExit(98)"], "exit code 98"),
    ],
)
def test_a_command_that_cannot_run_says_why(serve, place, words, said) -> None:
    code, printed = own_code.ended(serve(own_code.command(place, {}, *words)))

    assert 1 == code
    assert said in printed


@pytest.mark.slow
def test_a_command_that_never_listens_says_where_it_should(serve, place) -> None:
    server = serve(own_code.command(place, {}, sys.executable, "-c", "import time; time.sleep(60)"))

    detail = own_code.probed(server, lambda answer: answer.status_code == 503).headers["x-softlaunch-detail"]
    assert "does not listen on port" in detail
    assert "$PORT" in detail


@pytest.mark.slow
def test_a_command_that_ignores_sigterm_is_killed(serve, place) -> None:
    server = start(serve, place, "deaf", options=("--grace-seconds", "2.5"))
    child = child_of(server)
    own_code.probed(server)
    server.process.send_signal(signal.SIGTERM)
    _, said = server.process.communicate(timeout=15)

    assert is_gone(child)
    assert "ignored SIGTERM" in said


def test_kill_9_of_our_process_leaves_no_command_behind(serve, place) -> None:
    server = start(serve, place)
    child = child_of(server)
    own_code.probed(server)
    server.process.kill()

    assert gone(child)


@pytest.mark.slow
def test_a_client_that_leaves_is_told_to_the_command(serve, place) -> None:
    source = """
    import asyncio, os

    async def serve(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        await reader.read()
        print("the client left", flush=True)
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]))
        await server.serve_forever()

    asyncio.run(main())
    """
    server = serve(own_code.command(place, {"server.py": source}, sys.executable, "server.py"))
    own_code.probed(server)
    with server.client(timeout=0.3) as client, pytest.raises(httpx.TimeoutException):
        client.get("/waits")
    readable, _, _ = select.select([server.process.stdout], [], [], 10)
    assert readable, "the command was not told"
    assert "the client left\n" == server.process.stdout.readline()


@pytest.mark.slow
def test_what_our_interpreter_needs_is_not_handed_on(serve, place) -> None:
    source = "import os; print(sorted(n for n in os.environ if n in ('PYTHONSAFEPATH', 'PORT')), flush=True); 1 / 0"
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        server = serve(own_code.command(place, {"server.py": source}, sys.executable, "server.py"))
    finally:
        del os.environ["PYTHONSAFEPATH"]

    assert "['PORT']\n" == server.process.stdout.readline()
