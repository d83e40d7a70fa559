"""
The Open Inference Protocol over HTTP, beside the app that knows the model.

    GET  /v2  /v2/health/live  /v2/health/ready
    GET  /v2/models/NAME[/versions/DIGEST12][/ready]
    POST /v2/models/NAME[/versions/DIGEST12]/infer
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import softlaunch
from softlaunch import errors
from softlaunch.core import oip
from softlaunch.serving import batching, outcomes, readiness, replies, rows_codec


class ModelApp(Protocol):
    """What the endpoint needs of the app."""

    phase: readiness.Phase
    loaded: readiness.Loaded | None

    async def bounded_body(self, proto: Any) -> bytes | None:
        """The body; None when it is too large."""
        ...

    def too_large(self) -> replies.Reply:
        """413, as a prediction that was not read."""
        ...


class OipEndpoint:
    """
    Args:
        service: The model's name.
        version: DIGEST12.
        instance: Token of this process.
    """

    def __init__(self, app: ModelApp, *, service: str, version: str, instance: str) -> None:
        self._app = app
        self._service = service
        self._version = version
        self._instance_header = ("x-softlaunch-instance", instance)

    async def handle(self, path: str, method: str, scope: Any, proto: Any) -> replies.Reply:
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
                return self._readiness(
                    {"ready": self._app.phase is readiness.Phase.READY, "phase": self._app.phase.value}
                )
            case ["models", *rest, "ready"] if rest:
                body = {"name": self._service, "ready": self._app.phase is readiness.Phase.READY}
                return self._check_model(rest, path) or self._readiness(body)
            case ["models", *rest] if rest:
                return self._check_model(rest, path) or self._metadata()
        return replies.not_found(path)

    async def _infer(self, scope: Any, proto: Any) -> replies.Reply:
        if scope.headers.get("inference-header-content-length") is not None:
            return replies.binary_unsupported()
        body = await self._app.bounded_body(proto)
        if body is None:
            return self._app.too_large()
        started = time.perf_counter()
        row_count = 0
        loaded = self._app.loaded
        if loaded is None:
            return outcomes.measured(replies.not_ready(), body, started)
        try:
            request = oip.parse_request(rows_codec.read_json(body), loaded.signature)
            row_count = len(request.rows)
            outcome = await loaded.batcher.submit(request.rows, proto.client_disconnect)
        except (errors.ConfigError, batching.Overloaded, batching.TooManyRows) as refusal:
            return outcomes.measured(outcomes.refused(refusal, loaded.batcher), body, started, row_count)
        if not isinstance(outcome, batching.Answered):
            return outcomes.measured(outcomes.unanswered(outcome), body, started, row_count, outcome.cpu_us)
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

    def _readiness(self, body: dict[str, Any]) -> replies.Reply:
        status = 200 if self._app.phase is readiness.Phase.READY else 503
        return replies.document(status, body, self._instance_header)

    def _metadata(self) -> replies.Reply:
        if self._app.loaded is None:
            return replies.not_ready()
        return replies.document(
            200,
            oip.model_metadata(
                model=self._service,
                version=self._version,
                platform=self._app.loaded.platform,
                signature=self._app.loaded.declared,
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
