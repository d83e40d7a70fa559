"""
Payload logs of KServe and Seldon Core: CloudEvents 1.0 in structured mode, a JSON object a line.

Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md (`data`, `data_base64`);
https://kserve.github.io/website/docs/model-serving/predictive-inference/logger/basic-logger (a request and its response
are of one `id`; types org.kubeflow.serving.inference.request and .response); Seldon Core's request logger
(io.seldon.serving.inference.request and .response, joined by the extension `requestid`). Bodies:
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol and .../v2-protocol.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

from softlaunch.controller.prediction_log import importing_rows as rows

_TYPES = {
    f"{prefix}.inference.{end}": end
    for prefix in ("org.kubeflow.serving", "io.seldon.serving")
    for end in ("request", "response")
}
_WAITING_MAX = 100_000
"""Requests without a response yet: beyond that the oldest counts as unanswered."""


@dataclasses.dataclass(kw_only=True, slots=True)
class _Half:
    time: float
    found: list[dict[str, Any]]
    release: str | None


def read(lines: Iterable[rows.Line], counted: rows.Counted, now: float) -> Iterator[rows.Row | rows.Bad]:
    """Rows of requests whose responses are in the files too, whichever of the two came first; see rows.Reader."""
    waiting: dict[str, dict[str, _Half]] = {"request": {}, "response": {}}
    for line in lines:
        try:
            identity, end, half = _half(rows.document(line.content), now)
            other = "response" if end == "request" else "request"
            partner = waiting[other].pop(identity, None)
            if partner is None:
                if identity in waiting[end]:
                    raise rows.UnfitError(f"a second {end} of the same id")  # noqa: TRY301 - one place for reasons
                waiting[end][identity] = half
            else:
                request, response = (half, partner) if end == "request" else (partner, half)
                yield from _joined(identity, request, response)
        except rows.UnfitError as error:
            yield rows.bad(line, str(error))
        for end, count in (("request", "unanswered"), ("response", "unasked")):
            if len(waiting[end]) > _WAITING_MAX:
                waiting[end].pop(next(iter(waiting[end])))
                setattr(counted, count, getattr(counted, count) + 1)
    counted.unanswered += len(waiting["request"])
    counted.unasked += len(waiting["response"])


def _half(event: dict[str, Any], now: float) -> tuple[str, str, _Half]:
    end = _TYPES.get(str(event.get("type")))
    if end is None:
        raise rows.UnfitError("type is no inference request or response")
    identity = event.get("requestid") or event.get("id")
    if not isinstance(identity, str) or not identity:
        raise rows.UnfitError("no id")
    body = event.get("data")
    if body is None:
        body = rows.decoded(event.get("data_base64"))
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise rows.UnfitError("data is no JSON") from error
    found = rows.request_rows(body) if end == "request" else rows.answer_rows(body)
    name = event.get("inferenceservicename")
    return (
        identity,
        end,
        _Half(
            time=rows.moment(event.get("time"), now),
            found=found,
            release=name if isinstance(name, str) and name else None,
        ),
    )


def _joined(identity: str, request: _Half, response: _Half) -> Iterator[rows.Row]:
    if len(request.found) != len(response.found):
        raise rows.UnfitError("request and response differ in their number of rows")
    latency_us = round((response.time - request.time) * 1e6)
    for number, (features, answer) in enumerate(zip(request.found, response.found, strict=True)):
        yield rows.Row(
            request_id=identity,
            time=request.time,
            features=features,
            answer=answer,
            row=number,
            row_count=len(request.found),
            latency_us=latency_us if latency_us >= 0 else None,
            release=request.release or response.release,
        )
