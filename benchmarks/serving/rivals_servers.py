"""How each server of the comparison is started, asked and understood; and what was tried to make it fast."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any

import rivals_models

SERVICES = pathlib.Path(__file__).parent / "rivals"
MARK = "SOFTLAUNCH_RIVAL_RUN"
"""A variable that every process of a server inherits, so that none is left behind or left out of the CPU time."""
REQUEST_ID = "5f0c9a52-0f1e-4c0e-9d8e-0123456789ab"
"""Only requests with an id are captured."""
START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A server with settings."""

    rival: str
    """softlaunch, or the name of a requirements file in rivals/."""
    engine: str
    """onnx or sklearn; of softlaunch: which release."""
    settings: Mapping[str, Any]
    connections: int = 64

    @property
    def key(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.rival} / {self.engine}" + (f" ({told})" if told else "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, as bytes go over the wire."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclasses.dataclass(kw_only=True)
class Running:
    """A started server."""

    variant: Variant
    process: subprocess.Popen[bytes]
    token: str
    port: int
    socket: pathlib.Path | None
    log: pathlib.Path

    def pids(self) -> list[int]:
        """Its processes, those that made sessions of their own among them."""
        mark = f"{MARK}={self.token}".encode()
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    variables = (entry / "environ").read_bytes()
                except OSError:
                    continue  # it ended, or it is somebody else's
                if mark in variables.split(b"\0"):
                    found.append(int(entry.name))
        return found

    def cpu_seconds(self) -> float:
        ticks = 0
        for pid in self.pids():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Asks it to end, then ends whatever is left of it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            targets = [self.process.pid] if number == signal.SIGTERM else self.pids()
            for pid in targets:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            deadline = time.monotonic() + STOP_SECONDS_MAX
            while time.monotonic() < deadline:
                if self.process.poll() is not None and (number == signal.SIGTERM or not self.pids()):
                    break
                time.sleep(0.05)
        if left := self.pids():
            raise SystemExit(f"{self.variant.key} cannot be stopped: {left}")


def start(
    variant: Variant, model: rivals_models.Model, place: pathlib.Path, *, cache: pathlib.Path, cores: str
) -> Running:
    """
    Starts it; see `rivals_client.wait_until_up`.

    Args:
        place: An empty directory of its own.
        cores: What taskset pins it to.
    """
    port, token = _free_port(), uuid.uuid4().hex
    path = place / "s" if variant.rival == "softlaunch" or variant.settings.get("uds") else None
    command, more = _command(variant, model, place, port, cache)
    task = {
        "engine": variant.engine,
        "model": str(model.pickle if variant.engine == "sklearn" else model.onnx),
        "port": port,
        "socket": str(path),
        "features": rivals_models.FEATURES,
        "settings": dict(variant.settings),
    }
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        **threads,
        "PYTHONPATH": str(SERVICES),
        "SOFTLAUNCH_RIVAL": json.dumps(task),
        MARK: token,
        **more,
    }
    log = place / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", cores, *command],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Running(variant=variant, process=process, token=token, port=port, socket=path, log=log)


def _command(
    variant: Variant, model: rivals_models.Model, place: pathlib.Path, port: int, cache: pathlib.Path
) -> tuple[list[str], dict[str, str]]:
    """The command line, and variables beside those that every rival gets."""
    python = cache / variant.rival / "bin" / "python"
    if variant.rival == "softlaunch":
        release = model.release if variant.engine == "onnx" else model.release_uncompiled
        spool = place / "spool" / "bench" / "production"
        return [
            *(sys.executable, "-m", "softlaunch.serving", "--release", str(release), "--socket", str(place / "s")),
            *("--instance", "bench", *(("--spool", str(spool)) if variant.settings["capture"] else ())),
        ], {}
    if variant.rival == "mlserver":
        _write_mlserver(variant, model, place, port)
        return [str(python.with_name("mlserver")), "start", str(place)], {}
    if variant.rival == "bentoml":
        target = ["serve", "bentoml_service:Service", "--host", "127.0.0.1", "--port", str(port)]
        quiet = {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(place / "bentoml")}
        return [str(python.with_name("bentoml")), *target, "--working-dir", str(SERVICES)], quiet
    if variant.rival == "ray":
        # The path of its sockets has at most 107 bytes.
        variables = {"RAY_TMPDIR": str(place), "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
        if variant.settings["throughput_optimized"]:
            variables["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"
        if variant.settings["haproxy"]:
            variables |= {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_HAPROXY_NBTHREAD": "1"}
        return [str(python), str(SERVICES / "ray_service.py")], variables
    return [str(python), str(SERVICES / f"{variant.rival}_service.py")], {}


def _write_mlserver(variant: Variant, model: rivals_models.Model, place: pathlib.Path, port: int) -> None:
    settings = variant.settings
    (place / "settings.json").write_text(
        json.dumps(
            {
                "debug": False,
                "host": "127.0.0.1",
                "http_port": port,
                "grpc_port": _free_port(),
                "metrics_endpoint": None,
                "parallel_workers": settings["parallel_workers"],
                "gzip_enabled": False,
            }
        )
    )
    implementation = "mlserver_sklearn.SKLearnModel" if variant.engine == "sklearn" else "mlserver_onnx.OnnxModel"
    (place / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "bench",
                "implementation": implementation,
                "parameters": {"uri": str(model.pickle)},
                "max_batch_size": settings["max_batch_size"],
                "max_batch_time": settings["max_batch_time"],
            }
        )
    )


def ready_path(variant: Variant) -> str:
    """A path that is answered 200 once the model is loaded."""
    return {
        "softlaunch": "/v2/health/ready",
        "mlserver": "/v2/models/bench/ready",
        "litserve": "/health",
        "bentoml": "/readyz",
        "ray": "/-/healthz",
        "fastapi": "/openapi.json",
    }[variant.rival]


def request(variant: Variant, row: tuple[float, ...]) -> Asked:
    """The request for one row, as that server wants it."""
    named: Any = dict(zip(rivals_models.FEATURES, row, strict=True))
    path, headers = "/predict", (("content-type", "application/json"),)
    if variant.rival == "mlserver":
        path = "/v2/models/bench/infer"
        tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": row}
        named = {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}
    elif variant.rival == "bentoml":
        named = {"rows": [named]} if variant.settings["batchable"] else {"row": named}
    elif variant.rival == "softlaunch":
        headers = (*headers, ("x-request-id", REQUEST_ID))
        if variant.settings.get("protocol") == "V2":
            path = "/v2/models/bench/infer"
            named = {
                "inputs": [
                    {"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in named.items()
                ]
            }
    return Asked(path=path, headers=headers, body=json.dumps(named).encode())


def probability(variant: Variant, body: bytes) -> float:
    """That of class 1 in an answer."""
    found = json.loads(body)
    if variant.rival == "mlserver":
        return float(found["outputs"][0]["data"][1])
    if variant.rival == "softlaunch":
        if variant.settings.get("protocol") == "V2":
            return float(next(each["data"][0] for each in found["outputs"] if each["name"] == "probability"))
        return float(found["prediction"]["probability"])
    return float((found[0] if isinstance(found, list) else found)["probability"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
