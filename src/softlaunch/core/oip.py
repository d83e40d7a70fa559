"""
The Open Inference Protocol (KServe V2): requests to rows, columns to answers, metadata; JSON and binary tensor data.

Inputs come as one tensor per feature (shape [N] or [N, 1], named like the feature) or as one tensor of shape [N, F]
holding all features in the signature's order. Numeric tensor datatypes are accepted for every feature their values
fit: the values are checked, not the declared width. Pure; the JSON itself is decoded by the caller.

In the binary extension the JSON document is followed by the data of those tensors that say so, in order:

    input   parameters.binary_data_size        that many bytes are this input's data
    output  parameters.binary_data             asks for bytes; parameters.binary_data_output of the request for all

Source:
    https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
    https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol/binary-tensor-data-extension
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from softlaunch.core import oip_tensors, predictions, release

_STATEFUL = ("sequence_id", "sequence_start", "sequence_end")
_UNSUPPORTED = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "classification")
"""Parameters of tensors that change what an answer means; everything else unknown is only a hint."""
_malformed = oip_tensors.malformed


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequestedOutput:
    name: str
    is_binary: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferRequest:
    rows: list[predictions.Row]
    id: str | None
    """Echoed in the answer."""
    outputs: tuple[RequestedOutput, ...]
    """What to answer, in the order asked; all of the signature's when the request named none."""
    keys: Mapping[str, Sequence[Any]]
    """Business keys by name, one value a row: text, a number, true, false or None."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Envelope:
    """An infer request apart from its tensors, whichever form it came in."""

    id: str | None
    parameters: Mapping[str, Any]
    outputs: Sequence[tuple[str, Mapping[str, Any]]]
    """Name and parameters of each requested output; empty: all of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A document and the bytes that follow it; without bytes it is plain JSON."""

    document: dict[str, Any]
    binary: list[bytes]
    """In the order of the outputs that announce theirs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UntypedRequest:
    """An infer request read without a signature: by the names and values it came with."""

    rows: list[dict[str, Any]]
    id: str | None
    outputs: tuple[str, ...]
    """Names asked for; empty: all."""


def parse_request(
    document: Any,
    signature: release.Signature,
    *,
    binary: bytes | memoryview = b"",
    keys: Collection[str] = (),
    row_count_max: int | None = None,
) -> InferRequest:
    """
    Rows of a decoded infer request.

    Args:
        document: The JSON document.
        signature: What rows are checked against.
        binary: What followed it.
        keys: Names of business keys; one that is a feature's stays a feature.
        row_count_max: More rows are refused before they are made.

    Raises:
        MalformedError: not the protocol's form, a tensor of the wrong shape, data of the wrong size, an unknown output.
        RowError: an unknown or missing feature, a value the signature does not allow, no rows.
        TooManyRowsError: more than row_count_max.
    """
    tensors, envelope = read_document(document, binary)
    return assemble(tensors, envelope, signature, keys=keys, row_count_max=row_count_max)


def read_document(document: Any, binary: bytes | memoryview = b"") -> tuple[list[oip_tensors.Tensor], Envelope]:
    """
    The tensors of a decoded infer request and what stands beside them.

    Raises:
        MalformedError: not the protocol's form, or data of the wrong size.
    """
    if not isinstance(document, dict):
        raise _malformed("The body is not an object")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise _malformed("'inputs' is not a list of tensors")
    request_id = document.get("id")
    if request_id is not None and predictions.TAKEN[release.Datatype.BYTES](request_id) is None:
        raise _malformed("'id' is not a string of valid Unicode")
    rest = memoryview(binary)
    tensors: list[oip_tensors.Tensor] = []
    for found in inputs:
        tensor, size = _tensor(found, rest)
        tensors.append(tensor)
        rest = rest[size:]
    if len(rest):
        raise _malformed(f"{len(rest)} bytes follow the data of the last input, {tensors[-1].name!r:.100}")
    outputs = document.get("outputs")
    if not isinstance(outputs, list | None):
        raise _malformed("'outputs' is not a list")
    return tensors, Envelope(
        id=request_id,
        parameters=_parameters(document, "the request"),
        outputs=[_requested(found) for found in outputs or ()],
    )


def assemble(
    tensors: Sequence[oip_tensors.Tensor],
    envelope: Envelope,
    signature: release.Signature,
    *,
    keys: Collection[str] = (),
    row_count_max: int | None = None,
) -> InferRequest:
    """The checked request of what a form's reader found; raises as `parse_request`."""
    for name in _STATEFUL:
        if envelope.parameters.get(name):
            raise _malformed(f"parameter {name!r} asks for a model that remembers, and none here does")
    keys = [name for name in dict.fromkeys(keys) if all(name != column.name for column in signature.inputs)]
    key_tensors: list[oip_tensors.Tensor] = []
    if keys:
        key_tensors = [tensor for tensor in tensors if tensor.name in keys]
        tensors = [tensor for tensor in tensors if tensor.name not in keys]
        if not tensors:
            raise _malformed("its inputs are keys alone, without features")
    rows = oip_tensors.rows(tensors, signature, row_count_max=row_count_max)
    found = _keys(key_tensors, {name: envelope.parameters.get(name) for name in keys}, len(rows))
    return InferRequest(rows=rows, id=envelope.id, outputs=_outputs(envelope, signature), keys=found)


def parse_untyped(document: Any, features: Sequence[str] = (), *, binary: bytes | memoryview = b"") -> UntypedRequest:
    """
    Rows of a decoded infer request by input name, for who has no signature.

    Args:
        document: The request.
        features: Names of the columns of a [N, F] tensor; without them such a tensor cannot be read.
        binary: What followed the document.

    Raises:
        MalformedError: not the protocol's form, or columns that have no name.
    """
    tensors, envelope = read_document(document, binary)
    row_count = tensors[0].shape[0]
    if any(tensor.shape[0] != row_count for tensor in tensors):
        raise _malformed("the inputs have different numbers of rows")
    oip_tensors.check_not_empty(row_count)
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        width = math.prod(tensor.shape[1:])
        values = oip_tensors.plain_values(tensor)
        if width == 1 and len(features) != 1:
            columns[tensor.name] = values
        elif width and width == len(features):
            columns.update({name: values[number::width] for number, name in enumerate(features)})
        else:
            raise _malformed(f"input {tensor.name!r:.100} has {width} columns without names")
    return UntypedRequest(
        rows=[dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)],
        id=envelope.id,
        outputs=tuple(name for name, _ in envelope.outputs),
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
) -> Answer:
    """
    The answer to `request`: one tensor of shape [N] per output asked for.

    Raises:
        MalformedError: an output was asked for in a form that cannot say it.
    """
    datatypes = {found.name: found.datatype for found in signature.outputs}
    answer: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for asked in request.outputs:
        datatype, values = datatypes[asked.name], columns[asked.name]
        output: dict[str, Any] = {"name": asked.name, "shape": [len(request.rows)], "datatype": datatype.value}
        if asked.is_binary:
            raw = oip_tensors.to_bytes(asked.name, datatype, values)
            output["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            output["data"] = list(values)
        outputs.append(output)
    answer["outputs"] = outputs
    return Answer(document=answer, binary=binary)


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
    """What GET /v2 answers."""
    return {"name": "softlaunch", "version": version, "extensions": ["binary_tensor_data"]}


def _tensor_metadata(column: release.Column) -> dict[str, Any]:
    return {"name": column.name, "datatype": column.datatype.value, "shape": [-1]}


def _tensor(found: Any, binary: memoryview) -> tuple[oip_tensors.Tensor, int]:
    """The tensor, and how many of the bytes were its own."""
    if not isinstance(found, dict):
        raise _malformed("an input is not an object")
    name, shape, datatype = (found.get(key) for key in ("name", "shape", "datatype"))
    if not isinstance(name, str):
        raise _malformed("an input has no 'name'")
    if not isinstance(shape, list) or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape):
        raise _malformed(f"input {name!r:.100} has no 'shape' of whole numbers")
    if not isinstance(datatype, str) or datatype not in oip_tensors.KNOWN:
        raise _malformed(
            f"input {name!r:.100} has datatype {predictions.shown(datatype)}, which the protocol does not know"
        )
    parameters = _parameters(found, f"input {name!r:.100}")
    size = parameters.get("binary_data_size")
    if size is None:
        if not isinstance(found.get("data"), list):
            raise _malformed(f"input {name!r:.100} has no 'data' list")
        return oip_tensors.of_values(name, shape, datatype, _flat(found["data"], shape, name)), 0
    if "data" in found:
        raise _malformed(f"input {name!r:.100} has both 'data' and 'binary_data_size'")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
        raise _malformed(
            f"input {name!r:.100} has binary_data_size {predictions.shown(size)} where {len(binary)} bytes follow",
            remedy="Say in the header Inference-Header-Content-Length where the JSON ends and the bytes begin.",
        )
    return oip_tensors.of_bytes(name, shape, datatype, binary[:size]), size


def _flat(data: list[Any], shape: list[int], name: str) -> list[Any]:
    """One level of nesting is allowed: the protocol lets a [N, K] tensor be nested or flat."""
    if not any(isinstance(each, list) for each in data):
        return data
    if len(shape) != 2 or not all(isinstance(each, list) and len(each) == shape[1] for each in data):
        raise _malformed(f"the nested 'data' of input {name!r:.100} has not the shape it says")
    return [value for each in data for value in each]


def _parameters(found: Mapping[str, Any], whose: str) -> Mapping[str, Any]:
    parameters = found.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise _malformed(f"the 'parameters' of {whose} are not an object")
    return check_parameters(parameters, whose)


def check_parameters(parameters: Mapping[str, Any], whose: str) -> Mapping[str, Any]:
    """
    The parameters, when none of them belongs to an extension that would change what is answered.

    Raises:
        MalformedError: one does.
    """
    for name in _UNSUPPORTED:
        if parameters.get(name) is not None:
            raise _malformed(
                f"parameter {name!r} of {whose} is an extension that this server does not have",
                remedy="GET /v2 lists the extensions it has.",
            )
    return parameters


def _requested(found: Any) -> tuple[str, Mapping[str, Any]]:
    name = found.get("name") if isinstance(found, dict) else None
    if not isinstance(name, str):
        raise _malformed(f"there is no output {predictions.shown(name)}")
    return name, _parameters(found, f"output {name!r:.100}")


def _outputs(envelope: Envelope, signature: release.Signature) -> tuple[RequestedOutput, ...]:
    names = [column.name for column in signature.outputs]
    is_binary = envelope.parameters.get("binary_data_output") is True
    if not envelope.outputs:
        return tuple(RequestedOutput(name=name, is_binary=is_binary) for name in names)
    asked: dict[str, RequestedOutput] = {}
    for name, parameters in envelope.outputs:
        if name not in names:
            known = predictions.nearest(name[:100], names)
            raise _malformed(f"there is no output {predictions.shown(name)}", remedy=known)
        asked.setdefault(name, RequestedOutput(name=name, is_binary=parameters.get("binary_data", is_binary) is True))
    return tuple(asked.values())


def _keys(
    tensors: Sequence[oip_tensors.Tensor], parameters: Mapping[str, Any], row_count: int
) -> Mapping[str, Sequence[Any]]:
    found: dict[str, Sequence[Any]] = {}
    for name, value in parameters.items():
        if value is not None:
            if not isinstance(value, bool | int | float) and predictions.TAKEN[release.Datatype.BYTES](value) is None:
                raise _malformed(f"key {name!r} is {predictions.shown(value)}, not text, a number, true or false")
            found[name] = [value] * row_count
    for tensor in tensors:
        if tensor.name in found:
            raise _malformed(f"key {tensor.name!r} is given twice")
        if tensor.datatype != "BYTES" or tensor.shape not in ((row_count,), (row_count, 1)):
            raise _malformed(f"key {tensor.name!r} is not an input of datatype BYTES and shape [{row_count}]")
        for value in tensor.values:
            if value is not None and predictions.TAKEN[release.Datatype.BYTES](value) is None:
                raise _malformed(f"key {tensor.name!r} holds {predictions.shown(value)}, which is no text")
        found[tensor.name] = tensor.values  # type: ignore[assignment]  # of BYTES it is a list
    return found
