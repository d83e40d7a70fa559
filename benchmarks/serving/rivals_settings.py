"""
What was tried for every rival, and what was the fastest, per model: rivals/chosen.json, written by `rivals.py tune`.

Nothing here is exotic: all of it is in the rivals' documentation as a setting or as a recommended way of writing a
service. One worker (process that calls the model) each; BLAS and OpenMP have one thread, as on one core they should.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import rivals_servers

CHOSEN = rivals_servers.SERVICES / "chosen.json"
CONNECTIONS = (16, 64)
ONE_CORE, BOTH_CORES = "0", "0,1"
CLIENT_CORE = "1"
RIVALS = ("mlserver", "litserve", "bentoml", "ray", "fastapi")
NAMES = {
    "softlaunch": "softlaunch",
    "mlserver": "MLServer",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "ray": "Ray Serve",
    "fastapi": "FastAPI + uvicorn",
}
BY_HAND = "by hand"
"""FastAPI without pydantic: a row of its own, because what it answers to a wrong request is a 500."""


def softlaunch(
    engine: str, *, capture: bool = True, protocol: str = "rows", connections: int = 128
) -> rivals_servers.Variant:
    """Ours. It has one way to run; 128 connections gave it a tenth more than 64."""
    settings = {"capture": capture, "protocol": protocol}
    return rivals_servers.Variant(rival="softlaunch", engine=engine, settings=settings, connections=connections)


def tried(rival: str) -> list[dict[str, Any]]:
    """Settings; "cores" is which cores its processes may use, beside the client's on the second."""
    if rival == "mlserver":
        # A worker process of its own (parallel_workers: 1, both cores) had a third to a half of these in every trial.
        alone = {"parallel_workers": 0, "max_batch_size": 0, "max_batch_time": 0.0, "cores": ONE_CORE}
        batched = alone | {"max_batch_size": 64, "max_batch_time": 0.001}
        return [alone, batched, batched | {"max_batch_time": 0.005}]
    if rival == "litserve":
        # Without a batch timeout, or without batches, its worker polls: half as many requests.
        batched = {"max_batch_size": 64, "batch_timeout": 0.005, "fast_queue": True, "cores": ONE_CORE}
        both = batched | {"cores": BOTH_CORES}
        return [batched, both, both | {"fast_queue": False}, both | {"max_batch_size": 16, "batch_timeout": 0.01}]
    if rival == "bentoml":
        one = {"batchable": False, "handler": "async", "threads": 1, "cores": ONE_CORE}
        batched = {"batchable": True, "max_batch_size": 64, "max_latency_ms": 1_000, "threads": 1, "cores": ONE_CORE}
        return [one, one | {"handler": "sync"}, batched]
    if rival == "ray":
        one = {"batch": False, "max_batch_size": 1, "batch_wait_timeout_s": 0.0, "cores": BOTH_CORES}
        one |= {"throughput_optimized": True, "haproxy": True}
        batched = one | {"batch": True, "max_batch_size": 64, "batch_wait_timeout_s": 0.005}
        return [one, batched, batched | {"haproxy": False}]
    handlers = ("async", "async, orjson response", "sync")
    settings = [{"handler": handler, "loop": "uvloop", "uds": True, "cores": ONE_CORE} for handler in handlers]
    return [*settings, settings[1] | {"uds": False}]


def candidates(rival: str, engine: str) -> list[rivals_servers.Variant]:
    """Everything tried for it."""
    return [rivals_servers.Variant(rival=rival, engine=engine, settings=each) for each in tried(rival)]


def chosen(rival: str, engine: str, model: str) -> rivals_servers.Variant:
    """The fastest of `tried` and CONNECTIONS."""
    found = [
        each
        for each in json.loads(CHOSEN.read_text(encoding="utf-8"))["tried"]
        if (each["rival"], each["engine"], each["model"]) == (rival, engine, model)
    ]
    if not found:
        raise SystemExit(f"Nothing was tried for {rival} / {engine} on {model}: run `rivals.py tune --only {rival}`.")
    best = max(found, key=lambda each: each["per_second"])
    return rivals_servers.Variant(
        rival=rival, engine=engine, settings=best["settings"], connections=best["connections"]
    )


def field(models: list[str], only: tuple[str, ...]) -> list[tuple[str, rivals_servers.Variant]]:
    """Every (model, server) of a run, in the table's order; what else softlaunch can do on the first model only."""
    found = []
    for model in models:
        found += [(model, softlaunch("onnx")), (model, softlaunch("sklearn"))]
        if model == models[0]:
            found += [(model, softlaunch("onnx", capture=False)), (model, softlaunch("onnx", protocol="V2"))]
        for rival in only:
            engines = ("onnx",) if rival == "fastapi" else ("sklearn", "onnx")
            found += [(model, chosen(rival, engine, model)) for engine in engines]
        if "fastapi" in only:
            pydantic = chosen("fastapi", "onnx", model)
            by_hand = dataclasses.replace(pydantic, settings={**pydantic.settings, "handler": BY_HAND})
            found.append((model, by_hand))
    return found
