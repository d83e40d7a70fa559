"""Lambda's Runtime API (2018-06-01), as an execution environment sees it: /next blocks, responses are posted back."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any


@dataclasses.dataclass
class Service:
    address: str
    events: queue.Queue[tuple[str, Any, float]]
    posted: queue.Queue[tuple[str, Any]]
    number: int = 0

    def invoke(self, event: Any, *, seconds: float = 30.0) -> tuple[str, Any]:
        """What came back: "response" or "error", and the document."""
        self.number += 1
        self.events.put((f"id-{self.number}", event, seconds))
        path, document = self.posted.get(timeout=15)
        assert path.startswith(f"/2018-06-01/runtime/invocation/id-{self.number}/"), path
        return path.rpartition("/")[2], document


@contextlib.contextmanager
def running() -> Iterator[Service]:
    events: queue.Queue[tuple[str, Any, float]] = queue.Queue()
    posted: queue.Queue[tuple[str, Any]] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            assert self.path == "/2018-06-01/runtime/invocation/next"
            name, event, seconds = events.get()
            if name == "end":
                self.close_connection = True
                return
            body = json.dumps(event).encode()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", name)
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int(1000 * (time.time() + seconds))))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:1:function:f")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            posted.put((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Service(f"127.0.0.1:{server.server_address[1]}", events, posted)
    finally:
        events.put(("end", None, 0.0))
        server.shutdown()
        thread.join()
        server.server_close()
