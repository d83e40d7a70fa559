"""
The Open Inference Protocol's gRPC service, as protobuf messages over HTTP/1.1.

    POST /inference.GRPCInferenceService/METHOD

The gateway makes such requests of gRPC calls and gRPC answers of the replies, so retries, capture and guardrails are
those of HTTP. A refusal has the status it has on HTTP, no body, and says in headers what gRPC says in trailers:

    x-softlaunch-grpc-status    number of a gRPC status
    x-softlaunch-grpc-message   what happened and what to do, percent-encoded
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

import softlaunch
from softlaunch import errors
from softlaunch.core import oip
from softlaunch.serving import grpc_codec, grpc_messages, oip_endpoint, oip_inference, readiness, replies

PREFIX = "/inference.GRPCInferenceService/"
CONTENT_TYPE = ("content-type", "application/x-protobuf")
STATUS, MESSAGE = "x-softlaunch-grpc-status", "x-softlaunch-grpc-message"
_METHODS = frozenset({"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"})
_INTERNAL, _UNIMPLEMENTED = 13, 12
_STATUSES: Mapping[int, int] = {
    # By the HTTP status of the same refusal.
    400: 3,  # INVALID_ARGUMENT
    404: 5,  # NOT_FOUND
    405: _UNIMPLEMENTED,
    413: 8,  # RESOURCE_EXHAUSTED
    415: _UNIMPLEMENTED,
    422: 3,
    500: _INTERNAL,
    501: _UNIMPLEMENTED,
    503: 14,  # UNAVAILABLE
    504: 4,  # DEADLINE_EXCEEDED
}
_MESSAGE_CHARS_MAX = 1_000
"""A guess: proxies allow some dozens of KiB of headers all told."""
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class GrpcEndpoint:
    """
    Args:
        http: The same protocol over HTTP.
        service: The model's name.
        version: DIGEST12.
    """

    def __init__(self, http: oip_endpoint.OipEndpoint, *, service: str, version: str) -> None:
        self._http = http
        self._service = service
        self._version = version

    async def handle(
        self, app: oip_inference.ModelApp, path: str, method: str, scope: Any, proto: Any
    ) -> replies.Reply:
        """The reply to a request below PREFIX; see oip_endpoint.OipEndpoint.handle."""
        if method != "POST":
            return refusal(replies.wrong_method(method, "POST"))
        name = path.removeprefix(PREFIX)
        if name not in _METHODS:
            return _refusal(404, _UNIMPLEMENTED, f"There is no method {name[:100]!r}. Known are {sorted(_METHODS)}.")
        body = await app.bounded_body(proto)
        if body is None:
            return refusal(app.too_large())
        try:
            message = grpc_codec.parse_message(f"{name}Request", body)
        except errors.ConfigError as error:
            reply = replies.refused(error)
            return refusal(reply if name != "ModelInfer" else await self._unread(app, scope, proto, body, error))
        except ImportError:
            said = "This release's environment has no protobuf package. Add protobuf to its lock file."
            return _refusal(501, _UNIMPLEMENTED, said)
        if name == "ModelInfer":
            return await self._infer(app, scope, proto, body, message)
        if name.startswith("Model"):
            return self._about_model(app, name, message)
        return self._about_server(app, name)

    def _about_server(self, app: oip_inference.ModelApp, name: str) -> replies.Reply:
        match name:
            case "ServerLive":
                return _answered(name, live=True)
            case "ServerReady":
                return _answered(name, ready=app.phase is readiness.Phase.READY)
            case _:
                return _answered(name, **oip.server_metadata(softlaunch.__version__))

    def _about_model(self, app: oip_inference.ModelApp, name: str, message: Any) -> replies.Reply:
        unknown = self._check_model(message.name, message.version)
        if unknown is not None:
            return refusal(unknown)
        if name == "ModelReady":
            return _answered(name, ready=app.phase is readiness.Phase.READY)
        if app.loaded is None:
            return refusal(replies.not_ready())
        return replies.Reply(200, grpc_codec.metadata(self._http.metadata(app.loaded)), (CONTENT_TYPE,))

    async def _infer(
        self, app: oip_inference.ModelApp, scope: Any, proto: Any, body: bytes, message: Any
    ) -> replies.Reply:
        unknown = self._check_model(message.model_name, message.model_version)
        if unknown is not None:
            return refusal(unknown)

        def write(loaded: readiness.Loaded, request: oip.InferRequest, columns: oip_inference.Columns) -> replies.Reply:
            encoded = grpc_codec.response(
                model=self._service,
                version=self._version,
                request=request,
                signature=loaded.signature,
                columns=columns,
                is_raw=len(message.raw_input_contents) > 0,
            )
            return replies.Reply(200, encoded, (CONTENT_TYPE,))

        reply = await oip_inference.infer(
            app, scope, proto, body, read=lambda loaded: grpc_codec.parse_request(message, loaded), write=write
        )
        return reply if reply.status == 200 else refusal(reply)

    async def _unread(
        self, app: oip_inference.ModelApp, scope: Any, proto: Any, body: bytes, error: errors.ConfigError
    ) -> replies.Reply:
        """A prediction that could not be read, accounted for as one."""

        def read(_: readiness.Loaded) -> oip.InferRequest:
            raise error

        def write(*_: Any) -> replies.Reply:
            raise errors.InvariantError("What was not read is not answered.")

        return await oip_inference.infer(app, scope, proto, body, read=read, write=write)

    def _check_model(self, name: str, version: str) -> replies.Reply | None:
        return self._http.check_model([name, "versions", version] if version else [name], PREFIX)


def refusal(reply: replies.Reply) -> replies.Reply:
    """What HTTP would be answered, as gRPC hears it: same status, headers and accounting."""
    said = json.loads(reply.body)
    remedy = said.get("remedy")
    text = f"{said['error']} {remedy}" if remedy else said["error"]
    found = _refusal(reply.status, _STATUSES.get(reply.status, _INTERNAL), text)
    return found._replace(headers=(*found.headers, *reply.headers), measured=reply.measured)


def _refusal(http: int, status: int, text: str) -> replies.Reply:
    message = urllib.parse.quote(text[:_MESSAGE_CHARS_MAX], safe=_PRINTABLE, errors="replace")
    return replies.Reply(http, b"", (CONTENT_TYPE, (STATUS, str(status)), (MESSAGE, message)))


def _answered(name: str, /, **fields: Any) -> replies.Reply:
    return replies.Reply(200, grpc_messages.message(f"{name}Response")(**fields).SerializeToString(), (CONTENT_TYPE,))
