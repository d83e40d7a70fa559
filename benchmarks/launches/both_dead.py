"""
Both releases dead: does every prediction get the fallback, marked and counted?

    python benchmarks/launches/both_dead.py --requests 20000 --out benchmarks/results/both_dead.json

A real `softlaunch up` in the middle of a launch at 50 %. Then every process of both releases is killed by kill -9, and
none comes back: their models refuse to load. Per kind of fallback (the body of softlaunch.yaml, a table, a Python
function): answers that are that fallback's, valid, marked with its kind, and what `softlaunch status` has counted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from typing import Any

import hammer
import httpx
import lab
import process_lab
import psutil
import record

from softlaunch.core import spec
from softlaunch.testing import releases

MORTAL = """
import os, pathlib
if pathlib.Path({flag!r}).exists():
    os._exit(3)
"""
BODY = b'{"prediction": {"label": 0, "probability": 0.25}}'
HOST = f"{lab.SERVICE}.localhost"


def fallbacks(kind: str) -> tuple[spec.FallbackSpec, ...]:
    names = list(releases.LIVE_ROW)
    if kind == "table":
        row = ",".join(["" for _ in names] + ["0", "0.25"])
        content = ",".join([*names, "label", "probability"]) + f"\r\n{row}\r\n"
        return (spec.FallbackSpec(kind=spec.FallbackKind.TABLE, target="t.csv", keys=tuple(names), content=content),)
    if kind == "python":
        content = "def answer(row):\n    return {'label': 0, 'probability': 0.25}\n"
        return (spec.FallbackSpec(kind=spec.FallbackKind.PYTHON, target="f.py:answer", content=content),)
    return ()


def environment(kind: str, *steps: spec.StepSpec) -> spec.EnvironmentSpec:
    found = lab.strategy(
        around={"fallbacks": fallbacks(kind)},
        steps=steps,
        acceptable_percent=5.0,
        holdback_percent=0.0,
        step_attempts_min=50,
        on_failure=spec.FailurePolicy.FREEZE,
    )
    return dataclasses.replace(found, fallback_body=BODY)


def measure(kind: str, count: int) -> dict[str, Any]:
    with process_lab.laboratory() as found:
        flag = found.directory / "dead"
        source = MORTAL.format(flag=str(flag)) + releases.GOOD
        stable, candidate = found.make("stable", source), found.make("candidate", source)
        everybody = spec.StepSpec(weight=spec.WEIGHT_FULL)
        found.deploy(stable, environment(kind, everybody))
        half = spec.StepSpec(weight=5_000, attempts_min=1_000_000)
        number = found.start(candidate, environment(kind, half, everybody))
        found.when(number, lambda view: view["phase"] == "stepping")
        flag.touch()
        for digest in (stable, candidate):
            for replica in found.replicas(digest):
                with contextlib.suppress(psutil.NoSuchProcess, TypeError):
                    process_lab.kill(replica["pid"])
        time.sleep(0.2)
        before = _counted(found)
        report = hammer.run(hammer.Plan(port=found.port, count=count, connections=32, host=HOST))
        answer = httpx.post(f"http://127.0.0.1:{found.port}/predict", json=releases.LIVE_ROW, headers={"host": HOST})
        until = time.monotonic() + 20.0
        while (counted := _counted(found) - before) < count + 1 and time.monotonic() < until:
            time.sleep(0.2)
        row = {
            "kind": kind,
            "requests": report["asked"],
            "marked": report["fallbacks"],
            "seen": report["seen"],
            "one_answer": json.loads(answer.content),
            "counted": counted - 1,
            "requests_per_second": report["asked"] / report["seconds"],
            "p99_ms": report["p99_ms"],
        }
        record.say(str(row))
        return row


def _counted(found: process_lab.ProcessLab) -> int:
    places = found.client.get("/v1/status")["services"]
    return int(next(place["fallback_answers"] for place in places if place["service"] == lab.SERVICE))


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="of each kind")
    options = parser.parse_args()
    record.write(options, {"rows": [measure(kind, options.requests) for kind in ("body", "table", "python")]})


if __name__ == "__main__":
    main()
