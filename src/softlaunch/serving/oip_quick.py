"""
The commonest infer request of the Open Inference Protocol, read several times as fast as core.oip reads any.

That is: one input for every feature, each [N] or [N, 1] with plain data, an id maybe, nothing else. Whatever is odd is
left to core.oip, which decides alone what is an error. So this reader may refuse too much, but never accept what
the other would not, nor read it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import msgspec

from softlaunch.core import oip, oip_tensors, predictions, release

_Value: TypeAlias = bool | int | float | str
_NUMBERS = frozenset({int, float})
_KINDS = {
    release.Datatype.BOOL: frozenset({bool}),
    release.Datatype.INT64: frozenset({int}),
    release.Datatype.FP32: _NUMBERS,
    release.Datatype.FP64: _NUMBERS,
    release.Datatype.BYTES: frozenset({str}),
}
_FLOATS = frozenset({release.Datatype.FP32, release.Datatype.FP64})


class _Input(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[_Value]


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    inputs: list[_Input]
    id: str | None = None


class QuickReader:
    """
    Args:
        signature: What requests are checked against.
        keys: Names of business keys; a request that has one is left to core.oip.
    """

    def __init__(self, signature: release.Signature, *, keys: Collection[str] = ()) -> None:
        self._features = {
            column.name: (place, oip_tensors.ACCEPTED[column.datatype], _KINDS[column.datatype], _bounded(column))
            for place, column in enumerate(signature.inputs)
            if column.name not in keys
        }
        self._is_quick = len(self._features) == len(signature.inputs) > 1
        self._outputs = tuple(oip.RequestedOutput(name=column.name, is_binary=False) for column in signature.outputs)
        self._decode = msgspec.json.Decoder(_Request).decode

    def read(self, body: bytes, row_count_max: int) -> oip.InferRequest | None:
        """The request; None when it is not such a one, or has more rows than that."""
        if not self._is_quick:
            return None
        try:
            found = self._decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if len(found.inputs) != len(self._features):
            return None
        row_count = len(found.inputs[0].data)
        if not 0 < row_count <= row_count_max:
            return None
        columns: list[Any] = [None] * len(found.inputs)
        for each in found.inputs:
            feature = self._features.get(each.name)
            if feature is None or len(each.data) != row_count or each.shape not in ([row_count], [row_count, 1]):
                return None
            place, datatypes, kinds, bounded = feature
            if (
                columns[place] is not None
                or each.datatype not in datatypes
                or not kinds.issuperset(map(type, each.data))
            ):
                return None
            columns[place] = bounded(each.data)
            if columns[place] is None:
                return None
        rows = list(zip(*columns, strict=True))
        return oip.InferRequest(rows=rows, id=found.id, outputs=self._outputs, keys={})


def _bounded(column: release.Column) -> Callable[[list[Any]], list[Any] | None]:
    """Makes the values the model's type; None when one is out of its bounds."""
    if column.datatype in _FLOATS:
        most = predictions.FLOAT32_MAX if column.datatype is release.Datatype.FP32 else None

        def floats(values: list[Any]) -> list[Any] | None:
            try:
                found = [float(value) for value in values]
            except OverflowError:
                return None
            return found if most is None or (max(found) <= most and min(found) >= -most) else None

        return floats
    if column.datatype is release.Datatype.INT64:

        def integers(values: list[Any]) -> list[Any] | None:
            good = min(values) >= predictions.INT64_MIN and max(values) <= predictions.INT64_MAX
            return values if good else None

        return integers
    return lambda values: values
