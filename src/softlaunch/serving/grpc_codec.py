"""
Messages of the Open Inference Protocol's gRPC form to requests, and answers to messages.

A request's tensors are in typed fields (`contents`) or in bytes beside them (`raw_input_contents`, one for each input);
the answer has the form its request has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import oip, oip_tensors, predictions, release
from softlaunch.serving import grpc_messages, readiness

_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""FP16 and BF16 have no field: they are sent as bytes only."""
_malformed = oip_tensors.malformed


def parse_message(name: str, body: bytes) -> Any:
    """
    The message of a body.

    Raises:
        MalformedError: it is no such message.
    """
    try:
        return grpc_messages.message(name).FromString(body)
    except grpc_messages.unreadable() as error:
        raise predictions.MalformedError(
            f"The body is not a message {grpc_messages.PACKAGE}.{name}.",
            remedy="Make the client from the protocol's own open_inference_grpc.proto.",
        ) from error


def parse_request(message: Any, loaded: readiness.Loaded) -> oip.InferRequest:
    """
    Rows of a ModelInferRequest.

    Raises:
        ConfigError: as core.oip.parse_request.
    """
    if not message.inputs:
        raise _malformed("'inputs' has no tensors")
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise _malformed(f"there are {len(raw)} raw_input_contents for {len(message.inputs)} inputs")
    envelope = oip.Envelope(
        id=message.id or None,
        parameters=_parameters(message, "the request"),
        outputs=[(found.name, _parameters(found, f"output {found.name!r:.100}")) for found in message.outputs],
    )
    return oip.assemble(
        [_tensor(found, raw[number] if raw else None) for number, found in enumerate(message.inputs)],
        envelope,
        loaded.signature,
        keys=loaded.keys,
        row_count_max=loaded.batcher.queue_rows_max,
    )


def response(
    *,
    model: str,
    version: str,
    request: oip.InferRequest,
    signature: release.Signature,
    columns: Mapping[str, Sequence[Any]],
    is_raw: bool,
) -> bytes:
    """
    The answer to `request` as a ModelInferResponse.

    Args:
        model: Its name.
        version: DIGEST12.
        request: Which outputs, and the id.
        signature: The outputs' datatypes.
        columns: Values by output name.
        is_raw: The values as raw_output_contents.

    Raises:
        MalformedError: a value is null, and a message has no null for its datatype.
    """
    message = grpc_messages.message("ModelInferResponse")(model_name=model, model_version=version, id=request.id or "")
    datatypes = {found.name: found.datatype for found in signature.outputs}
    for asked in request.outputs:
        datatype, values = datatypes[asked.name], columns[asked.name]
        output = message.outputs.add(name=asked.name, datatype=datatype.value, shape=[len(request.rows)])
        if is_raw or None in values:
            raw = oip_tensors.to_bytes(asked.name, datatype, values)
        if is_raw:
            message.raw_output_contents.append(raw)
        else:
            getattr(output.contents, _CONTENTS[datatype.value]).extend(_plain(datatype, values))
    encoded: bytes = message.SerializeToString()
    return encoded


def metadata(document: Mapping[str, Any]) -> bytes:
    """A ModelMetadataResponse of what core.oip.model_metadata says."""
    message = grpc_messages.message("ModelMetadataResponse")(
        name=document["name"], versions=document["versions"], platform=document["platform"]
    )
    for side in ("inputs", "outputs"):
        for found in document[side]:
            getattr(message, side).add(**found)
    encoded: bytes = message.SerializeToString()
    return encoded


def _plain(datatype: release.Datatype, values: Sequence[Any]) -> Sequence[Any]:
    if datatype is release.Datatype.BYTES:
        return [(value or "").encode() for value in values]
    return [float("nan") if value is None else value for value in values]


def _tensor(found: Any, raw: bytes | None) -> oip_tensors.Tensor:
    name, shape, datatype = found.name, found.shape, found.datatype
    if datatype not in oip_tensors.KNOWN:
        raise _malformed(
            f"input {name!r:.100} has datatype {predictions.shown(datatype)}, which the protocol does not know"
        )
    if any(size < 0 for size in shape[:3]):
        raise _malformed(f"input {name!r:.100} has a negative size in its shape")
    _parameters(found, f"input {name!r:.100}")
    sent = [field.name for field, _ in found.contents.ListFields()] if found.HasField("contents") else []
    if raw is not None:
        if sent:
            raise _malformed(f"input {name!r:.100} has {sent[0]} where the request has raw_input_contents")
        return oip_tensors.of_bytes(name, shape, datatype, raw)
    field = _CONTENTS.get(datatype)
    if field is None:
        raise _malformed(f"input {name!r:.100} of datatype {datatype} can only be sent in raw_input_contents")
    if any(other != field for other in sent):
        other = next(other for other in sent if other != field)
        raise _malformed(f"input {name!r:.100} of datatype {datatype} has {other} where it should have {field}")
    values = list(getattr(found.contents, field))
    return oip_tensors.of_values(name, shape, datatype, [_text(v) for v in values] if datatype == "BYTES" else values)


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value  # whoever wants text names row and column


def _parameters(found: Any, whose: str) -> Mapping[str, Any]:
    parameters: dict[str, Any] = {}
    for name, value in found.parameters.items():
        choice = value.WhichOneof(grpc_messages.PARAMETER_CHOICE)
        parameters[name] = None if choice is None else getattr(value, choice)
    return oip.check_parameters(parameters, whose)
