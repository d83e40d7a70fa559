"""
Data capture of SageMaker endpoints: a JSON object a line, input and output in it.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html (captureData with
endpointInput and endpointOutput: observedContentType, mode, data, encoding JSON, CSV or BASE64; eventMetadata with
eventId, inferenceId, inferenceTime, customAttributes; eventVersion "0").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from softlaunch.controller.prediction_log import importing_rows as rows


def read(lines: Iterable[rows.Line], counted: rows.Counted, now: float) -> Iterator[rows.Row | rows.Bad]:
    """One capture a line; see rows.Reader."""
    for line in lines:
        try:
            found = rows.document(line.content)
            capture, about = found.get("captureData"), found.get("eventMetadata")
            if not isinstance(capture, dict) or not isinstance(about, dict):
                raise rows.UnfitError("no captureData or eventMetadata")  # noqa: TRY301 - one place for reasons
            if "endpointOutput" not in capture:
                counted.unanswered += 1
                continue
            if "endpointInput" not in capture:
                counted.unasked += 1
                continue
            yield from _rows(capture, about, now)
        except rows.UnfitError as error:
            yield rows.bad(line, str(error))


def _rows(capture: dict[str, Any], about: dict[str, Any], now: float) -> Iterator[rows.Row]:
    identity = about.get("inferenceId") or about.get("eventId")
    if not isinstance(identity, str):
        raise rows.UnfitError("no eventId")
    time = rows.moment(about.get("inferenceTime"), now)
    asked = _side(capture["endpointInput"], is_request=True)
    answered = _side(capture["endpointOutput"], is_request=False)
    if len(asked) != len(answered):
        raise rows.UnfitError("input and output differ in their number of rows")
    for number, (features, answer) in enumerate(zip(asked, answered, strict=True)):
        yield rows.Row(
            request_id=identity, time=time, features=features, answer=answer, row=number, row_count=len(asked)
        )


def _side(side: Any, *, is_request: bool) -> list[dict[str, Any]]:
    if not isinstance(side, dict) or not isinstance(side.get("data"), str):
        raise rows.UnfitError("a side without data")
    data, encoding = side["data"], side.get("encoding")
    if encoding == "BASE64":
        try:
            data = rows.decoded(data).decode()
        except UnicodeDecodeError as error:
            raise rows.UnfitError("the body is no text") from error
        encoding = "CSV" if "csv" in str(side.get("observedContentType")) else "JSON"
    if encoding == "CSV":
        found = rows.csv_rows(data, "x" if is_request else "prediction")
        if not found:
            raise rows.UnfitError("an empty body")
        return found
    if encoding != "JSON":
        raise rows.UnfitError(f"encoding {encoding!r} is not JSON, CSV or BASE64")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise rows.UnfitError("data is no JSON") from error
    return rows.request_rows(body) if is_request else rows.answer_rows(body)
