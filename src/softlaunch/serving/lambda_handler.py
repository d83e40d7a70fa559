"""
A model server inside AWS Lambda: `python -m softlaunch.serving.lambda_handler --release DIR ...`.

Speaks Lambda's Runtime API (2018-06-01) itself, so that an image needs no other base and no further package. The model
server is started once per execution environment, on a Unix socket; each invocation, an HTTP API or function URL event
of payload format 2.0, becomes one request to it, and its answer the event's response.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

_API = "/2018-06-01/runtime"
_VARIABLE = "AWS_LAMBDA_RUNTIME_API"
_BODY_BYTES_MAX = 6 * 2**20 - 65_536
"""Of a synchronous response Lambda takes 6 MB with its envelope; what is kept for that is a guess."""
_READY_SECONDS_MAX = 120.0
_READY_EVERY_SECONDS = 0.01
_ANSWER_SECONDS_SPARED = 0.2
"""Of an invocation's time, what is kept for handing the answer over; a guess."""
_DROPPED = frozenset({"connection", "content-length", "keep-alive", "te", "transfer-encoding", "upgrade"})
"""Headers that belong to one connection."""
_TEXT_TYPES = ("application/json", "text/", "application/xml", "application/javascript")


class EventError(ValueError):
    """The event is no HTTP request."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


def request_of(event: Any, *, seconds_left: float | None = None) -> Request:
    """
    The request in an event of payload format 2.0.

    Args:
        event: As Lambda gives it.
        seconds_left: Becomes the request's deadline, unless the client's own is earlier.

    Raises:
        EventError: the event is of another kind.
    """
    try:
        told = event["requestContext"]["http"]
        method, path, stage = told["method"], event["rawPath"], event["requestContext"].get("stage", "$default")
        query, headers = event.get("rawQueryString", ""), {**event.get("headers", {})}
        body = event.get("body") or ""
        raw = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise EventError(
            f"This function answers HTTP events of payload format 2.0 (HTTP APIs, function URLs); {error!r} is amiss."
        ) from error
    kept = {name.lower(): value for name, value in headers.items() if name.lower() not in _DROPPED}
    if event.get("cookies"):
        kept["cookie"] = "; ".join(event["cookies"])
    kept.setdefault("x-request-id", event["requestContext"].get("requestId") or str(uuid.uuid4()))
    if seconds_left is not None:
        theirs = kept.get("x-softlaunch-deadline-ms", "")
        ours = max(1, int(1000 * seconds_left))
        kept["x-softlaunch-deadline-ms"] = str(min(int(theirs), ours) if theirs.isdecimal() else ours)
    if stage != "$default" and (path == f"/{stage}" or path.startswith(f"/{stage}/")):
        path = path[len(stage) + 1 :] or "/"  # HTTP APIs put a named stage in front
    target = f"{path}?{query}" if query else path
    if any(ord(letter) <= ord(" ") or ord(letter) > ord("~") for letter in f"{method}{target}"):
        raise EventError("The event's method or path holds a character that no request line may.")
    return Request(method=method, target=target, headers=kept, body=raw)


def event_of(answer: Answer) -> dict[str, Any]:
    """The response in payload format 2.0."""
    if len(answer.body) > _BODY_BYTES_MAX:
        told = {"error": f"The answer has {len(answer.body)} bytes; Lambda carries {_BODY_BYTES_MAX}. Send fewer rows."}
        body = json.dumps(told).encode()
        answer = Answer(status=http.HTTPStatus.INTERNAL_SERVER_ERROR, headers=_JSON, body=body)
    headers: dict[str, str] = {}
    cookies = []
    for name, value in answer.headers:
        lower = name.lower()
        if lower == "set-cookie":
            cookies.append(value)
        elif lower not in _DROPPED:
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    found: dict[str, Any] = {"statusCode": answer.status, "headers": headers, "isBase64Encoded": False}
    text = _text(answer.body) if headers.get("content-type", "").startswith(_TEXT_TYPES) else None
    if text is None:
        found |= {"isBase64Encoded": True, "body": base64.b64encode(answer.body).decode()}
    else:
        found["body"] = text
    return {**found, "cookies": cookies} if cookies else found


_JSON = (("content-type", "application/json"),)


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: pathlib.Path) -> None:
        super().__init__("localhost", timeout=None)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ModelServer:
    """
    The model server as a child process.

    Args:
        arguments: Of `python -m softlaunch.serving`, without socket and instance.
        directory: Where its socket is made.
    """

    def __init__(self, arguments: Sequence[str], directory: pathlib.Path) -> None:
        self._path = directory / "model.sock"
        command = [sys.executable, "-m", "softlaunch.serving", *arguments, "--socket", str(self._path)]
        self._process = subprocess.Popen([*command, "--instance", "lambda"])

    def wait_ready(self) -> None:
        """
        Returns once the model has been loaded.

        Raises:
            RuntimeError: the process has ended, or takes too long.
        """
        deadline = time.monotonic() + _READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                raise RuntimeError(f"The model server ended with exit code {code}; its last line says why.")
            with contextlib.suppress(OSError, http.client.HTTPException):
                asked = Request(method="GET", target="/v2/health/ready", headers={}, body=b"")
                if self.ask(asked).status == http.HTTPStatus.OK:
                    return
            time.sleep(_READY_EVERY_SECONDS)
        raise RuntimeError(f"The model server was not ready within {_READY_SECONDS_MAX:g} s.")

    def ask(self, request: Request) -> Answer:
        """
        Its answer, over a connection of its own: a kept one may have died, and a Unix socket costs next to nothing.

        Raises:
            OSError: it cannot be reached.
            HTTPException: it answers no HTTP.
        """
        with contextlib.closing(_UnixConnection(self._path)) as connection:
            # Who is refused by its path is answered before its body is read: the answer is there all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(request.method, request.target, body=request.body, headers=dict(request.headers))
            found = connection.getresponse()
            return Answer(status=found.status, headers=found.getheaders(), body=found.read())

    def is_running(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Lets it answer what it has, then ends it."""
        self._process.terminate()
        self._process.wait()


class RuntimeApi:
    """Lambda's side: http://HOST:PORT/2018-06-01/runtime."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address)  # no timeout: the next event may be hours away

    def following(self) -> tuple[str, float, Any]:
        """The next invocation: its id, the seconds it may take, its event."""
        self._connection.request("GET", f"{_API}/invocation/next")
        found = self._connection.getresponse()
        raw = found.read()
        deadline_ms = float(found.headers["Lambda-Runtime-Deadline-Ms"])
        return found.headers["Lambda-Runtime-Aws-Request-Id"], deadline_ms / 1000 - time.time(), json.loads(raw)

    def respond(self, invocation: str, response: Mapping[str, Any]) -> None:
        """The invocation's response."""
        self._post(f"/invocation/{invocation}/response", response)

    def fail(self, invocation: str | None, error: Exception) -> None:
        """The invocation, or without one the start, has failed."""
        place = "/init/error" if invocation is None else f"/invocation/{invocation}/error"
        self._post(place, {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": []})

    def _post(self, path: str, document: Mapping[str, Any]) -> None:
        body = json.dumps(document, ensure_ascii=False).encode()
        self._connection.request("POST", _API + path, body=body, headers={"content-type": "application/json"})
        self._connection.getresponse().read()


def serve(api: RuntimeApi, server: ModelServer) -> int:
    """Answers invocations until the model server is gone; then 1, and Lambda starts a new environment."""
    while True:
        invocation, seconds_left, event = api.following()
        try:
            request = request_of(event, seconds_left=seconds_left - _ANSWER_SECONDS_SPARED)
            response = event_of(server.ask(request))
        except EventError as error:
            api.fail(invocation, error)
        except (OSError, http.client.HTTPException) as error:
            api.fail(invocation, error)
            if not server.is_running():
                return 1
        else:
            api.respond(invocation, response)


def main(arguments: Sequence[str]) -> NoReturn:
    """Serves until the environment is taken away."""
    address = os.environ.get(_VARIABLE)
    if not address:
        sys.stderr.write(f"softlaunch.serving.lambda_handler: {_VARIABLE} is not set: this is not AWS Lambda\n")
        sys.exit(2)
    api = RuntimeApi(address)
    with tempfile.TemporaryDirectory(prefix="sl-") as directory:
        server = ModelServer(arguments, pathlib.Path(directory))
        try:
            server.wait_ready()
            code = serve(api, server)
        except RuntimeError as error:
            api.fail(None, error)
            code = 1
        except KeyboardInterrupt:
            code = 130
        finally:
            server.stop()
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
