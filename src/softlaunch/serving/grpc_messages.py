"""
The gRPC messages of the Open Inference Protocol, as protobuf classes made when the first of them is needed.

Their description is the table below: no generated code, which would be tied to one version of protobuf. They live in a
pool of their own, so that a model's code may bring its own `inference` package into this process.

Source:
    https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

PACKAGE = "inference"
_TYPES: Mapping[str, int] = {
    # Of FieldDescriptorProto.
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "message": 11,
    "bytes": 12,
    "uint32": 13,
}
_OPTIONAL, _REPEATED = 1, 3

_TENSOR = ("name=1 string", "datatype=2 string", "shape=3 *int64", "parameters=4 {InferParameter}")
_MESSAGES: Mapping[str, tuple[str, ...]] = {
    # NAME=NUMBER TYPE; *TYPE is repeated, {TYPE} a map from string.
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live=1 bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready=1 bool",),
    "ModelReadyRequest": ("name=1 string", "version=2 string"),
    "ModelReadyResponse": ("ready=1 bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name=1 string", "version=2 string", "extensions=3 *string"),
    "ModelMetadataRequest": ("name=1 string", "version=2 string"),
    "ModelMetadataResponse": (
        "name=1 string",
        "versions=2 *string",
        "platform=3 string",
        "inputs=4 *ModelMetadataResponse.TensorMetadata",
        "outputs=5 *ModelMetadataResponse.TensorMetadata",
    ),
    "ModelMetadataResponse.TensorMetadata": ("name=1 string", "datatype=2 string", "shape=3 *int64"),
    "ModelInferRequest": (
        "model_name=1 string",
        "model_version=2 string",
        "id=3 string",
        "parameters=4 {InferParameter}",
        "inputs=5 *ModelInferRequest.InferInputTensor",
        "outputs=6 *ModelInferRequest.InferRequestedOutputTensor",
        "raw_input_contents=7 *bytes",
    ),
    "ModelInferRequest.InferInputTensor": (*_TENSOR, "contents=5 InferTensorContents"),
    "ModelInferRequest.InferRequestedOutputTensor": ("name=1 string", "parameters=2 {InferParameter}"),
    "ModelInferResponse": (
        "model_name=1 string",
        "model_version=2 string",
        "id=3 string",
        "parameters=4 {InferParameter}",
        "outputs=5 *ModelInferResponse.InferOutputTensor",
        "raw_output_contents=6 *bytes",
    ),
    "ModelInferResponse.InferOutputTensor": (*_TENSOR, "contents=5 InferTensorContents"),
    "InferParameter": (
        # All of these are members of the oneof `parameter_choice`.
        "bool_param=1 bool",
        "int64_param=2 int64",
        "string_param=3 string",
        "double_param=4 double",
        "uint64_param=5 uint64",
    ),
    "InferTensorContents": (
        "bool_contents=1 *bool",
        "int_contents=2 *int32",
        "int64_contents=3 *int64",
        "uint_contents=4 *uint32",
        "uint64_contents=5 *uint64",
        "fp32_contents=6 *float",
        "fp64_contents=7 *double",
        "bytes_contents=8 *bytes",
    ),
}
PARAMETER_CHOICE = "parameter_choice"


@functools.cache
def message(name: str) -> Any:
    """
    The class of a message, such as `ModelInferRequest`.

    Raises:
        ImportError: the protobuf package is not there.
    """
    from google.protobuf import message_factory  # noqa: PLC0415  # only gRPC requests need it

    descriptor = _pool().FindMessageTypeByName(f"{PACKAGE}.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(_pool()).GetPrototype(descriptor)  # before protobuf 4.22


@functools.cache
def unreadable() -> type[Exception]:
    """What a message's FromString raises."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415  # as above

    error: type[Exception] = DecodeError
    return error


@functools.cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool  # noqa: PLC0415  # as above

    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in _MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=inner)
        for field in fields:
            _add_field(made[name], name, field)
    choices = made["InferParameter"]
    choices.oneof_decl.add(name=PARAMETER_CHOICE)
    for field in choices.field:
        field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(owner: Any, owner_name: str, field: str) -> None:
    head, kind = field.split(" ")
    name, number = head.split("=")
    added = owner.field.add(name=name, number=int(number), label=_OPTIONAL)
    if kind.startswith("{"):
        entry = owner.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "", "key=1 string")
        _add_field(entry, "", f"value=2 {kind[1:-1]}")
        kind = f"*{owner_name}.{entry.name}"
    if kind.startswith("*"):
        added.label = _REPEATED
        kind = kind[1:]
    if kind in _TYPES:
        added.type = _TYPES[kind]
    else:
        added.type = _TYPES["message"]
        added.type_name = f".{PACKAGE}.{kind}"
