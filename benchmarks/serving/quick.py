"""
Single-row requests per second of one model server against FastAPI + uvicorn + onnxruntime on the same model.

Closed loop: 64 connections, each sending its next request when the last was answered, from a client in this process
over Unix sockets. Both servers run throughout, rounds alternate, and the ratio is taken per round, because machines are
noisy and shared.

    python benchmarks/serving/quick.py --rounds 5 --out benchmarks/results/serving_quick.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time

import httpx
import numpy as np
import uvloop
from skl2onnx import to_onnx
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from softlaunch.core import predictions, release, release_json

FEATURE_COUNT = 10
CONNECTIONS = 64

BASELINE = """
    import sys
    import numpy as np, onnxruntime, pydantic, fastapi, uvicorn

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    names = [f"f{number}" for number in range(10)]
    Row = pydantic.create_model("Row", **{name: (float, ...) for name in names})
    app = fastapi.FastAPI()

    @app.post("/predict")
    async def predict(row: Row):
        features = np.array([[getattr(row, name) for name in names]], dtype=np.float32)
        label, probabilities = session.run(None, {"X": features})
        return {"prediction": {"label": int(label[0]), "probability": float(probabilities[0, 1])}}

    uvicorn.run(app, uds=sys.argv[2], loop="uvloop", access_log=False, log_level="warning")
"""


def write_release(directory: pathlib.Path) -> None:
    features, labels = make_classification(2_000, FEATURE_COUNT, random_state=0)
    features = features.astype(np.float32)
    model = LogisticRegression().fit(features, labels)
    graph = to_onnx(model, features[:1], options={"zipmap": False})
    (directory / "model").mkdir()
    (directory / "model" / "model.onnx").write_bytes(graph.SerializeToString())
    names = [f"f{number}" for number in range(FEATURE_COUNT)]
    rows = [dict(zip(names, map(float, row), strict=True)) for row in features[:20]]
    (directory / "smoke.json").write_text(json.dumps(rows))
    content = release.ReleaseContent(
        service="bench",
        runtime=release.Runtime.ONNX,
        model_file="model/model.onnx",
        python_target=None,
        signature=release.Signature(
            inputs=tuple(release.Column(name=name, datatype=release.Datatype.FP64) for name in names),
            outputs=predictions.classifier_outputs([0, 1]),
        ),
        lock_file=None,
        profile_file=None,
        smoke_file="smoke.json",
    )
    (directory / "release.json").write_bytes(release_json.dump_content(content))


def requests(directory: pathlib.Path, *, recorded: bool) -> list[bytes]:
    """Only requests with an id are recorded."""
    rows = json.loads((directory / "smoke.json").read_text())
    head = "POST /predict HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"
    bodies = [json.dumps(row).encode() for row in rows]
    identity = "x-request-id: 5f0c9a52-0f1e-4c0e-9d8e-0123456789ab\r\n\r\n"
    if recorded:
        head = head.removesuffix("\r\n") + identity
    return [head.format(len(body)).encode() + body for body in bodies]


class Connection(asyncio.Protocol):
    """Sends the next request when the whole answer to the last has arrived."""

    def __init__(self, sent: list[bytes], deadline: float, latencies: list[float]) -> None:
        self.sent, self.deadline, self.latencies = sent, deadline, latencies
        self.buffer = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.started = time.perf_counter()
        self.transport.write(self.sent[len(self.latencies) % len(self.sent)])

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        assert head.startswith(b"HTTP/1.1 200"), self.buffer
        self.buffer = b""
        now = time.perf_counter()
        self.latencies.append(now - self.started)
        if now < self.deadline:
            self.send()
        else:
            self.transport.close()
            self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("closed"))


async def load(path: pathlib.Path, sent: list[bytes], seconds: float) -> tuple[float, list[float]]:
    """Requests per second, and latencies."""
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = [
        await loop.create_unix_connection(lambda: Connection(sent, started + seconds, latencies), str(path))
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(protocol.ended for _, protocol in made))
    return len(latencies) / (time.perf_counter() - started), latencies


def wait_until_up(path: pathlib.Path, url: str) -> None:
    deadline = time.monotonic() + 20
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        while time.monotonic() < deadline:
            try:
                if client.get(f"http://bench{url}").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    raise SystemExit(f"nothing serves at {path}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--spool", action="store_true", help="record every request")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slb-") as name:
        directory = pathlib.Path(name)
        write_release(directory)
        (directory / "baseline.py").write_text(textwrap.dedent(BASELINE))
        ours, theirs = directory / "ours.sock", directory / "theirs.sock"
        python = sys.executable
        model = str(directory / "model" / "model.onnx")
        served = ["--release", name, "--socket", str(ours), "--instance", "bench"]
        if chosen.spool:
            served += ["--spool", str(directory / "spool" / "bench" / "production")]
        processes = [
            subprocess.Popen([python, "-m", "softlaunch.serving", *served]),
            subprocess.Popen([python, str(directory / "baseline.py"), model, str(theirs)]),
        ]
        try:
            wait_until_up(ours, "/v2/health/ready")
            wait_until_up(theirs, "/openapi.json")
            measure(ours, theirs, requests(directory, recorded=chosen.spool), chosen)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(10)


def measure(ours: pathlib.Path, theirs: pathlib.Path, sent: list[bytes], chosen: argparse.Namespace) -> None:
    uvloop.run(load(ours, sent, 0.5))
    uvloop.run(load(theirs, sent, 0.5))
    ratios = []
    rounds = []
    for number in range(chosen.rounds):
        rate, latencies = uvloop.run(load(ours, sent, chosen.seconds))
        rate_baseline, latencies_baseline = uvloop.run(load(theirs, sent, chosen.seconds))
        ratios.append(rate / rate_baseline)
        p50, p50_baseline = (statistics.median(found) * 1e3 for found in (latencies, latencies_baseline))
        rounds.append({"ours": rate, "fastapi": rate_baseline, "ratio": ratios[-1]})
        print(
            f"round {number + 1}: softlaunch {rate:,.0f}/s (p50 {p50:.1f} ms), "
            f"FastAPI {rate_baseline:,.0f}/s (p50 {p50_baseline:.1f} ms), ratio {ratios[-1]:.1f}"
        )
    print(f"median ratio {statistics.median(ratios):.1f}")
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps({"rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
