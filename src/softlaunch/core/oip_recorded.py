"""
What recorded bodies of the Open Inference Protocol say, in whichever of its three forms they are.

    JSON       a document
    binary     a document and the bytes that follow it
    protobuf   a message ModelInferResponse, as gRPC has it

A body tells its form: a document parses whole, a binary body parses up to where its bytes begin, and a message does not
begin with a brace. The protobuf here is a reader of that one message, by the wire format alone: records are read by
processes that need not have the protobuf package, and judged by a reader that did not write them.

Source:
    https://protobuf.dev/programming-guides/encoding
    https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from softlaunch.core import oip, oip_tensors, predictions

_CONTENTS: Mapping[int, str] = {1: "bool", 2: "int", 3: "int", 4: "uint", 5: "uint", 6: "<f4", 7: "<f8", 8: "bytes"}
"""Fields of InferTensorContents by number."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _UnreadableError(Exception):
    pass


def document_bytes(body: bytes) -> int | None:
    """
    How many bytes of an HTTP body are its JSON document; None when it does not begin with one.

    What Inference-Header-Content-Length said when the body was sent: recordings do not keep headers.
    """
    found = _document(body)
    return None if found is None else found[1]


def answer_columns(body: bytes) -> dict[str, list[Any]] | None:
    """
    Values by output name of a binary or protobuf answer, one per row; None when it is neither.

    A tensor of shape [N, K] gives each row a list of K values. Missing numbers are None, as in JSON.
    """
    try:
        tensors = _of_binary(body) if body[:1] == b"{" else _of_message(body)
        columns = {tensor.name: _by_row(tensor) for tensor in tensors}
    except (_UnreadableError, predictions.MalformedError):
        return None
    return columns or None


def _by_row(tensor: oip_tensors.Tensor) -> list[Any]:
    values = [
        None if isinstance(value, float) and math.isnan(value) else value for value in oip_tensors.plain_values(tensor)
    ]
    width = tensor.shape[1] if len(tensor.shape) == 2 else 1
    if width == 0 or tensor.shape[0] < 1:
        raise _UnreadableError
    return values if width == 1 else [values[start : start + width] for start in range(0, len(values), width)]


def _of_binary(body: bytes) -> list[oip_tensors.Tensor]:
    found = _document(body)
    if found is None or not isinstance(found[0], dict):
        raise _UnreadableError
    document, end = found
    # An answer's tensors have the form of a request's.
    tensors, _ = oip.read_document({"inputs": document.get("outputs")}, body[end:])
    return tensors


def _document(body: bytes) -> tuple[Any, int] | None:
    """The document a body begins with, and how many bytes it takes."""
    text = body.decode(errors="surrogateescape")  # what follows the document is any bytes
    try:
        document, end = json.JSONDecoder().raw_decode(text)
        return document, len(text[:end].encode())  # the document itself is UTF-8
    except (ValueError, RecursionError):  # also UnicodeEncodeError
        return None


def _of_message(body: bytes) -> list[oip_tensors.Tensor]:
    """A ModelInferResponse: outputs are field 5, raw_output_contents field 6."""
    outputs: list[bytes] = []
    raw: list[bytes] = []
    for number, value in _fields(body):
        if not isinstance(value, bytes):  # this message has no numbers
            raise _UnreadableError
        if number == 5:
            outputs.append(value)
        elif number == 6:
            raw.append(value)
    if not outputs or len(raw) not in (0, len(outputs)):
        raise _UnreadableError
    return [_output(output, raw[place] if raw else None) for place, output in enumerate(outputs)]


def _output(message: bytes, raw: bytes | None) -> oip_tensors.Tensor:
    """An InferOutputTensor: name 1, datatype 2, shape 3, contents 5."""
    name = datatype = ""
    shape: list[int] = []
    contents = b""
    for number, value in _fields(message):
        if number == 3:
            shape += _numbers(value, is_signed=True)
        elif number in (1, 2, 5):
            if not isinstance(value, bytes):
                raise _UnreadableError
            if number == 1:
                name = value.decode(errors="replace")
            elif number == 2:
                datatype = value.decode(errors="replace")
            else:
                contents += value  # a message that comes in parts is their sum
    if datatype not in oip_tensors.KNOWN or any(size < 0 for size in shape):
        raise _UnreadableError
    if raw is not None:
        return oip_tensors.of_bytes(name, shape, datatype, raw)
    return oip_tensors.of_values(name, shape, datatype, _contents(contents))


def _contents(message: bytes) -> list[Any]:
    values: list[Any] = []
    for number, value in _fields(message):
        kind = _CONTENTS.get(number)
        if kind is None:
            continue
        if kind == "bytes":
            if not isinstance(value, bytes):
                raise _UnreadableError
            values.append(value.decode(errors="replace"))
        elif kind.startswith("<"):
            packed = value if isinstance(value, bytes) else value.to_bytes(8, "little")[: int(kind[2])]
            if len(packed) % int(kind[2]):
                raise _UnreadableError
            values += np.frombuffer(packed, dtype=kind).tolist()
        else:
            numbers = _numbers(value, is_signed=kind == "int")
            values += [found != 0 for found in numbers] if kind == "bool" else numbers
    return values


def _numbers(value: bytes | int, *, is_signed: bool) -> list[int]:
    """A repeated varint field: one number, or packed ones."""
    found: list[int] = []
    if isinstance(value, int):
        found.append(value)
    else:
        place = 0
        while place < len(value):
            number, place = _varint(value, place)
            found.append(number)
    return [number - 2**64 if is_signed and number >= 2**63 else number for number in found]


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field, in order."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        value: bytes | int
        if kind == _VARINT:
            value, place = _varint(message, place)
        else:
            if kind == _BYTES:
                length, place = _varint(message, place)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                raise _UnreadableError
            value = message[place : place + length]
            place += length
            if len(value) != length:
                raise _UnreadableError
            if kind != _BYTES:
                value = int.from_bytes(value, "little")
        if tag < 8:
            raise _UnreadableError
        yield tag >> 3, value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64 + 6:
        if place >= len(message):
            raise _UnreadableError
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), place
        shift += 7
    raise _UnreadableError
