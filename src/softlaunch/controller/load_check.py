"""A load test as a verification: requests at a stated rate, sent by a process of its own, judged by their latency."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from softlaunch.controller import verify_outcomes
from softlaunch.core import recorded_request, spool, verify_specs
from softlaunch.core.load import verdict
from softlaunch.ports import loads

POLL_SECONDS = 0.1
BYTES_MAX = 64 << 20
"""Of all different requests of a load test together; a guess."""


_PASSED = {verdict.Verdict.PASS: True, verdict.Verdict.FAIL: False, verdict.Verdict.INVALID: None}


def of_rows(rows: Sequence[Mapping[str, Any]]) -> list[loads.Request]:
    """Requests made from rows of the reference."""
    headers = {"content-type": "application/json", "x-softlaunch-arm": spool.SHADOW}
    return [loads.Request(path="/predict", headers=headers, body=json.dumps(row).encode()) for row in rows]


def of_records(records: Sequence[spool.Record]) -> list[loads.Request]:
    """Recorded requests, the newest first, as far as there is room for them."""
    found: list[loads.Request] = []
    left = BYTES_MAX
    for each in reversed(records):
        left -= len(each.request)
        if left < 0:
            break
        headers = recorded_request.headers(each)
        found.append(loads.Request(path=recorded_request.path(each), headers=headers, body=each.request))
    return found


def check(
    job: loads.Job, *, tests: loads.Loads, wait: Callable[[float], None], tell: Callable[[str], None]
) -> verify_outcomes.Outcome:
    """
    Runs the load test to its end; a sender that runs is ended whatever is raised.

    Args:
        job: The test.
        tests: Where senders run.
        wait: Returns after so many seconds; raises to end the test.
        tell: Told how far it is.

    Raises:
        UnavailableError: the sender cannot be started, or ends without a result.
    """
    tell("load test: starting")
    run = tests.start(job)
    try:
        while (found := run.result()) is None:
            wait(POLL_SECONDS)
            told = run.progress()
            if told:
                tell(_progress(job.load, told))
    finally:
        run.stop()
    judged = verdict.judge(job.load, found)
    summary = verdict.summary(found)
    return verify_outcomes.Outcome(
        passed=_PASSED[judged.verdict],
        said=f"Load test at {job.load.rate:g}/s for {job.load.duration_seconds:g} s: {judged.reason} {summary}",
        measured={
            "verdict": judged.verdict.value,
            "reason": judged.reason,
            "wanted": {**dataclasses.asdict(job.load), "timeout_seconds": job.timeout_seconds, "seed": job.seed},
            **found,
        },
    )


def _progress(wanted: verify_specs.LoadSpec, told: Mapping[str, Any]) -> str:
    p99 = told.get("p99_ms")
    so_far = f", p99 {p99:.3g} ms so far" if p99 is not None else ""
    seconds = min(told["seconds"], wanted.duration_seconds)
    return f"load test: {seconds:.0f} of {wanted.duration_seconds:g} s{so_far}"
