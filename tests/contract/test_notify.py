"""What everybody who sends messages promises: they arrive whole, and their URLs are seen nowhere."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.adapters.notify import apprise_notify
from softlaunch.ports import notify
from softlaunch.testing import notify as memory

SECRET = "s3cr3t"


class Receiver:
    """A service on loopback that takes messages, while it is well."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.status = 200
        self.hang = threading.Event()
        self.hang.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                found = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.hang.wait(10)
                if outer.status == 200:
                    outer.messages.append((found["title"], found["message"]))
                self.send_response(outer.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://user:{SECRET}@127.0.0.1:{self.server.server_port}/{SECRET}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


class Stage:
    """A sender, a URL it reaches, what arrived there, and a way to break it."""

    def __init__(self, kind: str, receiver: Receiver) -> None:
        self.memory = memory.MemoryNotify()
        self.receiver = receiver
        self.kind = kind
        self.sender: notify.Notify = self.memory if kind == "memory" else apprise_notify.AppriseNotify(seconds_max=2.0)
        self.url = f"memory://{SECRET}" if kind == "memory" else receiver.url

    @property
    def arrived(self) -> list[tuple[str, str]]:
        if self.kind == "memory":
            return [(title, body) for _, title, body in self.memory.sent]
        return self.receiver.messages

    def breaks(self) -> None:
        self.memory.broken.add(self.url)
        self.receiver.status = 500


@pytest.fixture(params=["apprise", "memory"])
def stage(request, receiver) -> Stage:
    return Stage(request.param, receiver)


@pytest.mark.parametrize(
    "body", ["Promoted.", "two\nlines", "ä € 🚀 <b>not bold</b> *nor this* {{ nor }} that \\n", "x" * 4_000]
)
def test_a_message_arrives_as_it_was_sent(stage: Stage, body: str) -> None:
    stage.sender.send(stage.url, "demo in production: promoted", body)

    assert [("demo in production: promoted", body)] == stage.arrived


def test_a_service_that_takes_nothing_is_unavailable_and_its_url_stays_secret(stage: Stage, caplog, capfd) -> None:
    stage.breaks()
    with caplog.at_level(logging.DEBUG), pytest.raises(errors.UnavailableError) as caught:
        stage.sender.send(stage.url, "title", "body")

    assert caught.value.code is errors.Code.NOTIFY_FAILED
    assert f"{stage.url.split(':')[0]}://..." in str(caught.value)
    seen = capfd.readouterr()
    said = repr(caught.getrepr(showlocals=False, style="value")) + caplog.text + seen.out + seen.err
    assert SECRET not in said
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["", "nonsense", f"nonsense://{SECRET}", f"{SECRET}"])
def test_a_url_that_names_no_service_is_refused_and_stays_secret(stage: Stage, url: str, caplog, capfd) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(errors.ConfigError) as caught:
        stage.sender.send(url, "title", "body")

    assert caught.value.code is errors.Code.NOTIFY_URL
    seen = capfd.readouterr()
    assert SECRET not in str(caught.value) + caplog.text + seen.out + seen.err


# apprise alone.


def test_a_service_that_is_gone_or_hangs_is_unavailable_in_time(receiver: Receiver, caplog) -> None:
    sender = apprise_notify.AppriseNotify(seconds_max=1.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"json://{SECRET}@127.0.0.1:{unused.getsockname()[1]}"
    receiver.hang.clear()
    started = time.monotonic()
    for url in (gone, receiver.url):
        with caplog.at_level(logging.DEBUG), pytest.raises(errors.UnavailableError):
            sender.send(url, "title", "body")

    assert time.monotonic() - started < 10
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("url", "shown"),
    [("slack://a/b/c", "slack://..."), ("MAILTO://x:y@z", "mailto://..."), ("$SLACK", "..."), ("hunter2", "...")],
)
def test_only_the_scheme_of_a_url_is_shown(url: str, shown: str) -> None:
    assert shown == notify.shown(url)
