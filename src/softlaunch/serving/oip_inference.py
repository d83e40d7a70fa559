"""One infer request of the Open Inference Protocol, from its body to its reply, in whichever form it is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from softlaunch import errors
from softlaunch.core import lookup_recorded, oip, oip_tensors, predictions
from softlaunch.serving import batching, deadlines, oip_quick, outcomes, readiness, replies, rows_codec
from softlaunch.serving.features import told

HEADER_BYTES = "inference-header-content-length"
"""Header of requests and answers whose document is followed by binary tensor data: the document's length."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
Columns: TypeAlias = Mapping[str, list[Any]]
Read: TypeAlias = Callable[[readiness.Loaded], oip.InferRequest]
Write: TypeAlias = Callable[[readiness.Loaded, oip.InferRequest, Columns], replies.Reply]


class ModelApp(Protocol):
    """What protocol endpoints need of the app."""

    phase: readiness.Phase
    loaded: readiness.Loaded | None

    async def bounded_body(self, proto: Any) -> bytes | None:
        """The body; None when it is too large."""
        ...

    def too_large(self) -> replies.Reply:
        """413, as a prediction that was not read."""
        ...


async def infer(app: ModelApp, scope: Any, proto: Any, body: bytes, *, read: Read, write: Write) -> replies.Reply:
    """
    The reply to a request whose body was read just now; a prediction, whatever comes of it.

    Args:
        app: Whose model answers.
        scope: Its headers say until when, and in a replay which looked-up features were served.
        proto: Tells when the client has left.
        body: As it came.
        read: Its rows, checked; raises ConfigError.
        write: The answer's form; raises ConfigError when it cannot say the answer.
        recorded: Looked-up features as they were served, of a replayed request; see core.lookup_recorded.
    """
    started = time.perf_counter()
    row_count = 0
    loaded = app.loaded
    if loaded is None:
        return outcomes.measured(replies.not_ready(), body, started)
    try:
        request = read(loaded)
        rows, features, row_count = request.rows, None, len(request.rows)
        if loaded.lookups is not None:
            recorded = scope.headers.get(lookup_recorded.HEADER)
            rows, features = await loaded.lookups.resolve(rows, request.keys, recorded)
        outcome = await loaded.batcher.submit(rows, proto.client_disconnect, deadlines.of(scope.headers, started))
        if isinstance(outcome, batching.Answered):
            columns = {name: values[outcome.start : outcome.stop] for name, values in outcome.columns.items()}
            said = loaded.codec.outline(outcome)
            measured = replies.Measured(body, started, row_count, outcome.cpu_us, said, keys=request.keys or None)
            reply = write(loaded, request, columns)._replace(measured=measured)
        else:
            reply = outcomes.measured(outcomes.unanswered(outcome), body, started, row_count, outcome.cpu_us)
    except oip_tensors.TooManyRowsError:
        return outcomes.measured(replies.too_many_rows(loaded.batcher.queue_rows_max), body, started)
    except (errors.ConfigError, batching.Overloaded, batching.TooManyRows) as refusal:
        return outcomes.measured(outcomes.refused(refusal, loaded.batcher), body, started, row_count)
    return reply if features is None else told.told(reply, features)


class HttpForm:
    """
    JSON, alone or with binary tensor data behind it.

    Args:
        service: The model's name.
        version: DIGEST12.
    """

    def __init__(self, *, service: str, version: str) -> None:
        self._service = service
        self._version = version
        self._quick: oip_quick.QuickReader | None = None
        self._quick_for: readiness.Loaded | None = None

    def read(self, body: bytes, header_bytes: str | None, loaded: readiness.Loaded) -> oip.InferRequest:
        """
        Rows of a body.

        Args:
            body: The document, and what follows it.
            header_bytes: What Inference-Header-Content-Length says; None: all of it is the document.
            loaded: Whose signature it must fit.

        Raises:
            ConfigError: it does not.
        """
        if header_bytes is None:
            if self._quick is None or self._quick_for is not loaded:
                self._quick, self._quick_for = oip_quick.QuickReader(loaded.signature, keys=loaded.keys), loaded
            request = self._quick.read(body, loaded.batcher.queue_rows_max)
            if request is not None:
                return request
        document, binary = split(body, header_bytes)
        return oip.parse_request(
            document,
            loaded.signature,
            binary=binary,
            keys=loaded.keys,
            row_count_max=loaded.batcher.queue_rows_max,
        )

    def write(self, loaded: readiness.Loaded, request: oip.InferRequest, columns: Columns) -> replies.Reply:
        """The answer, with binary tensor data where the request asked for it."""
        answer = oip.response(
            model=self._service,
            version=self._version,
            request=request,
            signature=loaded.signature,
            columns=columns,
        )
        if not answer.binary:
            return replies.document(200, answer.document)
        head = _encode(answer.document)
        length = (HEADER_BYTES, str(len(head)))
        return replies.Reply(
            200, b"".join([head, *answer.binary]), (("content-type", "application/octet-stream"), length)
        )


def split(body: bytes, header_bytes: str | None) -> tuple[Any, memoryview]:
    """
    The decoded document of a body, and the bytes that follow it.

    Args:
        body: The document, and what follows it.
        header_bytes: What Inference-Header-Content-Length says; None: all of it is the document.

    Raises:
        MalformedError: the header lies, or what it measures is no JSON.
    """
    if header_bytes is None:
        return _read_json(body), memoryview(b"")
    is_number = header_bytes.isascii() and header_bytes.isdecimal() and len(header_bytes) < 16
    end = int(header_bytes) if is_number else -1
    if not 0 <= end <= len(body):
        raise predictions.MalformedError(
            f"The header Inference-Header-Content-Length is {header_bytes[:40]!r}, the body has {len(body)} bytes.",
            remedy="Send the length of the JSON document, which comes first in the body.",
        )
    return _read_json(body[:end]), memoryview(body)[end:]


def _read_json(document: bytes) -> Any:
    """As rows_codec.read_json, which decides alone what is an error; several times as fast where there is none."""
    try:
        return _decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return rows_codec.read_json(document)
