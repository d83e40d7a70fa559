"""Replays in virtual time: the candidate is a function, and an hour of requests takes a second."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.controller import replay
from softlaunch.core import release, spec, spool
from softlaunch.core.rollout import messages
from softlaunch.ports import fleet, sender
from softlaunch.testing import clock as testing_clock
from softlaunch.testing import fleet as testing_fleet

STABLE, CANDIDATE = "a" * 12, "b" * 12
STRATEGY = spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=spec.shares(100, 10_000))
Answer = Callable[[spool.Record], spool.Record | None]


def recorded(count: int, *, gap_seconds: float = 0.1, **more: Any) -> list[spool.Record]:
    chance = random.Random(1)
    return [
        spool.Record(
            request_id=f"r{number}", at=1_000.0 + number * gap_seconds, release=STABLE, instance="one",
            arm=spool.PRIMARY, mirrored=False, path="/predict", content_type="application/json", request=b'{"x":1}',
            status=200, answer=json.dumps({"prediction": {"y": number}, "release": STABLE}).encode(), invalid=False,
            shed=False, service_us=int(chance.lognormvariate(6.5, 0.3)), cpu_us=50, key="", row_count=1, output="n:1",
            memory_kib=1, served_count=number, dropped=0,
        )._replace(**more)
        for number in range(count)
    ]  # fmt: skip


class VirtualSender:
    """Answers after `seconds`, on the virtual clock; tells of no answer after the timeout."""

    def __init__(self, clock: testing_clock.ManualClock, answer: Answer, *, seconds: float = 0.01) -> None:
        self._clock, self._answer, self._seconds = clock, answer, seconds
        self._waiting: list[tuple[float, sender.Sent]] = []
        self.sent: list[tuple[float, str]] = []

    def send(self, record: spool.Record) -> None:
        self.sent.append((self._clock.now(), record.request_id))
        answer = self._answer(record)
        due = self._clock.now() + (self._seconds if answer is not None else 5.0)
        self._waiting.append((due, sender.Sent(request_id=record.request_id, answer=answer)))

    def collect(self) -> Sequence[sender.Sent]:
        due = [sent for at, sent in self._waiting if at <= self._clock.now()]
        self._waiting = [each for each in self._waiting if each[0] > self._clock.now()]
        return due


def same(record: spool.Record) -> spool.Record:
    return record._replace(arm=spool.SHADOW, release=CANDIDATE)


def failing(record: spool.Record) -> spool.Record:
    return same(record)._replace(status=500, answer=b"{}")


def played(
    records: list[spool.Record], answer: Answer, *, strategy: spec.StrategySpec = STRATEGY, **more: Any
) -> tuple[replay.ReplayReport, VirtualSender, list[replay.Progress]]:
    clock = testing_clock.ManualClock()
    to = VirtualSender(clock, answer)
    told: list[replay.Progress] = []
    plan = replay.Plan(service="svc", environment="env", stable=STABLE, candidate=CANDIDATE, strategy=strategy, **more)
    return replay.run(plan, records, to=to, clock=clock, progress=told.append), to, told


def test_an_equal_release_passes_and_every_request_is_paired() -> None:
    report, _, told = played(recorded(3_000), same)

    assert messages.Verdict.PASS is report.verdict
    assert (3_000, 3_000, 1.0, 1.0) == (
        report.sent_count, report.pairs.pair_count, report.pairs.joined_share, report.pairs.agreement_rate,
    )  # fmt: skip
    assert (3_000, messages.Verdict.PASS) == (told[-1].paired_count, told[-1].verdict)
    assert len(told) > 100


def test_a_candidate_that_has_failed_is_asked_to_the_end_where_everything_is_wanted() -> None:
    report, _, _ = played(recorded(300), failing, whole=True)

    assert (messages.Verdict.FAIL, 300) == (report.verdict, report.pairs.pair_count)


def test_a_candidate_that_fails_is_failed_after_a_few_requests() -> None:
    report, _, _ = played(recorded(3_000), failing)

    assert messages.Verdict.FAIL is report.verdict
    assert "errors" in report.reason
    assert report.sent_count < 50


def test_no_answer_is_an_error() -> None:
    report, _, _ = played(recorded(500), lambda _: None)

    assert messages.Verdict.FAIL is report.verdict
    assert 0.0 == report.pairs.joined_share


def test_too_few_recordings_decide_nothing() -> None:
    report, _, _ = played(recorded(20), same)

    assert messages.Verdict.INCONCLUSIVE is report.verdict
    assert report.reason


@pytest.mark.parametrize("rate", [0.5, 1.0, 5.0])
def test_requests_go_out_at_their_recorded_spacing_over_the_rate(rate: float) -> None:
    chance = random.Random(9)
    records = [each._replace(at=1_000.0 + chance.uniform(0, 60)) for each in recorded(300)]
    records.sort(key=lambda record: record.at)

    report, to, _ = played(records, same, rate=rate)

    for (at, _), record in zip(to.sent, records, strict=True):
        assert pytest.approx((record.at - records[0].at) / rate, abs=1e-6) == at - to.sent[0][0]
    assert report.late_seconds_max < 1e-6
    assert pytest.approx(records[-1].at - records[0].at) == report.recorded_seconds


def test_a_slow_candidate_is_not_asked_more_slowly() -> None:
    clock = testing_clock.ManualClock()
    to = VirtualSender(clock, same, seconds=3.0)
    plan = replay.Plan(service="svc", environment="env", stable=STABLE, candidate=CANDIDATE, strategy=STRATEGY)

    replay.run(plan, recorded(100), to=to, clock=clock)

    assert pytest.approx(9.9, abs=1e-6) == to.sent[-1][0] - to.sent[0][0]


def test_answers_that_differ_are_shown() -> None:
    report, _, _ = played(recorded(100), lambda record: same(record)._replace(answer=b'{"prediction":{"y":-1}}'))

    assert 0.0 == report.pairs.agreement_rate
    assert "r0 [0].y: stable 0, candidate -1" == report.pairs.examples[0]


def test_disagreement_fails_when_it_shall() -> None:
    strategy = spec.StrategySpec(
        kind=spec.StrategyKind.CANARY,
        steps=spec.shares(10_000),
        guardrails=(spec.GuardrailName.ERRORS, spec.GuardrailName.DISAGREEMENT),
    )

    report, _, _ = played(
        recorded(2_000), lambda record: same(record)._replace(answer=b'{"prediction":{"y":-1}}'), strategy=strategy
    )

    assert messages.Verdict.FAIL is report.verdict


def test_latency_recorded_under_another_load_decides_nothing() -> None:
    report, _, _ = played(recorded(3_000), lambda record: same(record)._replace(service_us=record.service_us * 10))

    assert messages.Verdict.PASS is report.verdict
    assert report.pairs.latency_us["p50"][1] > 5 * report.pairs.latency_us["p50"][0]


def test_what_cannot_be_compared_is_not_sent() -> None:
    records = [
        *recorded(1),
        *recorded(1),  # a retry on stable: the same request
        recorded(1, request_id="b", release="c" * 12)[0],
        recorded(1, request_id="c", arm=spool.SHADOW)[0],
        recorded(1, request_id="d", cut=True)[0],
        recorded(1, request_id="e", shed=True)[0],
    ]

    report, to, _ = played(records, same)

    assert (["r0"], 5) == ([name for _, name in to.sent], report.skipped_count)


@pytest.mark.parametrize("records", [[], recorded(3, release="c" * 12)])
def test_nothing_recorded_is_said_with_a_remedy(records: list[spool.Record]) -> None:
    with pytest.raises(errors.ConfigError) as refused:
        played(records, same)

    assert errors.Code.NO_RECORDING is refused.value.code
    assert "capture" in refused.value.remedy


def test_redacted_requests_are_not_sent_and_counted() -> None:
    records = [record._replace(redacted=number % 3 == 0) for number, record in enumerate(recorded(30))]

    report, *_ = played(records, same)

    assert (20, 10, 0) == (report.sent_count, report.redacted_count, report.skipped_count)


def test_when_all_were_redacted_that_is_said() -> None:
    with pytest.raises(errors.ConfigError, match="redacted") as refused:
        played([record._replace(redacted=True) for record in recorded(3)], same)

    assert errors.Code.NO_RECORDING is refused.value.code


def test_a_release_is_not_replayed_against_itself() -> None:
    plan = replay.Plan(service="svc", environment="env", stable=STABLE, candidate=STABLE, strategy=STRATEGY)
    clock = testing_clock.ManualClock()

    with pytest.raises(errors.ConfigError) as refused:
        replay.run(plan, recorded(3), to=VirtualSender(clock, same), clock=clock)

    assert errors.Code.REPLAY_ITSELF is refused.value.code


def replicas(count: int) -> list[fleet.ReplicaSpec]:
    digest = release.Digest("sha256:" + "b" * 64)
    return [
        fleet.ReplicaSpec(
            name=f"svc/env/{digest.short}/{number}", service="svc", environment="env", release=digest, number=number
        )
        for number in range(count)
    ]


def test_a_candidate_s_replicas_are_waited_for() -> None:
    clock = testing_clock.ManualClock()
    found = testing_fleet.InMemoryFleet(clock=clock, start_seconds=3.0)

    assert 2 == len(set(replay.candidate_sockets(found, replicas(2), clock=clock)))


def test_a_candidate_that_is_never_ready_is_told() -> None:
    clock = testing_clock.ManualClock()
    found = testing_fleet.InMemoryFleet(clock=clock, start_seconds=1e9)

    with pytest.raises(errors.UnavailableError) as failed:
        replay.candidate_sockets(found, replicas(1), clock=clock, timeout_seconds=30.0)

    assert errors.Code.REPLAY_UNREADY is failed.value.code


def test_a_candidate_that_ends_is_told_at_once() -> None:
    clock = testing_clock.ManualClock()
    found = testing_fleet.InMemoryFleet(clock=clock)
    (one,) = replicas(1)
    found.refuse(one.release, "ended by itself with exit code 1")

    with pytest.raises(errors.UnavailableError) as failed:
        replay.candidate_sockets(found, [one], clock=clock)

    assert "exit code 1" in failed.value.message
