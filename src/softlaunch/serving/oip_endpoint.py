"""
The Open Inference Protocol over HTTP, beside the app that knows the model.

    GET  /v2  /v2/health/live  /v2/health/ready
    GET  /v2/models/NAME[/versions/DIGEST12][/ready]
    POST /v2/models/NAME[/versions/DIGEST12]/infer
"""

from __future__ import annotations

from typing import Any

import softlaunch
from softlaunch.core import oip
from softlaunch.serving import oip_inference, readiness, replies


class OipEndpoint:
    """
    Args:
        service: The model's name.
        version: DIGEST12.
        instance: Token of this process.
    """

    def __init__(self, *, service: str, version: str, instance: str) -> None:
        self._service = service
        self._version = version
        self._instance_header = ("x-softlaunch-instance", instance)
        self._form = oip_inference.HttpForm(service=service, version=version)

    async def handle(
        self, app: oip_inference.ModelApp, path: str, method: str, scope: Any, proto: Any
    ) -> replies.Reply:
        """The reply to a request below /v2; `app` is asked for its model, so a copy of an app answers with its own."""
        parts = path.split("/")[2:]
        if parts and parts[-1] == "infer" and parts[0] == "models":
            refusal = self.check_model(parts[1:-1], path)
            if refusal is not None:
                return refusal
            return await self._infer(app, scope, proto) if method == "POST" else replies.wrong_method(method, "POST")
        if method != "GET":
            return replies.wrong_method(method, "GET")
        match parts:
            case [] | [""]:
                return replies.document(200, oip.server_metadata(softlaunch.__version__))
            case ["health", "live"]:
                return replies.document(200, {"live": True}, self._instance_header)
            case ["health", "ready"]:
                return self._readiness(app, {"ready": app.phase is readiness.Phase.READY, "phase": app.phase.value})
            case ["models", *rest, "ready"] if rest:
                body = {"name": self._service, "ready": app.phase is readiness.Phase.READY}
                return self.check_model(rest, path) or self._readiness(app, body)
            case ["models", *rest] if rest:
                return self.check_model(rest, path) or self._metadata(app)
        return replies.not_found(path)

    async def _infer(self, app: oip_inference.ModelApp, scope: Any, proto: Any) -> replies.Reply:
        encoding = scope.headers.get("content-encoding")
        if encoding not in (None, "", "identity"):
            return replies.encoded(encoding)
        body = await app.bounded_body(proto)
        if body is None:
            return app.too_large()
        header_bytes = scope.headers.get(oip_inference.HEADER_BYTES)
        return await oip_inference.infer(
            app,
            scope,
            proto,
            body,
            read=lambda loaded: self._form.read(body, header_bytes, loaded),
            write=self._form.write,
        )

    def _readiness(self, app: oip_inference.ModelApp, body: dict[str, Any]) -> replies.Reply:
        status = 200 if app.phase is readiness.Phase.READY else 503
        return replies.document(status, body, self._instance_header)

    def _metadata(self, app: oip_inference.ModelApp) -> replies.Reply:
        if app.loaded is None:
            return replies.not_ready()
        return replies.document(200, self.metadata(app.loaded))

    def metadata(self, loaded: readiness.Loaded) -> dict[str, Any]:
        """The model's metadata, as the protocol's document."""
        return oip.model_metadata(
            model=self._service, version=self._version, platform=loaded.platform, signature=loaded.declared
        )

    def check_model(self, parts: list[str], path: str) -> replies.Reply | None:
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
