"""
What softlaunch puts around an ASGI app, whose code knows nothing of it.

Every answer carries x-softlaunch-release; the supervisor's questions (x-softlaunch-probe) are answered here and never
reach the app. A POST to one of `predict_paths` is a prediction: its request is read along with the app, its answer is
kept until it is whole, held against `answers`, measured and recorded. Everything else (streams, uploads, pages) passes
through as it comes.

    2xx that breaks a check      becomes 500 with x-softlaunch-invalid: the gateway asks the stable release
    any other answer             leaves as the app made it
    larger than the limit        leaves as it comes, unchecked; recorded as cut
    the app raises               500, as every ASGI server answers; the traceback goes to the log

CPU time is told only of requests that were alone in the process from beginning to end: handlers run on the loop and in
thread pools, and what several requests used together cannot be told apart.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from softlaunch.core import answer_checks, attempts
from softlaunch.serving import asgi_answers, asgi_target, meter, readiness, replies
from softlaunch.serving import capture as capturing
from softlaunch.serving.runtimes import model

PROBE_HEADER = b"x-softlaunch-probe"
"""Holds the instance's token; the gateway removes it from what clients send."""
DETAIL_HEADER = "x-softlaunch-detail"
"""Why an instance is not ready yet, for people."""
_COMPRESSION = b"accept-encoding"

Ready = Callable[[], Awaitable[str]]
"""Why the app is not ready; empty when it is."""


class LostError(Exception):
    """What was asked did not answer: no fault of code whose traceback would tell anything."""


class Guard:
    """
    An ASGI application around another one.

    Args:
        app: What answers.
        rules: What is asked of it.
        ready: Asked at every probe once the phase is READY.
        capture: Takes what is recorded; None: nothing is.
        counters: Memory and the count of predictions.
        cpu_clock: CPU time of whatever runs the app, in nanoseconds.
    """

    def __init__(
        self,
        app: asgi_target.Application,
        rules: asgi_answers.Rules,
        *,
        ready: Ready,
        capture: capturing.Capture | None,
        counters: meter.Meter,
        cpu_clock: Callable[[], int],
    ) -> None:
        self._app = app
        self._rules = rules
        self._ready = ready
        self._capture = capture
        self._meter = counters
        self._cpu_clock = cpu_clock
        self._asking: asyncio.Task[str] | None = None
        self._arrivals = 0
        self._release_header = (b"x-softlaunch-release", rules.version.encode())
        self.state: Mapping[str, Any] = {}
        """What the app's startup yielded."""
        self.phase = readiness.Phase.LOADING
        self.waiting_for = "it is starting"
        """While LOADING, for people."""
        self.in_flight = 0
        self.last_request_at = 0.0
        """Loop time of the latest answer while draining."""

    async def __call__(self, scope: asgi_target.Scope, receive: asgi_target.Receive, send: asgi_target.Send) -> None:
        if scope["type"] != "http":
            return  # websockets are switched off in the listener, and the lifespan is run elsewhere
        headers = dict(scope["headers"])
        if headers.get(PROBE_HEADER) == self._rules.instance.encode():
            await self._probe(send)
            return
        if self.phase is readiness.Phase.LOADING:
            await _send_reply(send, replies.not_ready(), [self._release_header])
            return
        scope["state"] = dict(self.state)
        scope["client"] = asgi_target.client(headers)
        alone = self.in_flight == 0
        self.in_flight += 1
        self._arrivals += 1
        exchange = _Exchange(self, scope, headers, receive, send, is_alone=alone)
        try:
            await exchange.run()
        finally:
            self.in_flight -= 1

    # -- the supervisor ------------------------------------------------------------------------------------------

    async def _probe(self, send: asgi_target.Send) -> None:
        reason = self.waiting_for if self.phase is readiness.Phase.LOADING else ""
        if self.phase is readiness.Phase.READY:
            reason = await self._asked()
        if self.phase is readiness.Phase.DRAINING:
            reason = "it is draining"
        headers = [self._release_header, (b"x-softlaunch-instance", self._rules.instance.encode())]
        if reason:
            headers.append((DETAIL_HEADER.encode(), _header_text(reason)))
            await _send_reply(send, replies.not_ready(), headers)
        else:
            await _send_reply(send, replies.document(200, {"ready": True}), headers)

    async def _asked(self) -> str:
        """One question at a time: an app that hangs is not asked again and again."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(_reason(self._ready))
        return await asyncio.shield(self._asking)

    # -- for exchanges -------------------------------------------------------------------------------------------

    @property
    def rules(self) -> asgi_answers.Rules:
        return self._rules

    @property
    def app(self) -> asgi_target.Application:
        return self._app

    @property
    def arrivals(self) -> int:
        """Requests so far."""
        return self._arrivals

    def cpu_ns(self) -> int:
        return self._cpu_clock()

    def common_headers(self) -> list[tuple[bytes, bytes]]:
        if self.phase is not readiness.Phase.DRAINING:
            return [self._release_header]
        self.last_request_at = asyncio.get_running_loop().time()
        return [self._release_header, (b"connection", b"close")]

    def numbered(self, path: str, headers: Mapping[str, str]) -> capturing.Recorded:
        """The prediction being answered; it has its number before others are answered while it is sent."""
        number = self._meter.served_count
        self._meter.served_count += 1
        request_id, capture = headers.get("x-request-id", ""), self._capture
        is_taken = capture is not None and bool(request_id) and capture.takes(headers, request_id)
        return capturing.Recorded(path=path, headers=headers, number=number, is_taken=is_taken)

    def measured_headers(self, recorded: capturing.Recorded, measured: replies.Measured) -> list[tuple[bytes, bytes]]:
        served = f"{recorded.number}{attempts.RECORDED if recorded.is_taken else ''}"
        found = [
            *((name.encode(), value.encode()) for name, value in self._meter.memory_headers),
            (b"x-softlaunch-served", served.encode()),
        ]
        if measured.cpu_us is not None:
            found.append((b"x-softlaunch-cpu-us", b"%d" % measured.cpu_us))
        if measured.output:
            found.append((b"x-softlaunch-out", measured.output.encode()))
        if self._rules.tells_service_time:
            found.append((b"x-softlaunch-service-us", b"%d" % _us_since(measured.started)))
        return found

    def account(self, recorded: capturing.Recorded, reply: replies.Reply, measured: replies.Measured) -> None:
        """Records one answered prediction."""
        if self._capture is not None and recorded.is_taken:
            self._capture.add(
                recorded.path,
                recorded.headers,
                recorded.headers["x-request-id"],
                reply,
                measured,
                service_us=_us_since(measured.started),
                memory_kib=self._meter.memory_kib,
                served_count=recorded.number,
                content_type=recorded.headers.get("content-type", ""),
            )


class _Exchange:
    """One request and its answer on their way through the guard."""

    def __init__(
        self,
        guard: Guard,
        scope: asgi_target.Scope,
        headers: Mapping[bytes, bytes],
        receive: asgi_target.Receive,
        send: asgi_target.Send,
        *,
        is_alone: bool,
    ) -> None:
        self._guard = guard
        self._scope = scope
        self._headers = headers
        self._receive = receive
        self._send = send
        self._alone_since = guard.arrivals if is_alone else None
        self._cpu_began = 0
        self._started = time.perf_counter()
        self._request = bytearray()
        self._request_whole = False
        self._request_cut = False
        self._request_bytes_left = asgi_target.declared_bytes(headers)
        self._start: asgi_target.Message | None = None
        self._answer = bytearray()
        self._began = self._passes = self._ended = False

    async def run(self) -> None:
        predicting = self._guard.rules.is_prediction(self._scope)
        receive, send = self._receive, self._send_through
        if predicting:
            # Recorded and checked answers are plain: the gateway's clients get no compressed predictions.
            self._scope["headers"] = [each for each in self._scope["headers"] if each[0] != _COMPRESSION]
            self._scope.pop("extensions", None)  # an answer given as a file's path could not be read
            self._cpu_began = self._guard.cpu_ns()
            receive, send = self._receive_along, self._send_kept
        try:
            await self._guard.app(self._scope, receive, send)
        except (Exception, SystemExit) as error:  # the user's code: anything can come out
            if not self._ended:
                sys.stderr.write(f"softlaunch.serving: {self._scope['method']} {self._scope['path']}: ")
                sys.stderr.write(f"{error}\n" if isinstance(error, LostError) else traceback.format_exc())
            if self._began:
                raise  # granian cuts the connection, as the answer has no end
            await self._fail(model.one_line(error), predicting=predicting)
            return
        if predicting and not self._ended and not self._began:
            await self._fail("it ended without an answer", predicting=True)

    # -- everything else -----------------------------------------------------------------------------------------

    async def _send_through(self, message: asgi_target.Message) -> None:
        if message["type"] == "http.response.start":
            self._began = True
            message = {**message, "headers": [*message.get("headers", ()), *self._guard.common_headers()]}
        await self._send(message)

    # -- predictions ---------------------------------------------------------------------------------------------

    async def _receive_along(self) -> asgi_target.Message:
        message = await self._receive()
        if message["type"] == "http.request" and not self._request_whole:
            part = message.get("body", b"")
            self._request += part
            if len(self._request) > self._guard.rules.body_bytes_max:
                self._request.clear()
                self._request_cut = True
            # A program that counts bytes itself answers before anybody asks for the empty last part.
            if self._request_bytes_left is not None:
                self._request_bytes_left -= len(part)
            if self._request_bytes_left == 0 or not message.get("more_body", False):
                self._request_whole = True
                self._started = time.perf_counter()
        return message

    async def _send_kept(self, message: asgi_target.Message) -> None:
        if self._passes:
            await self._send(message)
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body" or self._start is None:
            await self._send(message)
            return
        self._answer += message.get("body", b"")
        more = message.get("more_body", False)
        if more and (len(self._answer) > self._guard.rules.body_bytes_max or asgi_answers.is_stream(self._start)):
            await self._let_pass()
            return
        if not more:
            await self._finish(self._start["status"], bytes(self._answer), self._start.get("headers", ()))

    async def _let_pass(self) -> None:
        """The answer is a stream, or larger than what is kept: it leaves as it comes."""
        assert self._start is not None
        self._passes = self._began = self._ended = True
        status = self._start["status"]
        measured = replies.Measured(b"", self._started, cut=True)
        recorded = self._recorded()
        told = self._told(recorded, measured)
        try:
            await self._send({**self._start, "headers": [*self._start.get("headers", ()), *told]})
            await self._send({"type": "http.response.body", "body": bytes(self._answer), "more_body": True})
        finally:
            self._guard.account(recorded, replies.Reply(status, b""), measured)
        self._answer.clear()

    async def _finish(self, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._ended = True
        good = 200 <= status < 300
        document = asgi_answers.decoded(body, headers) if good and self._guard.rules.checks else None
        broken = answer_checks.broken(self._guard.rules.checks, document) if good else None
        if document is asgi_answers.UNREADABLE and broken is not None:
            broken = answer_checks.Broken(path="", message="The answer is not JSON in plain UTF-8.")
        if broken is not None:
            await self._refuse(broken)
            return
        value = answer_checks.first_value(self._guard.rules.checks, document) if good else None
        row_count = answer_checks.row_count(self._guard.rules.checks, document) if good else 0
        measured = self._measured(row_count, asgi_answers.outline(value))
        recorded = self._recorded()
        told = self._told(recorded, measured, row_count=row_count)
        self._began = True
        try:
            await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *told]})
            await self._send({"type": "http.response.body", "body": body})
        finally:
            self._guard.account(recorded, replies.Reply(status, body), measured)

    async def _refuse(self, broken: answer_checks.Broken) -> None:
        """The app's answer may not leave: 500, and the gateway asks the stable release."""
        document = {
            "error": f"The app's answer is invalid. {broken.message}",
            "path": broken.path,
            "remedy": "Fix the app, or its `answers:` in softlaunch.yaml.",
        }
        await self._reply(replies.document(500, document, replies.INVALID_HEADER))

    async def _fail(self, said: str, *, predicting: bool) -> None:
        self._ended = True
        reply = replies.document(500, {"error": f"The app raised {said}", "remedy": "Fix the app's code."})
        if predicting:
            await self._reply(reply)
        else:
            await _send_reply(self._send, reply, self._guard.common_headers())

    async def _reply(self, reply: replies.Reply) -> None:
        measured = self._measured(0, "")
        self._began = True
        recorded = self._recorded()
        try:
            await _send_reply(self._send, reply, self._told(recorded, measured))
        finally:
            self._guard.account(recorded, reply, measured)

    def _measured(self, row_count: int, output: str) -> replies.Measured:
        cpu_us = None
        if self._alone_since == self._guard.arrivals:
            cpu_us = max(0, self._guard.cpu_ns() - self._cpu_began) // 1000
        cut = self._request_cut or not self._request_whole
        request = b"" if cut else bytes(self._request)
        return replies.Measured(request, self._started, row_count, cpu_us, output, cut)

    def _told(
        self, recorded: capturing.Recorded, measured: replies.Measured, *, row_count: int = 0
    ) -> list[tuple[bytes, bytes]]:
        found = self._guard.common_headers()
        found += self._guard.measured_headers(recorded, measured)
        request_id = self._headers.get(b"x-request-id")
        if request_id and row_count:
            rows = b"0" if row_count == 1 else b"0-%d" % (row_count - 1)
            found.append((b"x-softlaunch-prediction-id", request_id + b":" + rows))
        return found

    def _recorded(self) -> capturing.Recorded:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._headers.items()}
        query = self._scope.get("query_string") or b""
        path = self._scope["path"] + (f"?{query.decode('latin-1')}" if query else "")
        return self._guard.numbered(path, headers)


async def _reason(ready: Ready) -> str:
    try:
        return await ready()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the user's code: anything can come out
        return f"asking for it raised {model.one_line(error)}"


def _header_text(text: str) -> bytes:
    return " ".join(text.split())[:300].encode("ascii", errors="replace")


async def _send_reply(send: asgi_target.Send, reply: replies.Reply, headers: Sequence[tuple[bytes, bytes]]) -> None:
    found = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(reply.body)),
        *((name.encode(), value.encode()) for name, value in reply.headers),
        *headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": found})
    await send({"type": "http.response.body", "body": reply.body})


def _us_since(started: float) -> int:
    return int((time.perf_counter() - started) * 1e6)
