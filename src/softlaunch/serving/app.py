"""
The model server's HTTP interface, as an RSGI application.

    POST /predict                                             JSON rows by feature name
    GET  /v2  /v2/health/live  /v2/health/ready               Open Inference Protocol
    GET  /v2/models/NAME[/versions/DIGEST12][/ready]
    POST /v2/models/NAME[/versions/DIGEST12]/infer

Every answer is JSON and carries x-softlaunch-release; health answers carry x-softlaunch-instance. Answers to
prediction requests carry what they cost (x-softlaunch-cpu-us, x-softlaunch-memory-kib), how many came before
(x-softlaunch-served) and in short what they say (x-softlaunch-out); they are recorded when there is a spool.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import sys
import time
from typing import Any

import softlaunch
from softlaunch import errors
from softlaunch.core import oip, release
from softlaunch.serving import batching, meter, replies, rows_codec
from softlaunch.serving import capture as capturing
from softlaunch.serving.runtimes import model

DISCARD_BYTES_MAX = 64 * 2**20
"""How much of a too large body is read and thrown away, so that the client sees the 413 and not a broken pipe."""


class Phase(enum.Enum):
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model that answers."""

    batcher: batching.Batcher
    codec: rows_codec.RowsCodec
    signature: release.Signature
    """What requests are checked against."""
    declared: release.Signature
    """What the release says, for the metadata."""
    platform: str


class App:
    """
    See the module.

    Args:
        service: The model's name in the Open Inference Protocol.
        version: DIGEST12.
        instance: Token that tells this process from any other one at the same socket.
        body_bytes_max: Larger bodies are answered 413.
        capture: Takes what is recorded; None: nothing is.
        tells_service_time: Prediction answers carry x-softlaunch-service-us, too (for replays).
    """

    def __init__(
        self,
        *,
        service: str,
        version: str,
        instance: str,
        body_bytes_max: int,
        capture: capturing.Capture | None = None,
        tells_service_time: bool = False,
    ) -> None:
        self.phase = Phase.LOADING
        self.in_flight = 0
        self.loaded: Loaded | None = None
        self._service = service
        self._version = version
        self._body_bytes_max = body_bytes_max
        self._capture = capture
        self._tells_service_time = tells_service_time
        self.meter = meter.Meter()
        self._headers = [("content-type", "application/json"), ("x-softlaunch-release", version)]
        self._instance_header = ("x-softlaunch-instance", instance)
        self.last_request_at = 0.0
        """Loop time of the latest answer while draining."""

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        self.in_flight += 1
        try:
            predicting = scope.path == "/predict" and scope.method == "POST"
            reply = await (self._predict(scope, proto) if predicting else self._other(scope, proto))
            headers = self._headers
            measured = reply.measured
            if measured is not None:
                headers = self._measured_headers(headers, measured)
            if reply.headers:
                headers = [*headers, *reply.headers]
            if self.phase is Phase.DRAINING:
                self.last_request_at = asyncio.get_running_loop().time()
                headers = [*headers, ("connection", "close")]
            proto.response_bytes(reply.status, headers, reply.body)
            if measured is not None:
                self._account(scope, reply, measured)
        except asyncio.CancelledError:
            # The client left before its rows were called; nobody reads this, but the protocol wants an end.
            proto.response_empty(499, self._headers)
        except Exception as error:  # noqa: BLE001  # the last frame before granian, which would answer without a body
            sys.stderr.write(f"softlaunch.serving: {scope.method} {scope.path}: {model.one_line(error)}\n")
            reply = replies.server_failed(model.one_line(error))
            proto.response_bytes(reply.status, self._headers, reply.body)
        finally:
            self.in_flight -= 1

    def _measured_headers(self, headers: list[tuple[str, str]], measured: replies.Measured) -> list[tuple[str, str]]:
        found = [*headers, *self.meter.memory_headers, ("x-softlaunch-served", str(self.meter.served_count))]
        if measured.cpu_us is not None:
            found.append(("x-softlaunch-cpu-us", str(measured.cpu_us)))
        if measured.output:
            found.append(("x-softlaunch-out", measured.output))
        if self._tells_service_time:
            found.append(("x-softlaunch-service-us", str(_us_since(measured.started))))
        return found

    def _account(self, scope: Any, reply: replies.Reply, measured: replies.Measured) -> None:
        if self._capture is not None:
            self._capture.add(
                scope,
                reply,
                measured,
                service_us=_us_since(measured.started),
                memory_kib=self.meter.memory_kib,
                served_count=self.meter.served_count,
            )
        self.meter.served_count += 1

    async def _predict(self, scope: Any, proto: Any) -> replies.Reply:
        # The hot path: every further coroutine in between costs a microsecond or two a request.
        declared = scope.headers.get("content-length")
        if declared is not None and declared.isdecimal() and int(declared) <= self._body_bytes_max:
            body = await proto()
        else:
            body = await self._bounded_body(proto)
            if body is None:
                return self._too_large()
        started = time.perf_counter()
        row_count = 0
        loaded = self.loaded
        if loaded is None:
            return _measured(replies.not_ready(), body, started)
        try:
            request = loaded.codec.decode(body)
            row_count = len(request.rows)
            outcome = await loaded.batcher.submit(request.rows, proto.client_disconnect)
        except (errors.ConfigError, batching.Overloaded, batching.TooManyRows) as refusal:
            return _measured(_refused(refusal, loaded.batcher), body, started, row_count)
        if type(outcome) is batching.Answered:
            codec = loaded.codec
            said = codec.outline(outcome)
            measured = replies.Measured(body, started, row_count, outcome.cpu_us, said)
            return replies.Reply(200, codec.encode(request, outcome), (), measured)
        return _measured(_unanswered(outcome), body, started, row_count, outcome.cpu_us)

    def _too_large(self) -> replies.Reply:
        measured = replies.Measured(b"", time.perf_counter(), cut=True)
        return replies.too_large(self._body_bytes_max)._replace(measured=measured)

    async def _other(self, scope: Any, proto: Any) -> replies.Reply:
        path, method = scope.path, scope.method
        if path == "/predict":
            return replies.wrong_method(method, "POST")
        if path == "/v2" or path.startswith("/v2/"):
            return await self._v2(path, method, scope, proto)
        return replies.not_found(path)

    async def _infer(self, scope: Any, proto: Any) -> replies.Reply:
        if scope.headers.get("inference-header-content-length") is not None:
            return replies.binary_unsupported()
        body = await self._bounded_body(proto)
        if body is None:
            return self._too_large()
        started = time.perf_counter()
        row_count = 0
        loaded = self.loaded
        if loaded is None:
            return _measured(replies.not_ready(), body, started)
        try:
            request = oip.parse_request(rows_codec.read_json(body), loaded.signature)
            row_count = len(request.rows)
            outcome = await loaded.batcher.submit(request.rows, proto.client_disconnect)
        except (errors.ConfigError, batching.Overloaded, batching.TooManyRows) as refusal:
            return _measured(_refused(refusal, loaded.batcher), body, started, row_count)
        if not isinstance(outcome, batching.Answered):
            return _measured(_unanswered(outcome), body, started, row_count, outcome.cpu_us)
        columns = {name: values[outcome.start : outcome.stop] for name, values in outcome.columns.items()}
        answer = oip.response(
            model=self._service,
            version=self._version,
            request=request,
            signature=loaded.signature,
            columns=columns,
        )
        measured = replies.Measured(body, started, row_count, outcome.cpu_us, loaded.codec.outline(outcome))
        return replies.document(200, answer)._replace(measured=measured)

    async def _bounded_body(self, proto: Any) -> bytes | None:
        """The body; None when it is too large."""
        parts: list[bytes] = []
        size = 0
        async for part in proto:
            size += len(part)
            if size <= self._body_bytes_max:
                parts.append(part)
            elif size > DISCARD_BYTES_MAX:
                break
        return b"".join(parts) if size <= self._body_bytes_max else None

    async def _v2(self, path: str, method: str, scope: Any, proto: Any) -> replies.Reply:
        parts = path.split("/")[2:]
        if parts and parts[-1] == "infer" and parts[0] == "models":
            refusal = self._check_model(parts[1:-1], path)
            if refusal is not None:
                return refusal
            return await self._infer(scope, proto) if method == "POST" else replies.wrong_method(method, "POST")
        if method != "GET":
            return replies.wrong_method(method, "GET")
        match parts:
            case [] | [""]:
                return replies.document(200, oip.server_metadata(softlaunch.__version__))
            case ["health", "live"]:
                return replies.document(200, {"live": True}, self._instance_header)
            case ["health", "ready"]:
                return self._readiness({"ready": self.phase is Phase.READY, "phase": self.phase.value})
            case ["models", *rest, "ready"] if rest:
                body = {"name": self._service, "ready": self.phase is Phase.READY}
                return self._check_model(rest, path) or self._readiness(body)
            case ["models", *rest] if rest:
                return self._check_model(rest, path) or self._metadata()
        return replies.not_found(path)

    def _readiness(self, body: dict[str, Any]) -> replies.Reply:
        status = 200 if self.phase is Phase.READY else 503
        return replies.document(status, body, self._instance_header)

    def _metadata(self) -> replies.Reply:
        if self.loaded is None:
            return replies.not_ready()
        return replies.document(
            200,
            oip.model_metadata(
                model=self._service,
                version=self._version,
                platform=self.loaded.platform,
                signature=self.loaded.declared,
            ),
        )

    def _check_model(self, parts: list[str], path: str) -> replies.Reply | None:
        """None when NAME[/versions/VERSION] is what is served here."""
        match parts:
            case [name] | [name, "versions", _] if name != self._service:
                said = f"There is no model {name[:100]!r}."
            case [_, "versions", version] if version != self._version:
                said = f"There is no version {version[:100]!r}."
            case [_] | [_, "versions", _]:
                return None
            case _:
                return replies.not_found(path)
        remedy = f"This server has {self._service!r}, version {self._version!r}."
        return replies.document(404, {"error": said, "remedy": remedy})


def _us_since(started: float) -> int:
    return int((time.perf_counter() - started) * 1e6)


def _measured(
    reply: replies.Reply, body: bytes, started: float, row_count: int = 0, cpu_us: int | None = None
) -> replies.Reply:
    return reply._replace(measured=replies.Measured(body, started, row_count, cpu_us))


def _refused(refusal: Exception, batcher: batching.Batcher) -> replies.Reply:
    match refusal:
        case batching.Overloaded():
            return replies.shed(batcher.waiting_rows, batcher.retry_seconds)
        case batching.TooManyRows():
            return replies.too_many_rows(batcher.queue_rows_max)
        case errors.ConfigError():
            return replies.refused(refusal)
    raise errors.InvariantError(f"This refuses no request: {refusal!r:.100}.")


def _unanswered(outcome: batching.Outcome) -> replies.Reply:
    match outcome:
        case batching.Failed(message):
            return replies.model_failed(message)
        case batching.Invalid(row, output, message):
            return replies.answer_invalid(row, output, message)
    raise errors.InvariantError(f"An answered outcome is no refusal: {outcome!r:.100}.")
