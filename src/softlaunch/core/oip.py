"""
The Open Inference Protocol (KServe V2) over JSON: tensors to rows and back, metadata.

Inputs come as one tensor per feature (shape [N] or [N, 1], named like the feature) or as one tensor of shape [N, F]
holding all features in the signature's order. Numeric tensor datatypes are accepted for every feature their values
fit: the values are checked, not the declared width. Pure; the JSON itself is decoded by the caller.

Source:
    https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import predictions, release

_FLOATS = frozenset({"FP16", "FP32", "FP64"})
_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_KNOWN = _FLOATS | _INTEGERS | {"BOOL", "BYTES"}

_ACCEPTED: Mapping[release.Datatype, frozenset[str]] = {
    release.Datatype.BOOL: frozenset({"BOOL"}),
    release.Datatype.INT64: _INTEGERS,
    release.Datatype.FP32: _FLOATS | _INTEGERS,
    release.Datatype.FP64: _FLOATS | _INTEGERS,
    release.Datatype.BYTES: frozenset({"BYTES"}),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferRequest:
    rows: list[predictions.Row]
    id: str | None
    """Echoed in the answer."""
    outputs: tuple[str, ...]
    """Names to answer, in the order asked; all of the signature's when the request named none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UntypedRequest:
    """An infer request read without a signature: by the names and values it came with."""

    rows: list[dict[str, Any]]
    id: str | None
    outputs: tuple[str, ...]
    """Names asked for; empty: all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    datatype: str
    values: list[Any]
    """Flat, row by row."""


def parse_request(document: Any, signature: release.Signature) -> InferRequest:
    """
    Rows of a decoded infer request.

    Raises:
        MalformedError: not the protocol's form, a tensor of the wrong shape, an unknown output.
        RowError: an unknown or missing feature, a value the signature does not allow, no rows.
    """
    if not isinstance(document, dict):
        raise _malformed("The body is not an object")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise _malformed("'inputs' is not a list of tensors")
    request_id = document.get("id")
    if request_id is not None and predictions.TAKEN[release.Datatype.BYTES](request_id) is None:
        raise _malformed("'id' is not a string of valid Unicode")
    tensors = [_tensor(found) for found in inputs]
    return InferRequest(
        rows=_rows(tensors, signature),
        id=request_id,
        outputs=_outputs(document.get("outputs"), signature),
    )


def parse_untyped(document: Any, features: Sequence[str] = ()) -> UntypedRequest:
    """
    Rows of a decoded infer request by input name, for who has no signature.

    Args:
        document: The request.
        features: Names of the columns of a [N, F] tensor; without them such a tensor cannot be read.

    Raises:
        MalformedError: not the protocol's form, or columns that have no name.
    """
    if not isinstance(document, dict):
        raise _malformed("The body is not an object")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise _malformed("'inputs' is not a list of tensors")
    tensors = [_tensor(found) for found in inputs]
    row_count = tensors[0].shape[0]
    if any(tensor.shape[0] != row_count for tensor in tensors):
        raise _malformed("the inputs have different numbers of rows")
    _check_not_empty(row_count)
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        width = math.prod(tensor.shape[1:])
        if width == 1 and len(features) != 1:
            columns[tensor.name] = tensor.values
        elif width == len(features):
            columns.update({name: tensor.values[number::width] for number, name in enumerate(features)})
        else:
            raise _malformed(f"input {tensor.name!r:.100} has {width} columns without names")
    request_id = document.get("id")
    asked = document.get("outputs") or []
    return UntypedRequest(
        rows=[dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)],
        id=request_id if isinstance(request_id, str) else None,
        outputs=tuple(str(found["name"]) for found in asked if isinstance(found, dict) and "name" in found),
    )


def untyped_response(*, model: str, request: UntypedRequest, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer to an untyped request; each output's datatype is that of its values."""
    names = request.outputs or tuple(rows[0])
    answer: dict[str, Any] = {"model_name": model}
    if request.id is not None:
        answer["id"] = request.id
    columns = {name: [row.get(name) for row in rows] for name in names}
    answer["outputs"] = [
        {"name": name, "shape": [len(rows)], "datatype": _datatype(values).value, "data": values}
        for name, values in columns.items()
    ]
    return answer


def _datatype(values: Sequence[Any]) -> release.Datatype:
    filled = [value for value in values if value is not None]
    if filled and all(isinstance(value, bool) for value in filled):
        return release.Datatype.BOOL
    if filled and all(isinstance(value, int) and not isinstance(value, bool) for value in filled):
        return release.Datatype.INT64
    if filled and all(isinstance(value, int | float) and not isinstance(value, bool) for value in filled):
        return release.Datatype.FP64
    return release.Datatype.BYTES


def response(
    *,
    model: str,
    version: str,
    request: InferRequest,
    signature: release.Signature,
    columns: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """The answer to `request` as a JSON document: one tensor of shape [N] per output asked for."""
    datatypes = {found.name: found.datatype for found in signature.outputs}
    answer: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = [
        {
            "name": name,
            "shape": [len(request.rows)],
            "datatype": datatypes[name].value,
            "data": list(columns[name]),
        }
        for name in request.outputs
    ]
    return answer


def model_metadata(*, model: str, version: str, platform: str, signature: release.Signature) -> dict[str, Any]:
    """What GET /v2/models/NAME answers."""
    return {
        "name": model,
        "versions": [version],
        "platform": platform,
        "inputs": [_tensor_metadata(found) for found in signature.inputs],
        "outputs": [_tensor_metadata(found) for found in signature.outputs],
    }


def server_metadata(version: str) -> dict[str, Any]:
    """What GET /v2 answers; no protocol extension is offered."""
    return {"name": "softlaunch", "version": version, "extensions": []}


def _tensor_metadata(column: release.Column) -> dict[str, Any]:
    return {"name": column.name, "datatype": column.datatype.value, "shape": [-1]}


def _tensor(found: Any) -> _Tensor:
    if not isinstance(found, dict):
        raise _malformed("an input is not an object")
    name, shape, datatype, data = (found.get(key) for key in ("name", "shape", "datatype", "data"))
    if not isinstance(name, str):
        raise _malformed("an input has no 'name'")
    if not isinstance(shape, list) or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape):
        raise _malformed(f"input {name!r:.100} has no 'shape' of whole numbers")
    if not isinstance(datatype, str) or datatype not in _KNOWN:
        raise _malformed(
            f"input {name!r:.100} has datatype {predictions.shown(datatype)}, which the protocol does not know"
        )
    if not isinstance(data, list):
        raise _malformed(f"input {name!r:.100} has no 'data' list (binary tensors are not supported)")
    flat = _flat(data)
    if len(shape) not in (1, 2) or math.prod(shape) != len(flat):
        raise _malformed(f"input {name!r:.100} has shape {shape} but {len(flat)} values")
    return _Tensor(name=name, shape=tuple(shape), datatype=datatype, values=flat)


def _flat(data: list[Any]) -> list[Any]:
    """One level of nesting is allowed: the protocol lets a [N, F] tensor be nested or flat."""
    if not any(isinstance(each, list) for each in data):
        return data
    flat: list[Any] = []
    for each in data:
        if isinstance(each, list):
            flat.extend(each)
        else:
            flat.append(each)
    return flat


def _rows(tensors: list[_Tensor], signature: release.Signature) -> list[predictions.Row]:
    names = [column.name for column in signature.inputs]
    if len(tensors) == 1 and (tensors[0].name not in names or tensors[0].shape[1:] == (len(names),)):
        sole = tensors[0]
        if len(sole.shape) == 2:
            return _rows_of_matrix(sole, signature)
    return _rows_of_columns(tensors, signature, names)


def _rows_of_matrix(tensor: _Tensor, signature: release.Signature) -> list[predictions.Row]:
    row_count, width = tensor.shape
    if width != len(signature.inputs):
        raise _malformed(f"input {tensor.name!r:.100} has {width} columns where the model has {len(signature.inputs)}")
    for column in signature.inputs:
        _check_datatype(tensor, column)
    _check_not_empty(row_count)
    values = tensor.values
    return [
        tuple(
            predictions.check_value(column, value, row)
            for column, value in zip(signature.inputs, values[row * width : (row + 1) * width], strict=True)
        )
        for row in range(row_count)
    ]


def _rows_of_columns(
    tensors: list[_Tensor],
    signature: release.Signature,
    names: list[str],
) -> list[predictions.Row]:
    by_name: dict[str, _Tensor] = {}
    for tensor in tensors:
        if tensor.name not in names:
            raise predictions.RowError(
                f"There is no feature {tensor.name!r:.100}.",
                remedy=predictions.nearest(tensor.name, names),
                column=tensor.name,
            )
        if tensor.name in by_name:
            raise _malformed(f"input {tensor.name!r} is given twice")
        if tensor.shape[1:] not in ((), (1,)):
            raise _malformed(f"input {tensor.name!r} has shape {list(tensor.shape)}, not [N] or [N, 1]")
        by_name[tensor.name] = tensor
    row_count = tensors[0].shape[0]
    for tensor in tensors:
        if tensor.shape[0] != row_count:
            first = tensors[0].name
            raise _malformed(f"input {tensor.name!r} has {tensor.shape[0]} rows where {first!r} has {row_count}")
    _check_not_empty(row_count)
    return list(zip(*(_checked_column(by_name.get(c.name), c, row_count) for c in signature.inputs), strict=True))


def _checked_column(tensor: _Tensor | None, column: release.Column, row_count: int) -> list[Any]:
    if tensor is None:
        if column.nullable:
            return [None] * row_count
        raise predictions.RowError(
            f"Feature {column.name!r} is missing.",
            remedy=f"Send an input named {column.name!r} of datatype {column.datatype}.",
            column=column.name,
        )
    _check_datatype(tensor, column)
    return [predictions.check_value(column, value, row) for row, value in enumerate(tensor.values)]


def _check_datatype(tensor: _Tensor, column: release.Column) -> None:
    accepted = _ACCEPTED[column.datatype]
    if tensor.datatype not in accepted:
        raise predictions.RowError(
            f"Feature {column.name!r} is {column.datatype}, input {tensor.name!r:.100} is {tensor.datatype}.",
            remedy=f"Send one of {', '.join(sorted(accepted))}.",
            column=column.name,
        )


def _check_not_empty(row_count: int) -> None:
    if row_count == 0:
        raise predictions.RowError("The request has no rows.", remedy="Send at least one row.")


def _outputs(found: Any, signature: release.Signature) -> tuple[str, ...]:
    names = [column.name for column in signature.outputs]
    if found is None or found == []:
        return tuple(names)
    if not isinstance(found, list):
        raise _malformed("'outputs' is not a list")
    asked: list[str] = []
    for each in found:
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str) or name not in names:
            known = predictions.nearest(str(name)[:100], names)
            raise _malformed(f"there is no output {predictions.shown(name)}", remedy=known)
        if name not in asked:
            asked.append(name)
    return tuple(asked)


def _malformed(
    detail: str,
    remedy: str = "Send an Open Inference Protocol V2 request; GET /v2/models/NAME shows the tensors.",
) -> predictions.MalformedError:
    return predictions.MalformedError(f"The infer request cannot be read: {detail}.", remedy=remedy)
