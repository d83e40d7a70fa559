"""When checks are asked, and what their answers amount to."""

from __future__ import annotations

import concurrent.futures
import json

import pytest

from softlaunch.controller import checks as runner
from softlaunch.core import spec
from softlaunch.ports import checks
from softlaunch.testing import checks as memory

NONE = checks.Unavailable(reason="prometheus is down")
Verdict = runner.Verdict


def check(name: str = "sales", *, kind: spec.CheckKind = spec.CheckKind.PROMQL, every: float = 30.0) -> spec.CheckSpec:
    return spec.CheckSpec(
        name=name, kind=kind, target=name, at_least=1.0, at_most=2.0, every_seconds=every, failure_count=2
    )


class Told:
    """A log of one check in virtual time."""

    def __init__(self, found: spec.CheckSpec) -> None:
        self.log = runner.Log([found])
        self.name = found.name
        self.now = 1_000.0

    def say(self, answer: checks.Answer | float) -> None:
        self.now += 30.0
        assert [self.name] == [found.name for found in self.log.due(self.now)]
        self.log.asked(self.name, self.now)
        self.log.answered(self.name, checks.Value(value=answer) if isinstance(answer, float) else answer)

    @property
    def verdict(self) -> runner.Verdict:
        return self.log.reports()[0].verdict


def test_a_check_is_asked_at_once_and_then_as_often_as_it_says() -> None:
    log = runner.Log([check(every=30.0), check("slow", every=60.0)])
    asked = []
    for now in range(1_000, 1_121, 10):
        for found in log.due(now):
            log.asked(found.name, now)
            log.answered(found.name, NONE)
            asked.append((found.name, now - 1_000))

    assert [0, 30, 60, 90, 120] == [at for name, at in asked if name == "sales"]
    assert [0, 60, 120] == [at for name, at in asked if name == "slow"]


def test_a_check_that_is_being_asked_is_not_asked_again() -> None:
    log = runner.Log([check()])
    log.asked("sales", 1_000.0)

    assert () == log.due(2_000.0)
    log.answered("sales", NONE)
    assert 1 == len(log.due(2_000.0))


def test_a_clock_that_was_set_back_silences_no_check() -> None:
    told = Told(check())
    told.say(1.5)

    assert 1 == len(told.log.due(10.0))


def test_expressions_are_nobody_s_business_here() -> None:
    log = runner.Log([check(kind=spec.CheckKind.EXPRESSION)])

    assert ((), ()) == (log.due(0.0), log.reports())


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ([], Verdict.UNANSWERED),
        ([NONE, NONE, NONE, NONE], Verdict.UNANSWERED),
        ([1.0], Verdict.PASSING),
        ([2.0, NONE, NONE], Verdict.PASSING),
        ([checks.Status(ok=True, detail="200")], Verdict.PASSING),
        ([0.5], Verdict.DOUBTED),
        ([1.5, 0.5], Verdict.DOUBTED),
        ([0.5, 1.5, 2.5], Verdict.DOUBTED),
        ([0.5, float("inf")], Verdict.BROKEN),
        ([0.5, NONE, 0.5], Verdict.BROKEN),
        ([checks.Status(ok=False, detail="500")] * 2, Verdict.BROKEN),
        ([0.5, 0.5, NONE], Verdict.BROKEN),
        ([0.5, 0.5, 1.5], Verdict.PASSING),
    ],
)
def test_no_answer_neither_breaks_nor_passes_nor_ends_a_row(answers, verdict) -> None:
    told = Told(check())
    for answer in answers:
        told.say(answer)

    assert verdict == told.verdict


def test_a_good_answer_counts_for_the_step_it_was_asked_in_only() -> None:
    told = Told(check())
    told.say(1.5)
    told.log.begin_step(told.now + 1)
    assert Verdict.UNANSWERED == told.verdict
    assert "no answer since the step began; before, 1.5 is within its bounds" == told.log.reports()[0].reason
    told.say(1.5)
    assert Verdict.PASSING == told.verdict


def test_an_answer_that_was_asked_for_before_the_step_does_not_pass_it() -> None:
    log = runner.Log([check()])
    log.asked("sales", 1_000.0)
    log.begin_step(1_001.0)
    log.answered("sales", checks.Value(value=1.5))

    assert Verdict.UNANSWERED == log.reports()[0].verdict


def test_a_row_of_broken_answers_goes_on_into_the_next_step() -> None:
    told = Told(check())
    told.say(0.5)
    told.log.begin_step(told.now + 1)
    told.say(0.5)

    assert Verdict.BROKEN == told.verdict


def test_the_reason_names_the_number_and_its_bound() -> None:
    told = Told(check())
    told.say(0.5)
    told.say(2.5)

    assert "broken 2 times in a row, last: 2.5 is above 2" == told.log.reports()[0].reason


def test_a_log_goes_on_from_its_state_and_forgets_what_is_no_check_any_more() -> None:
    told = Told(check())
    told.say(0.5)
    told.log.asked("sales", told.now + 30)
    state = json.loads(json.dumps(told.log.state(), allow_nan=False))
    restored = runner.Log([check()], state)

    assert told.log.reports() == restored.reports()
    assert () == restored.due(told.now + 31)
    assert 1 == len(restored.due(told.now + 60))  # who was being asked is asked again, in its turn
    assert Verdict.UNANSWERED == runner.Log([check("other")], state).reports()[0].verdict


def test_the_runner_asks_what_is_due_and_takes_answers_later() -> None:
    port = memory.MemoryChecks()
    port.answers["sales"] = checks.Value(value=1.5)
    log = runner.Log([check(), check("unknown")])
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        asking = runner.Runner(port, log, {}, threads)
        assert not asking.turn(1_000.0)
    assert ["sales", "unknown"] == port.asked

    assert asking.turn(1_001.0)
    assert [Verdict.PASSING, Verdict.UNANSWERED] == [found.verdict for found in log.reports()]
