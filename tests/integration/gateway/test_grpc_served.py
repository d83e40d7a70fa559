"""The standard client, the gateway and real model servers, over both protocols."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import gateway_bench
import httpx
import numpy as np
import onnx
import pytest
from onnx import helper
from tritonclient import grpc as grpc_client  # type: ignore[import-untyped]
from tritonclient import http as http_client

from softlaunch.core import release, release_json
from softlaunch.core.rollout import traffic

FEATURES = ("x", "y")


def write_release(directory: pathlib.Path) -> None:
    """Answers x + y."""
    (directory / "model").mkdir(parents=True)
    inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [None]) for name in FEATURES]
    outputs = [helper.make_tensor_value_info("sum", onnx.TensorProto.DOUBLE, [None])]
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["sum"])], "sum", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, directory / "model" / "model.onnx")
    (directory / "smoke.json").write_text(json.dumps([{"x": 1.0, "y": 2.0}]))
    columns = tuple(release.Column(name=name, datatype=release.Datatype.FP64) for name in FEATURES)
    content = release.ReleaseContent(
        service="flights",
        runtime=release.Runtime.ONNX,
        model_file="model/model.onnx",
        python_target=None,
        signature=release.Signature(
            inputs=columns, outputs=(release.Column(name="sum", datatype=release.Datatype.FP64),)
        ),
        lock_file=None,
        profile_file=None,
        smoke_file="smoke.json",
    )
    (directory / "release.json").write_bytes(release_json.dump_content(content))


@pytest.fixture(scope="module")
def served(running: gateway_bench.Bench) -> Iterator[str]:
    """The socket of a real model server."""
    directory = running.directory / "release"
    write_release(directory)
    path = running.directory / f"{gateway_bench.STABLE.short}.9.real.sock"
    arguments = ["--release", str(directory), "--socket", str(path), "--instance", "real"]
    process = subprocess.Popen([sys.executable, "-m", "softlaunch.serving", *arguments])
    try:
        until = time.monotonic() + 60
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path), verify=False)) as client:
            while time.monotonic() < until:
                assert process.poll() is None
                with contextlib.suppress(httpx.TransportError):
                    if client.get("http://model/v2/health/ready").status_code == 200:
                        break
                time.sleep(0.05)
        yield str(path)
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_while_a_candidate_fails_the_standard_client_gets_stables_answers_over_both_protocols(
    bench: gateway_bench.Bench, served: str
) -> None:
    replicas = (traffic.Replica(release=gateway_bench.STABLE, number=9, socket=served),)
    stable = traffic.ArmRoute(release=gateway_bench.STABLE, replicas=replicas)
    bench.apply(weight=5000, stable=stable)
    place = f"127.0.0.1:{bench.port}"
    over_grpc, over_http = grpc_client.InferenceServerClient(place), http_client.InferenceServerClient(place)
    sums = []
    for fault in ("503", "reset", "invalid", "invalid-200"):
        bench.candidate.fault = fault
        for number in range(20):
            for made, client in ((grpc_client, over_grpc), (http_client, over_http)):
                tensors = [made.InferInput(name, [2], "FP64") for name in FEATURES]
                for tensor in tensors:
                    tensor.set_data_from_numpy(np.array([1.5, 2.0]))
                answer = client.infer("flights", tensors, headers={"x-user-id": f"user-{number}"})
                sums.append(answer.as_numpy("sum").tolist())
    tried = bench.candidate.attempts
    bench.apply(rollout=False, stable=stable)
    one = over_grpc.infer("flights", tensors_of(), headers={"x-user-id": "a"})
    live = over_grpc.is_server_live(), over_grpc.is_model_ready("flights")
    inputs = {tensor.name for tensor in over_grpc.get_model_metadata("flights").inputs}
    with pytest.raises(grpc_client.InferenceServerException) as refused:
        over_grpc.infer("flights", tensors_of()[:1])
    over_grpc.close()
    over_http.close()

    assert [[3.0, 4.0]] * 160 == sums
    assert [3.0] == one.as_numpy("sum").tolist()
    assert tried > 30
    assert (True, True) == live
    assert set(FEATURES) == inputs
    assert "INVALID_ARGUMENT" in refused.value.status()
    assert "y" in refused.value.message()


def tensors_of() -> list[grpc_client.InferInput]:
    tensors = [grpc_client.InferInput(name, [1], "FP64") for name in FEATURES]
    for tensor in tensors:
        tensor.set_data_from_numpy(np.array([1.5]))
    return tensors
