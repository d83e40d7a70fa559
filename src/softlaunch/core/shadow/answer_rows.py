"""Rows of outputs from the body of a prediction answer, whatever protocol and form it is in."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from softlaunch.core import oip_recorded

AnswerRow: TypeAlias = dict[str, Any]
"""Values by output name."""


def rows(body: bytes) -> list[AnswerRow] | None:
    """
    One dict per row; None when the body is not an answer of /predict or of the Open Inference Protocol (as JSON, with
    binary tensor data, or as a protobuf message).

    A tensor of shape [N, K] gives each row a list of K values.
    """
    document = decoded(body)
    if document is None:
        columns = oip_recorded.answer_columns(body)
        return None if columns is None else _by_row(columns)
    if not isinstance(document, dict):
        return None
    bare, many, tensors = (document.get(name) for name in ("prediction", "predictions", "outputs"))
    if isinstance(bare, dict):
        return [bare]
    if isinstance(many, list) and all(isinstance(row, dict) for row in many):
        return many
    if isinstance(tensors, list) and tensors:
        return _of_tensors(tensors)
    return None


def decoded(body: bytes) -> Any:
    """The JSON document, None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _of_tensors(tensors: list[Any]) -> list[AnswerRow] | None:
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        if not isinstance(tensor, dict):
            return None
        name, shape, values = (tensor.get(key) for key in ("name", "shape", "data"))
        if not isinstance(name, str) or not isinstance(values, list) or not isinstance(shape, list) or not shape:
            return None
        row_count = shape[0]
        if not isinstance(row_count, int) or row_count < 1 or len(values) % row_count:
            return None
        width = len(values) // row_count
        columns[name] = (
            values if width == 1 else [values[start : start + width] for start in range(0, len(values), width)]
        )
    return _by_row(columns)


def _by_row(columns: dict[str, list[Any]]) -> list[AnswerRow] | None:
    if len({len(values) for values in columns.values()}) != 1:
        return None
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
