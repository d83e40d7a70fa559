"""
The model server's HTTP interface, as an RSGI application.

    POST /predict                                             JSON rows by feature name
    GET  /v2  /v2/health/live  /v2/health/ready               Open Inference Protocol
    GET  /v2/models/NAME[/versions/DIGEST12][/ready]
    POST /v2/models/NAME[/versions/DIGEST12]/infer
    POST /inference.GRPCInferenceService/METHOD               the same as protobuf messages, from gRPC bridges
    GET  /openapi.json  /docs                                 what the model takes and answers

Every answer (JSON, if nothing else is said) carries x-softlaunch-release; health answers carry x-softlaunch-instance.
Answers to prediction requests carry what they cost (x-softlaunch-cpu-us, x-softlaunch-memory-kib), how many came before
(x-softlaunch-served) and in short what they say (x-softlaunch-out); answered ones also the ids of their rows
(x-softlaunch-prediction-id). They are recorded when there is a spool.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from softlaunch import errors
from softlaunch.core import attempts, lookup_recorded
from softlaunch.serving import (
    batching,
    deadlines,
    grpc_endpoint,
    meter,
    oip_endpoint,
    openapi,
    outcomes,
    readiness,
    replies,
)
from softlaunch.serving import capture as capturing
from softlaunch.serving.features import told
from softlaunch.serving.runtimes import model

DISCARD_BYTES_MAX = 64 * 2**20
"""How much of a too large body is read and thrown away, so that the client sees the 413 and not a broken pipe."""


_OK = 200
_PREDICT, _JSON = "/predict", "application/json"


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
        self.phase = readiness.Phase.LOADING
        self.in_flight = 0
        self.loaded: readiness.Loaded | None = None
        self._version = version
        self._body_bytes_max = body_bytes_max
        self._capture = capture
        self._tells_service_time = tells_service_time
        self.meter = meter.Meter()
        self._headers = [("content-type", "application/json"), ("x-softlaunch-release", version)]
        self._oip = oip_endpoint.OipEndpoint(service=service, version=version, instance=instance)
        self._grpc = grpc_endpoint.GrpcEndpoint(self._oip, service=service, version=version)
        self._pages = openapi.Pages(service=service, version=version)
        self.last_request_at = 0.0
        """Loop time of the latest answer while draining."""

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        self.in_flight += 1
        try:
            path = scope.path
            if path == _PREDICT and scope.method == "POST":
                asked = scope.headers  # a copy, every time it is asked for
                reply = await self._predict(asked, proto)
            else:
                asked = None
                reply = await self._other(path, scope, proto)
            headers = self._headers
            measured = reply.measured
            if measured is not None:
                asked = scope.headers if asked is None else asked
                request_id = asked.get("x-request-id")
                # What is answered and then never found in the spool is counted as lost.
                recorded = self._capture is not None and bool(request_id) and self._capture.takes(asked, request_id)
                named = request_id if reply.status == _OK else None
                headers = self._measured_headers(headers, measured, named, recorded=recorded)
            if reply.headers:
                # The first of ours is content-type: application/json.
                ours = headers[1:] if reply.headers[0][0] == "content-type" else headers
                headers = [*ours, *reply.headers]
            if self.phase is readiness.Phase.DRAINING:
                self.last_request_at = asyncio.get_running_loop().time()
                headers = [*headers, ("connection", "close")]
            proto.response_bytes(reply.status, headers, reply.body)
            if measured is not None:
                if self._capture is not None and request_id:
                    self._capture.add(
                        path,
                        asked,
                        request_id,
                        reply,
                        measured,
                        _us_since(measured.started),
                        self.meter.memory_kib,
                        self.meter.served_count,
                        # Whatever the client calls it, JSON is what was read.
                        _JSON if path == _PREDICT else asked.get("content-type") or "",
                    )
                self.meter.served_count += 1
        except asyncio.CancelledError:
            # The client left before its rows were called; nobody reads this, but the protocol wants an end.
            proto.response_empty(499, self._headers)
        except Exception as error:  # noqa: BLE001  # the last frame before granian, which would answer without a body
            sys.stderr.write(f"softlaunch.serving: {scope.method} {scope.path}: {model.one_line(error)}\n")
            reply = replies.server_failed(model.one_line(error))
            proto.response_bytes(reply.status, self._headers, reply.body)
        finally:
            self.in_flight -= 1

    def _measured_headers(
        self, headers: list[tuple[str, str]], measured: replies.Measured, request_id: str | None, *, recorded: bool
    ) -> list[tuple[str, str]]:
        metered = self.meter
        served = f"{metered.served_count}{attempts.RECORDED}" if recorded else str(metered.served_count)
        found = [*headers, *metered.memory_headers, ("x-softlaunch-served", served)]
        if measured.cpu_us is not None:
            found.append(("x-softlaunch-cpu-us", str(measured.cpu_us)))
        if measured.output:
            found.append(("x-softlaunch-out", measured.output))
        if request_id:
            found.append((replies.PREDICTION_ID, replies.prediction_id(request_id, measured.row_count)))
        if self._tells_service_time:
            found.append(("x-softlaunch-service-us", str(_us_since(measured.started))))
        return found

    async def _predict(self, headers: Any, proto: Any) -> replies.Reply:
        # The hot path: every further coroutine in between costs a microsecond or two a request.
        declared = headers.get("content-length")
        if declared is not None and declared.isdecimal() and int(declared) <= self._body_bytes_max:
            body = await proto()
        else:
            body = await self.bounded_body(proto)
            if body is None:
                return self.too_large()
        started = time.perf_counter()
        row_count = 0
        loaded = self.loaded
        if loaded is None:
            return outcomes.measured(replies.not_ready(), body, started)
        try:
            request = loaded.codec.decode(body)
            row_count = len(request.rows)
            rows, features = request.rows, None
            if loaded.lookups is not None:
                recorded = headers.get(lookup_recorded.HEADER)
                rows, features = await loaded.lookups.resolve(rows, request.keys, recorded)
            outcome = await loaded.batcher.submit(rows, proto.client_disconnect, deadlines.of_http(headers, started))
        except (errors.ConfigError, batching.Overloaded, batching.TooManyRows) as refusal:
            return outcomes.measured(outcomes.refused(refusal, loaded.batcher), body, started, row_count)
        if type(outcome) is batching.Answered:
            codec = loaded.codec
            said = codec.outline(outcome)
            measured = replies.Measured(body, started, row_count, outcome.cpu_us, said, keys=request.keys)
            reply = replies.Reply(200, codec.encode(request, outcome), (), measured)
        else:
            reply = outcomes.measured(outcomes.unanswered(outcome), body, started, row_count, outcome.cpu_us)
        return reply if features is None else told.told(reply, features)

    def too_large(self) -> replies.Reply:
        """413, as a prediction that was not read."""
        measured = replies.Measured(b"", time.perf_counter(), cut=True)
        return replies.too_large(self._body_bytes_max)._replace(measured=measured)

    async def _other(self, path: str, scope: Any, proto: Any) -> replies.Reply:
        method = scope.method
        if path == _PREDICT:
            return replies.wrong_method(method, "POST")
        if path == "/v2" or path.startswith("/v2/"):
            return await self._oip.handle(self, path, method, scope, proto)
        if path.startswith(grpc_endpoint.PREFIX):
            return await self._grpc.handle(self, path, method, scope, proto)
        return self._pages.reply(path, method, self.loaded) or replies.not_found(path)

    async def bounded_body(self, proto: Any) -> bytes | None:
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


def _us_since(started: float) -> int:
    return int((time.perf_counter() - started) * 1e6)
