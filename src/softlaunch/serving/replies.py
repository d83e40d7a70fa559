"""What the model server says when it does not answer with predictions: JSON bodies and headers in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from softlaunch import errors
from softlaunch.core import predictions

INVALID_HEADER = ("x-softlaunch-invalid", "1")
SHED_HEADERS = [
    ("x-softlaunch-shed", "1"),
    # Envoy never retries an answer that carries this: a retry would add to the overload.
    ("x-envoy-ratelimited", "true"),
]

_encode = msgspec.json.Encoder().encode


PREDICTION_ID = "x-softlaunch-prediction-id"


def prediction_id(request_id: str, row_count: int) -> str:
    """Names every row of a request: REQUEST:0 for one, REQUEST:0-4 for five."""
    return f"{request_id}:0" if row_count <= 1 else f"{request_id}:0-{row_count - 1}"


class Measured(NamedTuple):
    """What a prediction request cost and said, beside its answer."""

    request: bytes
    started: float
    """time.perf_counter() when the body had been read."""
    row_count: int = 0
    cpu_us: int | None = None
    output: str = ""
    """See core.attempts.Attempt.output."""
    cut: bool = False
    """The body was too large to be read."""
    keys: Mapping[str, Sequence[Any]] | None = None
    """Business keys by name, one value a row."""
    features: Mapping[str, Sequence[Any]] | None = None
    """Looked-up features by name: for each row the value served and how it came about (core.lookups.ServedAs)."""


class Reply(NamedTuple):
    """A NamedTuple, not a dataclass: one is built for every request."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    """Beside content-type and x-softlaunch-release; one that begins with a content-type says it itself."""
    measured: Measured | None = None
    """None: not a prediction."""


def document(status: int, body: Any, *headers: tuple[str, str]) -> Reply:
    """A JSON answer."""
    return Reply(status, _encode(body), headers)


def refused(error: errors.ConfigError) -> Reply:
    """400 for a request that cannot be read, 422 for a row that is not allowed."""
    body: dict[str, Any] = {"error": error.message}
    status = 400
    if isinstance(error, predictions.RowError):
        status = 422
        body["row"] = error.row
        # What the client called it: any text, also one that is no Unicode, or megabytes of it.
        body["column"] = error.column and error.column[:100].encode(errors="backslashreplace").decode()
    return document(status, {**body, "remedy": error.remedy, "code": error.code.value})


def not_found(path: str) -> Reply:
    return document(
        404,
        {
            "error": f"There is nothing at {path[:200]}.",
            "remedy": "Use POST /predict, or /v2 for the Open Inference Protocol.",
        },
    )


def wrong_method(method: str, allowed: str) -> Reply:
    return document(
        405,
        {"error": f"{method} is not possible here.", "remedy": f"Use {allowed}."},
        ("allow", allowed),
    )


def too_large(limit: int) -> Reply:
    return document(
        413,
        {"error": f"The body is larger than {limit} bytes.", "remedy": "Send the rows in several requests."},
    )


def too_many_rows(limit: int) -> Reply:
    return document(
        413,
        {"error": f"The request has more than {limit} rows.", "remedy": "Send the rows in several requests."},
    )


def shed(waiting_rows: int, retry_seconds: int) -> Reply:
    return document(
        503,
        {
            "error": f"The model is busy: {waiting_rows} rows wait already.",
            "remedy": f"Send the request again in {retry_seconds} s, or run more replicas.",
        },
        *SHED_HEADERS,
        ("retry-after", str(retry_seconds)),
    )


def expired() -> Reply:
    return document(
        504,
        {
            "error": "The request's deadline passed before the model could be asked.",
            "remedy": "Allow more time, send less at once, or run more replicas.",
        },
    )


def not_ready() -> Reply:
    return document(503, {"error": "The model is not ready.", "remedy": "Ask /v2/health/ready, then send it again."})


def encoded(encoding: str) -> Reply:
    return document(
        415,
        {"error": f"Bodies with content-encoding {encoding[:40]!r} are not read.", "remedy": "Send them as they are."},
    )


def server_failed(message: str) -> Reply:
    return document(
        500,
        {"error": f"The model server failed: {message}", "remedy": "This is a bug in softlaunch: please report it."},
    )


def model_failed(message: str) -> Reply:
    return document(
        500,
        {"error": f"The model raised {message}", "remedy": "Fix the model's code; the request itself was accepted."},
    )


def answer_invalid(row: int, output: str, message: str) -> Reply:
    return document(
        500,
        {
            "error": f"The model's answer is invalid: {message}",
            "row": row,
            "output": output,
            "remedy": "Fix the model: it answered outside of its signature.",
        },
        INVALID_HEADER,
    )
