"""
Simulated launches: what the attempt log would say, and the production judge reading it.

`launch` draws one launch as arrays, `attempts_of` turns it into attempts in the order of the log (by the time their
lines would be written, retries included), `feed` shows them to the judge one by one: as attempts, or, with
`lines=True`, encoded as the gateway writes them and read back by the gateway adapter's parser.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from softlaunch.adapters.envoy import attempt_lines
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge, judge_history, judge_policy

STABLE = "a" * 12
CANDIDATE = "b" * 12
SERVICE = "flight-delay"
ENVIRONMENT = "production"
LATENCY_MEDIAN_MS = 20.0
LATENCY_SIGMA = 0.5
"""Of the logarithm: the p99 is 3.2 times the median. With it the plain test (events only, five thresholds, all of
alpha) needs the 218 candidate requests that the reference reports for +20 %."""

HISTORY_COUNT = 5_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """
    One kind of launch. Rates are per attempt; functions of time get the fraction of the launch gone by, 0 to 1.

    `shares` are the configured shares of equally long epochs, `real_shares` what really happens (None: the same).
    """

    name: str
    attempts: int = 6_000
    per_second: float = 200.0
    shares: tuple[float, ...] = (0.1,)
    real_shares: tuple[float, ...] | None = None
    error_rate: Callable[[np.ndarray], np.ndarray] = lambda at: np.full_like(at, 0.01)
    error_rate_candidate: Callable[[np.ndarray], np.ndarray] | None = None
    client_error_rate: float = 0.01
    invalid_rate: float = 0.001
    latency_factor: Callable[[np.ndarray], np.ndarray] = np.ones_like
    latency_factor_candidate: float = 1.0
    slow_share_candidate: float = 0.0
    slow_ms: float = 0.0
    users: int = 2_000
    """Sticky users of unequal activity; 0: no key, and every request finds its own arm."""
    activity_sigma: float = 1.0
    """Of the logarithm of a user's activity: at 1 the busiest 1 % make about 9 % of the requests."""
    heavy_failures: int = 0
    """Requests, all failing, of one more user."""
    history: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    failed: bool
    passed_at: int | None
    candidate_requests: int
    """Candidate first attempts until the verdict, or in all."""
    guardrail: str | None


def attempts_of(scenario: Scenario, rng: np.random.Generator) -> list[attempts.Attempt]:
    """One launch, in the order in which the gateway would write its lines."""
    count = scenario.attempts
    gaps = rng.exponential(1.0 / scenario.per_second, count)
    started = np.cumsum(gaps)
    at = np.arange(count) / count
    epoch = (at * len(scenario.shares)).astype(int)
    share = np.array(scenario.real_shares or scenario.shares)[epoch]
    if scenario.users:
        activity = rng.lognormal(0.0, scenario.activity_sigma, scenario.users)
        user = rng.choice(scenario.users, count, p=activity / activity.sum())
        place = rng.random(scenario.users + 1)
        if scenario.heavy_failures:
            user[rng.choice(count, scenario.heavy_failures, replace=False)] = scenario.users
        candidate = place[user] < share
    else:
        user = np.zeros(count, dtype=int)
        candidate = rng.random(count) < share
    roll = rng.random(count)
    rate = scenario.error_rate(at)
    if scenario.error_rate_candidate is not None:
        rate = np.where(candidate, scenario.error_rate_candidate(at), rate)
    failed = roll < rate
    if scenario.heavy_failures:
        failed |= user == scenario.users
    roll = rng.random(count)
    refused = ~failed & (roll < scenario.client_error_rate)
    invalid = ~failed & ~refused & (roll < scenario.client_error_rate + scenario.invalid_rate)
    latency = rng.lognormal(math.log(LATENCY_MEDIAN_MS), LATENCY_SIGMA, count) * scenario.latency_factor(at)
    latency *= np.where(candidate, scenario.latency_factor_candidate, 1.0)
    slow = candidate & (rng.random(count) < scenario.slow_share_candidate)
    latency += np.where(slow, scenario.slow_ms, 0.0)
    return _in_log_order(
        started=started,
        epoch=epoch + 1,
        candidate=candidate,
        status=np.where(failed, 503, np.where(refused, 422, np.where(invalid, 500, 200))),
        latency_us=(latency * 1_000).astype(int),
        user=user if scenario.users else None,
        invalid=invalid,
        retry_failed=rng.random(count) < rate,
    )


def _in_log_order(
    *,
    started: np.ndarray,
    epoch: np.ndarray,
    candidate: np.ndarray,
    status: np.ndarray,
    latency_us: np.ndarray,
    user: np.ndarray | None,
    invalid: np.ndarray,
    retry_failed: np.ndarray,
) -> list[attempts.Attempt]:
    written = started + latency_us / 1e6
    lines = []
    columns = (started, epoch, candidate, status, latency_us, invalid, retry_failed, written)
    users = [""] * len(started) if user is None else [f"user-{number}" for number in user.tolist()]
    for index, (begin, number, on_candidate, code, latency, bad_answer, retry_fails, end) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        request_id = f"request-{index}"
        release = CANDIDATE if on_candidate else STABLE
        first = attempts.Attempt(
            started_at=begin,
            request_id=request_id,
            service=SERVICE,
            environment=ENVIRONMENT,
            epoch=number,
            release=release,
            composite=on_candidate,
            number=1,
            status=code,
            flags="-",
            latency_us=latency,
            key=users[index],
            invalid=bad_answer,
            shed=False,
        )
        lines.append((end, first))
        if code >= 500:
            retry = first._replace(
                started_at=end, release=STABLE, number=2, status=503 if retry_fails else 200, invalid=False
            )
            lines.append((end + latency / 1e6, retry))
    lines.sort(key=lambda line: line[0])
    return [attempt for _, attempt in lines]


def history_of(rng: np.random.Generator, scenario: Scenario) -> judge_history.ArmHistory:
    """What stable did before, over one whole cycle of the scenario."""
    history = judge_history.ArmHistory(release=STABLE)
    at = np.arange(HISTORY_COUNT) / HISTORY_COUNT
    latency = rng.lognormal(math.log(LATENCY_MEDIAN_MS), LATENCY_SIGMA, HISTORY_COUNT) * scenario.latency_factor(at)
    failed = rng.random(HISTORY_COUNT) < 0.01
    for index, (latency_ms, bad) in enumerate(zip(latency.tolist(), failed.tolist(), strict=True)):
        history.observe(
            attempts.Attempt(
                started_at=float(index),
                request_id=f"h{index}",
                service=SERVICE,
                environment=ENVIRONMENT,
                epoch=0,
                release=STABLE,
                composite=False,
                number=1,
                status=503 if bad else 200,
                flags="-",
                latency_us=int(latency_ms * 1_000),
                key="",
                invalid=False,
                shed=False,
            )
        )
    return history


def encode(found: Iterable[attempts.Attempt]) -> bytes:
    """The attempts as the gateway writes them, one JSON object a line."""
    stable = f"{SERVICE}/{ENVIRONMENT}/stable/{STABLE}"
    composite = f"{SERVICE}/{ENVIRONMENT}/composite/{CANDIDATE}-{STABLE}-0123456789abcdef"
    return b"".join(
        (
            f'{{"start":"{one.started_at:.6f}","id":"{one.request_id}",'
            f'"cluster":"{composite if one.composite else stable}","epoch":"{one.epoch}",'
            f'"host":"/tmp/sl/{one.release}.1.x.sock","number":"{one.number}","status":{one.status},'
            f'"flags":"{one.flags}","us":{"null" if one.latency_us is None else one.latency_us},'
            f'"key":{_quoted(one.key)},"invalid":{_quoted("1" if one.invalid else "")},"shed":null,"out":null}}\n'
        ).encode()
        for one in found
    )


def _quoted(value: str) -> str:
    return f'"{value}"' if value else "null"


def decoded(found: list[attempts.Attempt]) -> list[attempts.Attempt]:
    """The attempts written as log lines and read back by the production parser."""
    parsed = attempt_lines.Parser().parse(encode(found))
    if parsed.gaps or len(parsed.attempts) != len(found):
        raise RuntimeError(f"the parser lost lines: {parsed.gaps}")
    return parsed.attempts


def judge_for(
    scenario: Scenario, rng: np.random.Generator, policy: judge_policy.JudgePolicy | None = None
) -> judge.Judge:
    """A fresh judge that knows the scenario's epochs."""
    court = judge.Judge(
        policy=policy or judge_policy.JudgePolicy(),
        stable=STABLE,
        candidate=CANDIDATE,
        history=history_of(rng, scenario) if scenario.history else None,
    )
    for index, share in enumerate(scenario.shares):
        court.begin_epochs({index + 1: share})
    return court


def run(
    scenario: Scenario,
    seed: int,
    *,
    lines: bool = False,
    policy: judge_policy.JudgePolicy | None = None,
    until_pass: bool = False,
) -> Result:
    """One launch, judged after every line; stops at a rollback, and with `until_pass` at a promotion."""
    rng = np.random.default_rng([seed, sum(scenario.name.encode())])
    court = judge_for(scenario, rng, policy)
    found = attempts_of(scenario, rng)
    if lines:
        found = decoded(found)
    passed_at = None
    for index, attempt in enumerate(found):
        court.observe(attempt)
        if court.failed:
            break
        if until_pass and index % 20 == 0 and court.report().verdict == "pass":
            passed_at = index
            break
    report = court.report()
    return Result(
        failed=court.failed,
        passed_at=passed_at,
        candidate_requests=report.tally.trials_candidate,
        guardrail=None if report.guardrail is None else str(report.guardrail),
    )


def _task(work: tuple[Scenario, range, dict[str, Any]]) -> list[Result]:
    scenario, seeds, options = work
    return [run(scenario, seed, **options) for seed in seeds]


_SCENARIOS: dict[str, Scenario] = {}


def _task_by_name(work: tuple[str, range, dict[str, Any]]) -> list[Result]:
    return _task((_SCENARIOS[work[0]], work[1], work[2]))


def run_many(scenario: Scenario, launches: int, *, processes: int, **options: Any) -> list[Result]:
    """Launches with seeds 0, 1, 2, ...: the same results whatever the number of processes."""
    _SCENARIOS[scenario.name] = scenario  # functions do not pickle; a forked child finds them here
    size = max(1, min(50, launches // processes))
    work = [(scenario.name, range(start, min(start + size, launches)), options) for start in range(0, launches, size)]
    if processes == 1:
        return [result for chunk in work for result in _task_by_name(chunk)]
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        return [result for chunk in pool.imap(_task_by_name, work) for result in chunk]


def quantile(values: list[int], probability: float) -> int:
    """The smallest value that at least this share of the values do not exceed."""
    return sorted(values)[math.ceil(probability * len(values)) - 1]


def arguments(description: str, launches: int) -> argparse.Namespace:
    """The options every benchmark of the judge takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--launches", type=int, default=launches, help="per scenario")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--lines", action="store_true", help="write and parse attempt-log lines on the way")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--out", type=pathlib.Path, help="write the results as JSON")
    return parser.parse_args()


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The function's answer, and how many seconds it took."""
    begun = time.perf_counter()
    return function(), time.perf_counter() - begun


def save(path: pathlib.Path | None, document: dict[str, Any]) -> None:
    """Write the results where asked."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


GUARDRAILS = tuple(str(name) for name in spec.GuardrailName)
