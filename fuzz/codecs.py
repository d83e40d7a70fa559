"""
Coverage-guided fuzzing of everything that reads a client's bytes: whatever comes is read, or refused by its own error.

    codecs.py CORPUS [libFuzzer options]       such as -max_total_time=60

The first byte chooses the reader. Any other exception than a ConfigError, and rows or answers of a wrong shape, are a
find: libFuzzer writes the input into the working directory as crash-*. `codecs.py crash-...` runs it again.
"""

from __future__ import annotations

import json
import pathlib
import struct
import sys
import types
from typing import Any

import atheris

with atheris.instrument_imports(include=["softlaunch.core", "softlaunch.serving"]):
    from softlaunch import errors
    from softlaunch.core import predictions, release
    from softlaunch.core.shadow import answer_rows
    from softlaunch.serving import grpc_codec, grpc_messages, oip_inference, rows_codec

D = release.Datatype
SIGNATURE = release.Signature(
    inputs=(
        release.Column(name="a", datatype=D.FP64),
        release.Column(name="b", datatype=D.FP32, nullable=True),
        release.Column(name="s", datatype=D.BYTES, nullable=True),
        release.Column(name="n", datatype=D.INT64, nullable=True),
        release.Column(name="t", datatype=D.BOOL, nullable=True),
    ),
    outputs=(
        release.Column(name="label", datatype=D.BYTES),
        release.Column(name="probability", datatype=D.FP64, minimum=0.0, maximum=1.0),
        release.Column(name="rank", datatype=D.INT64),
    ),
)
ROW_COUNT_MAX = 1_000
LOADED: Any = types.SimpleNamespace(
    signature=SIGNATURE, keys=("k",), batcher=types.SimpleNamespace(queue_rows_max=ROW_COUNT_MAX)
)
ROWS = rows_codec.RowsCodec(SIGNATURE, "0123456789ab")
HTTP = oip_inference.HttpForm(service="svc", version="0123456789ab")


def check(request: Any, *, row_count_max: int | None = ROW_COUNT_MAX) -> None:
    """Rows that a model can take: as many values as features, each of its type."""
    assert request.rows
    assert row_count_max is None or len(request.rows) <= row_count_max
    for row in request.rows:
        assert len(row) == len(SIGNATURE.inputs)
        for column, value in zip(SIGNATURE.inputs, row, strict=True):
            assert predictions.check_value(column, value, 0) == value


def columns(request: Any) -> dict[str, list[Any]]:
    count = len(request.rows)
    return {"label": ["é"] * count, "probability": [0.5] * count, "rank": [-1] * count}


def predict(body: bytes) -> None:
    check(ROWS.decode(body), row_count_max=None)


def infer(body: bytes) -> None:
    """Two bytes say where the document ends; 0xffff: there is no header."""
    if len(body) < 2:
        return
    (end,) = struct.unpack_from("<H", body)
    request = HTTP.read(body[2:], None if end == 0xFFFF else str(end), LOADED)
    check(request)
    assert all(len(values) == len(request.rows) for values in request.keys.values())
    reply = HTTP.write(LOADED, request, columns(request))
    assert len(request.rows) == len(answer_rows.rows(reply.body) or ())


def grpc(body: bytes) -> None:
    message = grpc_codec.parse_message("ModelInferRequest", body)
    request = grpc_codec.parse_request(message, LOADED)
    check(request)
    reply = grpc_codec.response(
        model="svc",
        version="v",
        request=request,
        signature=SIGNATURE,
        columns=columns(request),
        is_raw=len(message.raw_input_contents) > 0,
    )
    assert len(request.rows) == len(answer_rows.rows(reply) or ())


def recorded(body: bytes) -> None:
    rows = answer_rows.rows(body)
    assert rows is None or all(isinstance(row, dict) for row in rows)


READERS = (predict, infer, grpc, recorded)


def one(data: bytes) -> None:
    if not data:
        return
    try:
        READERS[data[0] % len(READERS)](data[1:])
    except errors.ConfigError as error:
        str(error).encode()


def seeds() -> list[bytes]:
    """A good input for each reader and form: mutation reaches further from there."""
    raw = struct.pack("<2d", 1.0, 2.0) + b"\1\0\0\0x\0\0\0\0"
    inputs = [
        {"name": "a", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}},
        {"name": "s", "shape": [2, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}},
        {"name": "n", "shape": [2], "datatype": "UINT64", "data": [1, 2]},
    ]
    binary = json.dumps({"id": "q", "inputs": inputs, "parameters": {"binary_data_output": True, "k": 1}}).encode()
    matrix = {"inputs": [{"name": "X", "shape": [1, 5], "datatype": "FP16", "data": [[1, 2, 3, 4, 5]]}]}
    wanted = {"inputs": inputs[2:], "outputs": [{"name": "rank", "parameters": {"binary_data": True}}]}
    typed = grpc_messages.message("ModelInferRequest")(model_name="svc", id="q")
    typed.inputs.add(name="a", datatype="FP64", shape=[1]).contents.fp64_contents.append(1.0)
    typed.inputs.add(name="s", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"x")
    typed.parameters["k"].string_param = "v"
    typed.outputs.add(name="label")
    raws = grpc_messages.message("ModelInferRequest")(raw_input_contents=[struct.pack("<f", 1.0)])
    raws.inputs.add(name="a", datatype="FP32", shape=[1, 1])
    answer = grpc_messages.message("ModelInferResponse")(model_name="m")
    answer.outputs.add(name="y", datatype="INT64", shape=[1]).contents.int64_contents.append(-1)
    return [
        b'\0{"rows":[{"a":1,"b":null,"s":"x","n":3,"t":true}]}',
        b'\0{"a":1e5}',
        b'\0[{"a":1},{"a":2,"s":"\\u00e9"}]',
        b"\1" + struct.pack("<H", len(binary)) + binary + raw,
        b"\1\xff\xff" + json.dumps(matrix).encode(),
        b"\1\xff\xff" + json.dumps(wanted).encode(),
        b"\2" + typed.SerializeToString(),
        b"\2" + raws.SerializeToString(),
        b"\3" + answer.SerializeToString(),
        b'\3{"outputs":[{"name":"y","shape":[1],"datatype":"INT8","parameters":{"binary_data_size":1}}]}\7',
    ]


def main() -> None:
    corpus = pathlib.Path(sys.argv[1])
    if not corpus.is_file():
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            one(seed)
            (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
