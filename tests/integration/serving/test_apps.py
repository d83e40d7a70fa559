"""Somebody's own ASGI app as a process: started, asked, drained; and everything that goes wrong with one."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import time

import own_code
import pytest

from softlaunch.adapters.spool import local

BARE = """
import asyncio, json

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["bias"] = 0.5
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("the app's shutdown ran", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["path"] in ("/slow", "/hangs"):
        print("asked", flush=True)
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    if scope["path"] == "/hangs":
        await asyncio.sleep(3600)
    said = {"late": scope["state"]["bias"], "path": scope["path"], "client": scope["client"][0], "size": len(body)}
    if scope["path"] == "/health":
        said = {}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})
"""

STARTUP_RAISES = """
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    raise OSError("no such model")
    yield

app = FastAPI(lifespan=lifespan)
"""


def test_an_app_is_asked_recorded_and_drained(serve, place) -> None:
    spool = place / "spool" / "a" / "production"
    directory = own_code.app(place, BARE, ready_path="/health")
    server = serve(directory, "--predict-path", "/score", "--spool", str(spool))
    ready = own_code.probed(server)
    assert "token" == ready.headers["x-softlaunch-instance"]
    with server.client() as client, concurrent.futures.ThreadPoolExecutor(1) as threads:
        headers = {"x-request-id": "r1", "x-forwarded-for": "1.1.1.1, 9.9.9.9"}
        answer = client.post("/score", content=b"abc", headers=headers)
        assert {"late": 0.5, "path": "/score", "client": "9.9.9.9", "size": 3} == answer.json()
        assert "r1:0" == answer.headers["x-softlaunch-prediction-id"]
        assert int(answer.headers["x-softlaunch-memory-kib"]) > 1000
        assert 100_000 == client.post("/other", content=b"x" * 100_000).json()["size"]
        assert "/v2/health/ready" == client.get("/v2/health/ready").json()["path"]

        def ask() -> int:
            with server.client(timeout=10) as other:
                return other.get("/slow").status_code

        waiting = threads.submit(ask)
        assert "asked\n" == server.process.stdout.readline()
        server.process.send_signal(signal.SIGTERM)
        assert 200 == waiting.result()
    out, err = server.process.communicate(timeout=20)
    assert 0 == server.process.returncode, err
    assert "the app's shutdown ran" in out
    (record,) = local.LocalSpool(place / "spool").scan("a", "production", since=0.0, until=time.time())
    assert (b"abc", "/score", 0.5) == (record.request, record.path, json.loads(record.answer)["late"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("import nothing_of_the_kind\n", "service:app", "imports 'nothing_of_the_kind'"),
        ("1 / 0\n", "service:app", "ZeroDivisionError"),
        ("app = 3\n", "other:app", "no module 'other'"),
        ("async def api(scope, receive, send): ...\n", "service:app", "has no 'app'; ASGI apps in it: api"),
        ("app = 3\n", "service:app", "is int, not an ASGI app"),
        ("class Flask:\n    def wsgi_app(self, e, s): ...\napp = Flask()\n", "service:app", "gunicorn"),
        ("def app():\n    return None\n", "service:app", "write service:app()"),
        ("def app():\n    raise KeyError('DB_URL')\n", "service:app()", "KeyError"),
        (
            STARTUP_RAISES,
            "service:app",
            "startup failed: OSError: no such model",
        ),
    ],
)
def test_an_app_that_cannot_start_says_why_in_one_line(serve, place, source, target, said) -> None:
    code, printed = own_code.ended(serve(own_code.app(place, source, target=target)))

    assert 1 == code
    last = printed.strip().splitlines()[-1]
    assert last.startswith("softlaunch.serving: app-unusable:")
    assert said in last


@pytest.mark.slow
def test_an_app_without_a_lifespan_is_served(serve, place) -> None:
    source = BARE.replace('scope["state"]["bias"]', "0.5").replace(
        "await receive()\n        0.5 = 0.5", "raise KeyError"
    )
    source = source.replace(
        'if scope["type"] == "lifespan":', 'if scope["type"] == "lifespan":\n        raise KeyError'
    )
    server = serve(own_code.app(place, source.replace("        0.5 = 0.5\n", "")))

    assert 200 == own_code.probed(server).status_code


@pytest.mark.slow
def test_an_app_that_is_never_ready_says_what_is_waited_for(serve, place) -> None:
    server = serve(own_code.app(place, BARE.replace('"status": 200', '"status": 503'), ready_path="/health"))

    detail = own_code.probed(server, lambda answer: answer.status_code == 503 and "503" in str(answer.headers))
    assert "its ready path /health answers 503" == detail.headers["x-softlaunch-detail"]


@pytest.mark.slow
def test_a_handler_that_hangs_does_not_keep_a_process_alive(serve, place) -> None:
    server = serve(own_code.app(place, BARE), "--grace-seconds", "2.5")
    own_code.probed(server)
    with concurrent.futures.ThreadPoolExecutor(1) as threads, server.client(timeout=20) as client:
        hanging = threads.submit(client.get, "/hangs")
        assert "asked\n" == server.process.stdout.readline()
        server.process.send_signal(signal.SIGTERM)
        _, said = server.process.communicate(timeout=15)
        assert hanging.exception(timeout=5) is not None or hanging.result().status_code >= 500
    assert 1 == server.process.returncode
    assert "1 requests unanswered" in said
