"""
The Open Inference Protocol's standard client, unchanged, against real model servers.

tritonclient speaks TCP and the server a Unix socket: bytes are carried over in between, as they are.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from softlaunch.adapters.local import replay_sender
from softlaunch.core import release, spool
from softlaunch.core.shadow import answer_rows

SERVICE = "/inference.GRPCInferenceService"
MIXED = (
    release.Column(name="x", datatype=release.Datatype.FP64),
    release.Column(name="carrier", datatype=release.Datatype.BYTES, nullable=True),
    release.Column(name="n", datatype=release.Datatype.INT64),
)
MIXED_CODE = """
    class Model:
        def predict(self, rows):
            if any(row["carrier"] == "raise" for row in rows):
                raise ValueError("as asked")
            return [
                {"label": row["carrier"] or "none", "score": row["x"], "count": row["n"], "late": row["x"] > 1}
                for row in rows
            ]
"""
MIXED_OUTPUTS = (
    release.Column(name="label", datatype=release.Datatype.BYTES),
    release.Column(name="score", datatype=release.Datatype.FP32, minimum=0.0, maximum=1.0),
    release.Column(name="count", datatype=release.Datatype.INT64),
    release.Column(name="late", datatype=release.Datatype.BOOL),
)


class Carrier:
    """Listens on a port and carries bytes to and from a Unix socket."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._open += (near, far)
                far.connect(str(self._path))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def connect() -> Iterator[Callable[[Any], triton.InferenceServerClient]]:
    """The standard client of a server."""
    opened: list[Any] = []

    def to(server: Any) -> triton.InferenceServerClient:
        carrier = Carrier(server.socket)
        client = triton.InferenceServerClient(carrier.address)
        opened.extend((carrier, client))
        return client

    yield to
    for each in reversed(opened):
        each.close()


@pytest.fixture
def mixed(serve: Callable[..., Any], releases: Any) -> Any:
    """A server whose features and outputs are of every datatype."""
    rows = [{"x": 0.5, "carrier": "AA", "n": 3}]
    return serve(releases.python(MIXED_CODE, inputs=MIXED, outputs=MIXED_OUTPUTS, smoke=rows)).wait_ready()


def tensor(name: str, values: Any, *, binary: bool = True, datatype: str | None = None) -> triton.InferInput:
    array = np.array(values)
    kinds = {"f8": "FP64", "f4": "FP32", "f2": "FP16", "i8": "INT64", "i4": "INT32", "u1": "UINT8", "O": "BYTES"}
    found = triton.InferInput(name, list(array.shape), datatype or kinds[array.dtype.str.lstrip("<|=")])
    found.set_data_from_numpy(array, binary_data=binary)
    return found


def three(*, binary: bool) -> list[triton.InferInput]:
    carriers = np.array(["AA", "ü"], dtype=object)
    return [
        tensor("x", [0.5, 0.25], binary=binary),
        tensor("carrier", carriers, binary=binary),
        tensor("n", [7, 2**62], binary=binary),
    ]


def test_the_standard_client_infers_in_every_form(mixed: Any, connect: Callable[..., Any]) -> None:
    client = connect(mixed)
    names = ["late", "label", "score", "count"]

    for binary_in, binary_out in itertools.product((True, False), repeat=2):
        outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
        found = client.infer("toy", three(binary=binary_in), outputs=outputs, request_id="q7")

        assert "q7" == found.get_response()["id"]
        assert "a" * 12 == found.get_response()["model_version"]
        labels = [each if isinstance(each, str) else each.decode() for each in found.as_numpy("label")]
        assert ["AA", "ü"] == labels
        assert [0.5, 0.25] == found.as_numpy("score").tolist()
        assert [7, 2**62] == found.as_numpy("count").tolist()
        assert [False, False] == found.as_numpy("late").tolist()
        assert names == [output["name"] for output in found.get_response()["outputs"]]

    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy")
    assert client.is_model_ready("toy", "a" * 12)
    assert not client.is_model_ready("other")
    assert ["binary_tensor_data"] == client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("toy", "a" * 12)
    assert [("x", "FP64"), ("carrier", "BYTES"), ("n", "INT64")] == [
        (each["name"], each["datatype"]) for each in metadata["inputs"]
    ]
    assert 4 == len(client.infer("toy", three(binary=True), model_version="a" * 12).get_response()["outputs"])


def test_the_standard_client_hears_what_is_wrong(mixed: Any, connect: Callable[..., Any]) -> None:
    client = connect(mixed)

    def refusal(inputs: list[triton.InferInput], **more: Any) -> tuple[str, str]:
        with pytest.raises(InferenceServerException) as caught:
            client.infer(more.pop("model", "toy"), inputs, **more)
        return caught.value.status(), caught.value.message()

    good = three(binary=True)
    nan = [tensor("x", [0.5, np.nan]), *good[1:]]
    cases = [
        (refusal(good, model="other"), "404", "There is no model 'other'"),
        (refusal(good, model_version="3"), "404", "There is no version '3'"),
        (refusal([*good, tensor("y", [1.0, 2.0])]), "422", "There is no feature 'y'"),
        (refusal(good[1:]), "422", "Feature 'x' is missing"),
        (refusal([good[0], *three(binary=True)]), "400", "input 'x' is given twice"),
        (refusal([tensor("x", [1.0]), *good[1:]]), "400", "input 'carrier' has 2 rows where 'x' has 1"),
        (refusal(nan), "422", "Row 1, column 'x': nan is not allowed"),
        (refusal([tensor("x", [[1.0, 2.0]]), *good[1:]]), "400", "input 'x' has shape [1, 2]"),
        (refusal(good, outputs=[triton.InferRequestedOutput("labels")]), "400", "there is no output 'labels'"),
        (refusal(good, outputs=[triton.InferRequestedOutput("label", class_count=2)]), "400", "'classification'"),
        (refusal(good, sequence_id=5), "400", "'sequence_id'"),
        (
            refusal([good[0], tensor("carrier", np.array(["raise", ""], dtype=object)), good[2]]),
            "500",
            "ValueError: as asked",
        ),
        (refusal([tensor("x", [0.5, 1.5]), *good[1:]]), "500", "'score' of row 1 is 1.5, outside of 0.0 to 1.0"),
    ]

    for (status, message), expected_status, expected in cases:
        assert expected_status == status, message
        assert expected in message
    assert client.is_server_ready()
    assert 2 == len(client.infer("toy", good).as_numpy("label"))


def leave_in_the_middle(server: Any, path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(server.socket))
        connection.sendall(f"POST {path} HTTP/1.1\r\nhost: model\r\ncontent-length: 1000\r\n\r\nhalf".encode())


def test_matrices_lies_and_clients_that_leave(
    serve: Callable[..., Any], releases: Any, connect: Callable[..., Any]
) -> None:
    server = serve(releases.onnx()).wait_ready()
    for path in ("/v2/models/toy/infer", f"{SERVICE}/ModelInfer"):
        for _ in range(20):
            leave_in_the_middle(server, path)
    raw = np.array([[1.0, 2.0]]).tobytes()
    tensors = [
        {"name": "X", "shape": [1, 2], "datatype": "FP64", "parameters": {"binary_data_size": 2**62}},
        {"name": "X", "shape": [2**62, 2], "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}},
        {"name": "X", "shape": [2**30, 2], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}},
        {"name": "X", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}},
        {"name": "X", "shape": [10**9, 0], "datatype": "FP32", "data": []},
    ]

    with server.client() as client:
        before = json.loads(client.get("/v2/health/ready").content)
        for found in tensors:
            head = json.dumps({"inputs": [found]}).encode()
            headers = {"inference-header-content-length": str(len(head))}
            body = head if "data" in found else head + raw
            answer = client.post("/v2/models/toy/infer", content=body, headers=headers)
            assert answer.status_code in (400, 413), answer.text
            assert "'X'" in answer.text or 413 == answer.status_code
        assert before == json.loads(client.get("/v2/health/ready").content)

    matrix = np.random.default_rng(1).integers(0, 100, size=(2_000, 2)).astype(np.float16)
    answered = connect(server).infer("toy", [tensor("X", matrix)]).as_numpy("prediction")
    assert (matrix[:, 0].astype(float) + 10 * matrix[:, 1].astype(float)).tolist() == answered.tolist()
    server.process.terminate()
    assert 0 == server.process.wait(30)


def grpc(client: Any, method: str, message: Any) -> Any:
    headers = {"content-type": "application/x-protobuf"}
    answer = client.post(f"{SERVICE}/{method}", content=message.SerializeToString(), headers=headers)
    if answer.status_code == 200:
        assert "application/x-protobuf" == answer.headers["content-type"]
        return getattr(service_pb2, f"{method}Response").FromString(answer.content)
    return answer.status_code, answer.headers["x-softlaunch-grpc-status"], answer.content


def test_grpc_messages_and_pages_are_answered_over_the_socket(mixed: Any) -> None:
    message = service_pb2.ModelInferRequest(model_name="toy", id="q")
    message.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(0.5)
    message.inputs.add(name="n", datatype="INT32", shape=[1]).contents.int_contents.append(4)

    with mixed.client() as client:
        assert grpc(client, "ServerReady", service_pb2.ServerReadyRequest()).ready
        assert 3 == len(grpc(client, "ModelMetadata", service_pb2.ModelMetadataRequest(name="toy")).inputs)
        found = grpc(client, "ModelInfer", message)
        assert [b"none"] == list(found.outputs[0].contents.bytes_contents)
        assert [4] == list(found.outputs[2].contents.int64_contents)
        message.inputs[0].shape[0] = 2
        assert (400, "3", b"") == grpc(client, "ModelInfer", message)
        large = service_pb2.ModelInferRequest(raw_input_contents=[b"\0" * 20_000_000])
        assert (413, "8", b"") == grpc(client, "ModelInfer", large)

        page = client.get("/docs")
        example = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
        assert {"x": 0.5, "carrier": "AA", "n": 3} == example["application/json"]["examples"]["one"]["value"]
        assert "text/html; charset=utf-8" == page.headers["content-type"]
        assert "carrier" in page.text


def test_replays_send_every_form_back_as_it_came(mixed: Any) -> None:
    raw = np.array([0.5]).tobytes()
    x = {"name": "x", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}
    n = {"name": "n", "shape": [1], "datatype": "INT8", "data": [3]}
    binary = json.dumps({"inputs": [x, n], "parameters": {"binary_data_output": True}}).encode() + raw
    message = service_pb2.ModelInferRequest(model_name="toy", raw_input_contents=[raw, b"\3"])
    message.inputs.add(name="x", datatype="FP64", shape=[1])
    message.inputs.add(name="n", datatype="INT8", shape=[1])
    infer = "/v2/models/toy/versions/bbbbbbbbbbbb/infer"
    sent = [
        (infer, "", binary),  # as the standard client sends it
        (infer, "application/octet-stream", binary),
        (f"{SERVICE}/ModelInfer", "application/x-protobuf", message.SerializeToString()),
        ("/predict", "application/json", b'{"x":0.5,"n":3}'),
    ]
    replay = replay_sender.SocketSender([str(mixed.socket)], release="c" * 12, timeout_seconds=30, thread_count=1)
    for number, (path, content_type, body) in enumerate(sent):
        replay.send(record(str(number), path, content_type, body))

    found: list[Any] = []
    deadline = time.monotonic() + 30
    while len(found) < len(sent) and time.monotonic() < deadline:
        found += replay.collect()
        time.sleep(0.02)
    replay.close()

    expected = [{"label": "none", "score": 0.5, "count": 3, "late": False}]
    assert [(200, expected)] * 4 == [(each.answer.status, answer_rows.rows(each.answer.answer)) for each in found]


def record(request_id: str, path: str, content_type: str, body: bytes) -> spool.Record:
    blank = dict.fromkeys(("service_us", "row_count", "memory_kib", "served_count", "dropped"), 0)
    blank |= dict.fromkeys(("release", "instance", "arm", "key", "output"), "") | {"cpu_us": None}
    blank |= {"at": 0.0, "mirrored": False, "status": 200, "answer": b"", "invalid": False, "shed": False}
    given = {"request_id": request_id, "path": path, "content_type": content_type, "request": body}
    return spool.Record(**blank, **given)
