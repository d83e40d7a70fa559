"""
Tensors of the Open Inference Protocol, whatever carried them: their bytes, their values, and the rows they make.

A tensor's values are a list of Python values (from JSON or typed protobuf fields) or a NumPy array (from bytes, which
are viewed, not copied). Nothing is ever allocated by what a shape claims: the values are counted first.

Bytes have no null. A NaN stands for a missing number; a missing text or boolean is sent as JSON, or its input left out.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softlaunch.core import predictions, release

FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
KNOWN = FLOATS | INTEGERS | {"BOOL", "BYTES"}

_DTYPES: Mapping[str, str] = {
    "BOOL": "|u1",  # not NumPy's bool, whose values other than 0 and 1 are neither
    "BF16": "<u2",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    **{name: f"<{name[0].lower()}{int(name.lstrip('UINT')) // 8}" for name in INTEGERS},
}
_NUMERIC = FLOATS | INTEGERS
ACCEPTED: Mapping[release.Datatype, frozenset[str]] = {
    release.Datatype.BOOL: frozenset({"BOOL"}),
    release.Datatype.INT64: _NUMERIC,
    release.Datatype.FP32: _NUMERIC,
    release.Datatype.FP64: _NUMERIC,
    release.Datatype.BYTES: frozenset({"BYTES"}),
}
_LENGTH = struct.Struct("<I")


class TooManyRowsError(predictions.MalformedError):
    """More rows than the caller takes; HTTP says 413."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    name: str
    shape: tuple[int, ...]
    """[N] or [N, K]; its product is the number of values."""
    datatype: str
    values: list[Any] | np.ndarray[Any, Any]
    """Flat, row by row. BOOL arrays are bytes, 0 or 1 if the sender is right; BYTES are always a list."""


def malformed(
    detail: str,
    remedy: str = "Send an Open Inference Protocol V2 request; GET /v2/models/NAME shows the tensors.",
) -> predictions.MalformedError:
    return predictions.MalformedError(f"The infer request cannot be read: {detail}.", remedy=remedy)


def of_values(name: str, shape: Sequence[int], datatype: str, values: list[Any]) -> Tensor:
    """
    A tensor from its flat values.

    Raises:
        MalformedError: the shape is not of [N] or [N, K], or promises another number of values.
    """
    if len(shape) not in (1, 2) or math.prod(shape) != len(values):
        raise malformed(f"input {name!r:.100} has shape {_shown(shape)} but {len(values)} values")
    return Tensor(name=name, shape=tuple(shape), datatype=datatype, values=values)


def of_bytes(name: str, shape: Sequence[int], datatype: str, raw: memoryview | bytes) -> Tensor:
    """
    A tensor from its binary form: row-major, little-endian; each text after its length as four bytes.

    Raises:
        MalformedError: as in `of_values`; the bytes are not exactly those of the shape.
    """
    if len(shape) not in (1, 2):
        raise malformed(f"input {name!r:.100} has shape {_shown(shape)}, not [N] or [N, K]")
    count = math.prod(shape)
    if datatype == "BYTES":
        return Tensor(name=name, shape=tuple(shape), datatype=datatype, values=_texts(name, count, raw))
    dtype = np.dtype(_DTYPES[datatype])
    if len(raw) != count * dtype.itemsize:
        expected = f"{count * dtype.itemsize}" if count.bit_length() < 63 else "more than there can be"
        raise malformed(
            f"input {name!r:.100} of datatype {datatype} and shape {_shown(shape)} has {len(raw)} bytes of data, "
            f"not {expected}"
        )
    values = np.frombuffer(raw, dtype=dtype)
    if datatype == "BF16":  # the upper half of a float32
        values = (values.astype("<u4") << 16).view("<f4")
    return Tensor(name=name, shape=tuple(shape), datatype=datatype, values=values)


def to_bytes(name: str, datatype: release.Datatype, values: Sequence[Any]) -> bytes:
    """
    The binary form of an output's values.

    Raises:
        MalformedError: a boolean or whole number is missing, which this form cannot say.
    """
    if datatype is release.Datatype.BYTES:
        parts: list[bytes] = []
        for value in values:
            encoded = b"" if value is None else value.encode()
            parts += (_LENGTH.pack(len(encoded)), encoded)
        return b"".join(parts)
    if datatype in (release.Datatype.BOOL, release.Datatype.INT64) and None in values:
        raise predictions.MalformedError(
            f"Output {name!r} of row {list(values).index(None)} is null, which binary data cannot say.",
            remedy="Ask for this output as JSON: parameters.binary_data false.",
        )
    return np.array(values, dtype=_DTYPES[datatype.value]).tobytes()  # None becomes NaN


def rows(tensors: Sequence[Tensor], signature: release.Signature, *, row_count_max: int | None = None) -> list[Any]:
    """
    The rows that a request's tensors hold, checked.

    Raises:
        MalformedError: a tensor of the wrong shape, or given twice.
        RowError: an unknown or missing feature, a value the signature does not allow, no rows.
        TooManyRowsError: more than row_count_max.
    """
    row_count = tensors[0].shape[0]
    if row_count_max is not None and row_count > row_count_max:
        raise TooManyRowsError(
            f"The request has more than {row_count_max} rows.", remedy="Send the rows in several requests."
        )
    names = [column.name for column in signature.inputs]
    sole = tensors[0]
    if len(tensors) == 1 and len(sole.shape) == 2 and (sole.name not in names or sole.shape[1] == len(names)):
        return _rows_of_matrix(sole, signature)
    return _rows_of_columns(tensors, signature, names)


def plain_values(tensor: Tensor) -> list[Any]:
    """The values as plain Python; what is no Unicode stays bytes."""
    values = tensor.values
    if isinstance(values, list):
        return values
    found: list[Any] = (values != 0).tolist() if tensor.datatype == "BOOL" else values.tolist()
    return found


def _rows_of_matrix(tensor: Tensor, signature: release.Signature) -> list[predictions.Row]:
    row_count, width = tensor.shape
    if width != len(signature.inputs):
        raise malformed(f"input {tensor.name!r:.100} has {width} columns where the model has {len(signature.inputs)}")
    for column in signature.inputs:
        _check_datatype(tensor, column)
    check_not_empty(row_count)
    columns = [_checked(column, tensor.values[place::width]) for place, column in enumerate(signature.inputs)]
    return list(zip(*columns, strict=True))


def _rows_of_columns(
    tensors: Sequence[Tensor], signature: release.Signature, names: list[str]
) -> list[predictions.Row]:
    by_name: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.name not in names:
            raise predictions.RowError(
                f"There is no feature {tensor.name!r:.100}.",
                remedy=predictions.nearest(tensor.name[:100], names),
                column=tensor.name,
            )
        if tensor.name in by_name:
            raise malformed(f"input {tensor.name!r} is given twice")
        if tensor.shape[1:] not in ((), (1,)):
            raise malformed(f"input {tensor.name!r} has shape {_shown(tensor.shape)}, not [N] or [N, 1]")
        by_name[tensor.name] = tensor
    row_count = tensors[0].shape[0]
    for tensor in tensors:
        if tensor.shape[0] != row_count:
            first = tensors[0].name
            raise malformed(f"input {tensor.name!r} has {tensor.shape[0]} rows where {first!r} has {row_count}")
    check_not_empty(row_count)
    return list(zip(*(_column(by_name.get(c.name), c, row_count) for c in signature.inputs), strict=True))


def _column(tensor: Tensor | None, column: release.Column, row_count: int) -> list[Any]:
    if tensor is None:
        if column.nullable:
            return [None] * row_count
        raise predictions.RowError(
            f"Feature {column.name!r} is missing.",
            remedy=f"Send an input named {column.name!r} of datatype {column.datatype}.",
            column=column.name,
        )
    _check_datatype(tensor, column)
    return _checked(column, tensor.values)


def _checked(column: release.Column, values: list[Any] | np.ndarray[Any, Any]) -> list[Any]:
    """The values as the model takes them; RowError names the first that it may not."""
    if isinstance(values, list):
        quickly = _taken_quickly(column, values)
        if quickly is not None:
            return quickly
        return [predictions.check_value(column, value, row) for row, value in enumerate(values)]
    good, taken = _taken(column, values)
    if good.all():
        found: list[Any] = taken.tolist()
        return found
    plain = values.tolist()
    if column.nullable and values.dtype.kind == "f":
        plain = [None if math.isnan(value) else value for value in plain]
    return [predictions.check_value(column, _one(column, value), row) for row, value in enumerate(plain)]


def _taken_quickly(column: release.Column, values: list[Any]) -> list[Any] | None:
    """
    What value by value would say of a plain list, several times as fast; None: look at each.

    May refuse too much, never accept what the other would not.
    """
    kinds = set(map(type, values))
    if column.datatype is release.Datatype.BYTES:
        try:
            "".join(values).encode()
        except (TypeError, UnicodeEncodeError):
            return None
        return values
    if column.datatype is release.Datatype.BOOL:
        return values if kinds == {bool} else None
    if not kinds <= ({int} if column.datatype is release.Datatype.INT64 else {int, float}):
        return None
    try:
        array = np.array(values, dtype=np.int64 if column.datatype is release.Datatype.INT64 else np.float64)
    except OverflowError:
        return None
    good, taken = _taken(column, array)
    found: list[Any] | None = taken.tolist() if good.all() else None
    return found


def _taken(column: release.Column, values: np.ndarray[Any, Any]) -> tuple[Any, np.ndarray[Any, Any]]:
    """Which of the values are good, and all of them in the type the model takes."""
    if column.datatype is release.Datatype.BOOL:
        return values <= 1, values != 0
    if column.datatype is release.Datatype.INT64:
        if values.dtype.kind == "f":
            wide = values.astype(np.float64)
            good = (np.abs(wide) < 2.0**63) & (np.floor(wide) == wide)
            return good, np.where(good, wide, 0.0).astype(np.int64)
        return values <= predictions.INT64_MAX if values.dtype == np.uint64 else np.True_, values
    wide = values.astype(np.float64)
    most = predictions.FLOAT32_MAX if column.datatype is release.Datatype.FP32 else np.finfo(np.float64).max
    return np.abs(wide) <= most, wide  # false for NaN, too


def _one(column: release.Column, value: Any) -> Any:
    return bool(value) if column.datatype is release.Datatype.BOOL and value in (0, 1) else value


def _check_datatype(tensor: Tensor, column: release.Column) -> None:
    accepted = ACCEPTED[column.datatype]
    if tensor.datatype not in accepted:
        raise predictions.RowError(
            f"Feature {column.name!r} is {column.datatype}, input {tensor.name!r:.100} is {tensor.datatype}.",
            remedy=f"Send one of {', '.join(sorted(accepted))}.",
            column=column.name,
        )


def check_not_empty(row_count: int) -> None:
    """
    Raises:
        RowError: there are no rows.
    """
    if row_count == 0:
        raise predictions.RowError("The request has no rows.", remedy="Send at least one row.")


def _texts(name: str, count: int, raw: memoryview | bytes) -> list[Any]:
    if count * _LENGTH.size > len(raw):
        raise malformed(
            f"input {name!r:.100} has {len(raw)} bytes of data, too few for {predictions.shown(count)} texts "
            "with their lengths"
        )
    data = bytes(raw)
    found: list[Any] = []
    place = 0
    for number in range(count):
        start = place + _LENGTH.size
        if start > len(data):
            raise malformed(f"input {name!r:.100} ends before text {number} of {count}")
        (length,) = _LENGTH.unpack_from(data, place)
        place = start + length
        if place > len(data):
            raise malformed(
                f"text {number} of input {name!r:.100} says {length} bytes where {len(data) - start} are left"
            )
        text = data[start:place]
        try:
            found.append(text.decode())
        except UnicodeDecodeError:
            found.append(text)  # whoever wants text names row and column
    if place != len(data):
        raise malformed(f"input {name!r:.100} has {len(data) - place} bytes of data after its {count} texts")
    return found


def _shown(shape: Sequence[int]) -> str:
    return f"[{', '.join(predictions.shown(size) for size in shape[:8])}{', ...' if len(shape) > 8 else ''}]"
