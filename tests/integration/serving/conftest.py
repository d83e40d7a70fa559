"""Real model servers: release directories written by hand, processes on Unix sockets in a short private directory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper

from softlaunch.core import predictions, release, release_json

sys.path.insert(0, str(pathlib.Path(__file__).parent))

FEATURES = (
    release.Column(name="x", datatype=release.Datatype.FP64),
    release.Column(name="y", datatype=release.Datatype.FP64, nullable=True),
)


@dataclasses.dataclass
class Server:
    process: subprocess.Popen[str]
    socket: pathlib.Path

    def client(self, **more: Any) -> httpx.Client:
        # verify=False: loading certificates nobody uses takes longer than most of these tests.
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=False)
        return httpx.Client(transport=transport, base_url="http://model", **more)

    def wait_ready(self) -> Server:
        deadline = time.monotonic() + 60
        with self.client() as client:
            while time.monotonic() < deadline:
                assert self.process.poll() is None, self.process.communicate()
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/v2/health/ready").status_code == 200:
                        return self
                time.sleep(0.02)
        raise AssertionError("not ready in 60 s")


@pytest.fixture
def place() -> Iterator[pathlib.Path]:
    """Short, because a socket's path must be."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="sls-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(place: pathlib.Path) -> Iterator[Callable[..., Server]]:
    """Starts model servers and stops them, by pid, when the test is over."""
    started: list[subprocess.Popen[str]] = []

    def start(directory: pathlib.Path, *options: str, name: str = "m.sock") -> Server:
        socket = place / name
        command = [sys.executable, "-m", "softlaunch.serving", "--release", str(directory), "--socket", str(socket)]
        process = subprocess.Popen(
            [*command, "--instance", "token", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return Server(process, socket)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


@dataclasses.dataclass
class Writer:
    """Writes unpacked releases below `place`."""

    place: pathlib.Path

    def write(
        self,
        runtime: release.Runtime,
        *,
        inputs: Sequence[release.Column] = FEATURES,
        outputs: Sequence[release.Column],
        model_file: str | None = None,
        python_target: str | None = None,
        smoke: Sequence[dict[str, Any]] = ({"x": 1.0, "y": 2.0},),
        digit: str = "a",
    ) -> pathlib.Path:
        directory = self.place / "releases" / (digit * 64)
        (directory / "model").mkdir(parents=True, exist_ok=True)
        content = release.ReleaseContent(
            service="toy",
            runtime=runtime,
            model_file=model_file,
            python_target=python_target,
            signature=release.Signature(inputs=tuple(inputs), outputs=tuple(outputs)),
            lock_file=None,
            profile_file=None,
            smoke_file="smoke.json",
        )
        (directory / "release.json").write_bytes(release_json.dump_content(content))
        (directory / "smoke.json").write_text(json.dumps(list(smoke)))
        return directory

    def onnx(self, **more: Any) -> pathlib.Path:
        """prediction = x + 10 y, from one tensor of shape [N, 2]."""
        directory = self.write(
            release.Runtime.ONNX, outputs=predictions.regressor_outputs(), model_file="model/model.onnx", **more
        )
        (directory / "model" / "model.onnx").write_bytes(sum_graph())
        return directory

    def python(self, code: str, *, target: str = "served.py:Model", **more: Any) -> pathlib.Path:
        more.setdefault("outputs", predictions.regressor_outputs())
        directory = self.write(release.Runtime.PYTHON, python_target=target, **more)
        (directory / "code").mkdir(exist_ok=True)
        (directory / "code" / "served.py").write_text(textwrap.dedent(code))
        return directory


def sum_graph() -> bytes:
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "weights"], ["variable"])],
        "sum",
        [helper.make_tensor_value_info("X", floats, [None, 2])],
        [helper.make_tensor_value_info("variable", floats, [None, 1])],
        [onnx.numpy_helper.from_array(np.array([[1.0], [10.0]], dtype=np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


@pytest.fixture
def releases(place: pathlib.Path) -> Writer:
    return Writer(place)
