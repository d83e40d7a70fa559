from __future__ import annotations

import json
import random

import pytest

from softlaunch import errors
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge as judging
from softlaunch.core.rollout import judge_history, judge_keys, judge_memory, judge_policy, judge_report, messages

STABLE = "a" * 12
CANDIDATE = "b" * 12
ALL = judge_policy.JudgePolicy(
    enforcing=tuple(spec.GuardrailName),
    expressions=(
        judge_policy.Expression("big", "input_bytes > 900", True),
        judge_policy.Expression("watched", "cpu_ms > 1", False),
    ),
    alpha=1e-9,
    latency_history_min=60,
    sibling_wait_seconds=1.0,
)


def attempt(index: int = 0, *, candidate: bool = False, epoch: int = 1, **fields) -> attempts.Attempt:
    made = attempts.Attempt(
        started_at=index / 100,
        request_id=f"r{index}",
        service="s",
        environment="production",
        epoch=epoch,
        release=CANDIDATE if candidate else STABLE,
        composite=candidate,
        number=1,
        status=200,
        flags="-",
        latency_us=1_000,
        key="",
        invalid=False,
        shed=False,
    )
    return made._replace(**fields)


def judge_of(policy: judge_policy.JudgePolicy, shares: dict[int, float] | None = None, **given) -> judging.Judge:
    judge = judging.Judge(policy=policy, stable=STABLE, candidate=CANDIDATE, **given)
    judge.begin_epochs(shares or {1: 0.5})
    return judge


def only(name: spec.GuardrailName, **rules) -> judge_policy.JudgePolicy:
    return judge_policy.JudgePolicy(enforcing=(name,), **rules)


def report_of(judge: judging.Judge, name: str) -> judge_report.GuardrailReport:
    return next(found for found in judge.report().guardrails if found.name == name)


def traffic(count: int, seed: int) -> list[attempts.Attempt]:
    rng = random.Random(seed)
    lines = []
    for index in range(count):
        candidate = rng.random() < 0.4
        shed = rng.random() < 0.03
        lines.append(
            attempt(
                index,
                candidate=candidate,
                epoch=rng.choice((1, 2, 3)),
                shed=shed,
                status=503 if shed else rng.choice((200, 200, 200, 422, 500)),
                latency_us=int(rng.lognormvariate(9.0, 0.5)),
                key=rng.choice(("", f"user{rng.randrange(40)}")),
                output=rng.choice(("", f"n:{rng.gauss(0, 1):.4g}", "c:cat")),
                cpu_us=rng.choice((None, int(rng.lognormvariate(7.0, 0.5)))),
                memory_kib=100_000 + index * 20,
                served_count=index // 2,
                input_bytes=rng.choice((None, rng.randrange(1_000))),
                replica="c.sock" if candidate else "s.sock",
            )
        )
    return lines


def record_of(lines: list[attempts.Attempt]) -> judge_history.ArmHistory:
    record = judge_history.ArmHistory(release=STABLE, sibling_wait_seconds=1.0)
    for line in lines:
        record.observe(line)
    return record


@pytest.mark.parametrize("seed", range(12))
def test_a_restored_judge_goes_on_bit_for_bit_with_every_guardrail(seed: int) -> None:
    lines = traffic(600, seed)
    cut = random.Random(seed).randrange(600)
    record = record_of(traffic(400, seed + 100)) if seed % 2 else None
    shares = {1: 0.4, 2: 0.4, 3: 1.0 if seed % 3 else 0.4}
    whole, first = judge_of(ALL, shares, history=record), judge_of(ALL, shares, history=record)
    for index, line in enumerate(lines[:cut]):
        for judge in (whole, first):
            judge.observe(line)
            if index % 7 == 0:
                judge.observe_pair(index % 3 == 0)
            if index % 50 == 0:
                judge.observe_kill(index % 100 == 0)
    second = judging.Judge.restore(json.loads(json.dumps(first.state())), first.take_new_keys())
    for line in lines[cut:]:
        whole.observe(line)
        second.observe(line)
    for judge in (whole, second):
        judge.observe_pair(agrees=False)
        judge.observe_kill(from_candidate=True)

    assert whole.state() == second.state()
    assert whole.report() == second.report()


def test_a_state_written_before_these_guardrails_loads() -> None:
    judge = judge_of(judge_policy.JudgePolicy(latency_history_min=10))
    for index in range(60):
        judge.observe(attempt(index, candidate=index % 2 == 0, status=503 if index % 20 == 0 else 200))
    old = json.loads(json.dumps(judge.state()))
    del old["extras"], old["latency"]["sizes"], old["policy"]["expressions"], old["policy"]["disagreement_rate_max"]

    restored = judging.Judge.restore(old, judge.take_new_keys())
    assert judge.state() == restored.state()


def test_an_old_history_loads_and_a_new_one_comes_back_equal() -> None:
    record = record_of(traffic(400, 1))
    document = json.loads(json.dumps(record.to_json()))
    old = {name: document[name] for name in ("release", "trials", "events", "latency")}

    assert record.to_json() == judge_history.ArmHistory.from_json(document).to_json()
    assert 0 == judge_history.ArmHistory.from_json(old).answers.count
    assert 0 < record.shed < record.trials


def test_every_guardrail_is_reported_and_those_without_reports_decide_nothing() -> None:
    judge = judge_of(judge_policy.JudgePolicy(enforcing=tuple(spec.GuardrailName)))
    judge.observe(attempt(0, candidate=True))

    found = {str(report.name): report.enforcing for report in judge.report().guardrails}
    assert [str(name) for name in spec.GuardrailName] == list(found)
    assert {"errors", "client_errors", "latency", "invalid", "shed"} == {name for name, does in found.items() if does}


def test_the_classical_four_share_alpha_as_ever_when_only_they_enforce() -> None:
    policy = judge_policy.JudgePolicy()

    assert spec.GUARDRAILS_DEFAULT == policy.enforcing
    assert [0.68, 0.06, 0.19, 0.07] == pytest.approx([policy.weight(name) for name in spec.GUARDRAILS_DEFAULT])


def test_two_guardrails_of_one_name_are_refused() -> None:
    for names in (("errors",), ("mine", "mine")):
        rules = tuple(judge_policy.Expression(name, "shed", True) for name in names)
        with pytest.raises(errors.InvariantError):
            judge_policy.JudgePolicy(expressions=rules)


def test_an_observing_expression_reports_and_decides_nothing() -> None:
    rule = judge_policy.Expression("refused", "status == 422", False)
    judge = judge_of(judge_policy.JudgePolicy(enforcing=(spec.GuardrailName.ERRORS,), expressions=(rule,)))
    for index in range(200):
        candidate = index % 2 == 0
        judge.observe(attempt(index, candidate=candidate, status=422 if candidate else 200))

    assert not judge.failed
    assert messages.Verdict.FAIL is report_of(judge, "refused").verdict
    assert "100 of 100 candidate attempts were bad by `status == 422`" in report_of(judge, "refused").reason


def test_populations_under_different_epochs_are_never_mixed() -> None:
    # Every third request of the cohort is bad in every way, nobody else's: a cohort of its own epoch shows no
    # difference between the arms; mixed into the public traffic it is one, because most of it meets the candidate.
    def failed(epoch_of_cohort: int) -> bool:
        names = (spec.GuardrailName.ERRORS, spec.GuardrailName.OUTPUTS, spec.GuardrailName.CPU)
        judge = judge_of(judge_policy.JudgePolicy(enforcing=names, latency_history_min=50), {1: 0.1, 2: 0.9})
        rng = random.Random(1)
        for index in range(3_000):
            cohort = rng.random() < 0.3
            bad = cohort and rng.random() < 1 / 3
            judge.observe(
                attempt(
                    index,
                    candidate=rng.random() < (0.9 if cohort else 0.1),
                    epoch=epoch_of_cohort if cohort else 1,
                    status=503 if bad else 200,
                    output="c:bad" if bad else "c:good",
                    cpu_us=90_000 if bad else 1_000,
                )
            )
        return judge.failed

    assert not failed(2)
    assert failed(1)


def test_a_user_counts_once_in_the_distribution_of_answers() -> None:
    judge = judge_of(only(spec.GuardrailName.OUTPUTS, latency_history_min=20))
    for index in range(20):
        judge.observe(attempt(index, output="c:cat"))
    for index in range(500):
        judge.observe(attempt(100 + index, candidate=True, output="c:dog", key="busy"))

    found = report_of(judge, spec.GuardrailName.OUTPUTS)
    assert (1, 1) == (found.trials_candidate, found.events_candidate)
    assert "candidate answers answered something else" in found.reason


def test_in_a_shadow_both_answers_to_a_users_first_request_count() -> None:
    judge = judge_of(only(spec.GuardrailName.OUTPUTS, latency_history_min=20))
    for index in range(20):
        judge.observe(attempt(index, output="c:cat"))
    for index in range(60):
        for candidate in (False, True):
            judge.observe(
                attempt(
                    100 + index,
                    candidate=candidate,
                    output="c:dog" if candidate else "c:cat",
                    key=f"user{index % 30}",
                )
            )

    found = report_of(judge, spec.GuardrailName.OUTPUTS)
    assert (30, 30) == (found.trials_candidate, found.trials_stable)
    assert judge.failed


def test_slots_of_users_are_taken_once_and_admit_their_share() -> None:
    slots = judge_keys.UserSlots()
    admitted = sum(slots.take(f"u{number}", f"r{number}", admitted=0.1) for number in range(2_000))
    again = judge_keys.UserSlots()
    again.load(json.loads(json.dumps(slots.state())))

    # 200 expected, five standard deviations of 13.4.
    assert 133 < admitted < 267
    assert not any(again.take(f"u{number}", f"s{number}", admitted=0.1) for number in range(2_000))


def test_a_processs_first_answers_say_nothing_about_cpu_time() -> None:
    judge = judge_of(only(spec.GuardrailName.CPU, latency_history_min=20))
    for index in range(200):
        candidate = index % 2 == 0
        cpu_us = 90_000 if candidate else 1_000
        judge.observe(attempt(index, candidate=candidate, cpu_us=cpu_us, served_count=index // 4))

    assert 0 == report_of(judge, spec.GuardrailName.CPU).trials_candidate
    assert not judge.failed


def test_more_cpu_time_fails_and_says_so() -> None:
    judge = judge_of(only(spec.GuardrailName.CPU, latency_history_min=20))
    for index in range(400):
        candidate = index % 2 == 0
        judge.observe(attempt(index, candidate=candidate, cpu_us=9_000 if candidate else 1_000, served_count=60))

    assert judge.failed
    assert "used more CPU time than stable's p95" in judge.report().reason


def observe_process(
    judge: judging.Judge | judge_history.ArmHistory, replica: str, windows: int, leak_kib: int, *, candidate: bool
) -> None:
    for served in range(0, windows * judge_memory.WINDOW_REQUESTS, 25):
        memory_kib = 100_000 + served * leak_kib
        judge.observe(attempt(served, candidate=candidate, memory_kib=memory_kib, served_count=served, replica=replica))


def test_a_leak_fails_within_fifteen_windows_and_a_flat_process_passes() -> None:
    record = judge_history.ArmHistory(release=STABLE)
    observe_process(record, "s", 30, 0, candidate=False)
    leaking, flat = (judge_of(only(spec.GuardrailName.MEMORY), history=record) for _ in range(2))
    observe_process(leaking, "c", 15, 10, candidate=True)
    observe_process(flat, "c", 15, 0, candidate=True)

    assert leaking.failed
    assert "candidate windows of 250 requests grew more than stable's" in leaking.report().reason
    assert messages.Verdict.PASS is flat.report().verdict


def test_growth_that_stable_has_too_is_no_leak() -> None:
    judge = judge_of(only(spec.GuardrailName.MEMORY))
    observe_process(judge, "s", 20, 10, candidate=False)
    observe_process(judge, "c", 20, 10, candidate=True)

    assert not judge.failed


def test_a_restart_begins_with_the_first_window_again() -> None:
    windows = judge_memory.MemoryWindows()
    closed = []
    for _ in range(2):
        for served in range(0, 1_000, 10):
            found = windows.observe("c", served, 1_000 + served)
            if found is not None:
                closed.append(found)

    assert [(1, 250), (2, 250)] * 2 == closed


def test_kills_of_the_candidate_for_memory_fail_and_stables_own_do_not() -> None:
    judge, other = (judge_of(only(spec.GuardrailName.MEMORY)) for _ in range(2))
    for _ in range(15):
        judge.observe_kill(from_candidate=True)
        other.observe_kill(from_candidate=False)

    assert judge.failed
    assert not other.failed


def test_a_first_release_is_not_judged_on_memory() -> None:
    judge = judging.Judge(policy=only(spec.GuardrailName.MEMORY), stable=None, candidate=CANDIDATE)
    judge.begin_epochs({1: 1.0})
    for _ in range(50):
        judge.observe_kill(from_candidate=True)
    observe_process(judge, "c", 20, 10, candidate=True)

    assert not judge.failed
    assert not report_of(judge, spec.GuardrailName.MEMORY).enforcing


def test_shed_answers_are_events_of_their_own_guardrail_only() -> None:
    judge = judge_of(only(spec.GuardrailName.SHED))
    for index in range(100):
        candidate = index % 2 == 0
        judge.observe(attempt(index, candidate=candidate, status=503 if candidate else 200, shed=candidate))

    tally = judge.report().tally
    assert judge.failed
    assert 50 == report_of(judge, spec.GuardrailName.SHED).events_candidate
    assert (0, 50, 50) == (tally.trials_candidate, tally.trials_stable, tally.shed)
    assert 0 == report_of(judge, spec.GuardrailName.ERRORS).events_candidate


def test_pairs_fail_pass_or_say_nothing_and_need_no_traffic() -> None:
    judges = [judge_of(only(spec.GuardrailName.DISAGREEMENT)) for _ in range(3)]
    assert not report_of(judges[0], spec.GuardrailName.DISAGREEMENT).enforcing
    for index in range(200):
        judges[0].observe_pair(agrees=index % 5 != 0)
        judges[1].observe_pair(agrees=True)
        judges[2].observe_pair(agrees=index % 20 != 0)

    found = [judge.report().verdict for judge in judges]
    assert [messages.Verdict.FAIL, messages.Verdict.PASS, messages.Verdict.INCONCLUSIVE] == found
    assert "40 of 200 candidate pairs differed" in report_of(judges[0], spec.GuardrailName.DISAGREEMENT).reason


def test_a_strategys_checks_and_tolerated_disagreement_reach_the_policy() -> None:
    strategy = spec.StrategySpec(
        kind=spec.StrategyKind.CANARY,
        steps=spec.shares(10_000),
        disagreement_percent_max=3.0,
        checks=(
            spec.CheckSpec(name="slow", kind=spec.CheckKind.EXPRESSION, target="cpu_ms > 5", enforcing=False),
            spec.CheckSpec(name="web", kind=spec.CheckKind.HTTP, target="http://example.org"),
        ),
    )
    policy = judge_policy.of_strategy(strategy)

    assert 0.03 == policy.disagreement_rate_max
    assert (judge_policy.Expression("slow", "cpu_ms > 5", False),) == policy.expressions
    assert policy == judge_policy.JudgePolicy.from_json(json.loads(json.dumps(policy.to_json())))


def test_default_features_are_compared_among_all_attempts_once_somebody_looks_features_up() -> None:
    judge = judge_of(only(spec.GuardrailName.FEATURES))
    judge.observe(attempt(0))
    assert "no attempt" in report_of(judge, "features").reason.lower() or not report_of(judge, "features").enforcing

    for index in range(1, 60):
        candidate = index % 2 == 0
        judge.observe(attempt(index, candidate=candidate, features_defaulted=3 if candidate else None))

    report = report_of(judge, "features")
    assert judge.failed
    assert "features" == judge.report().guardrail
    assert report.events_stable == 0
    assert report.trials_stable > 0
    assert "went on with default features" in report.reason


def test_default_features_are_observed_unless_they_are_asked_for() -> None:
    judge = judge_of(judge_policy.JudgePolicy())
    for index in range(200):
        judge.observe(attempt(index, candidate=index % 2 == 0, features_defaulted=index % 2 == 0))

    assert not judge.failed
    assert messages.Verdict.FAIL is report_of(judge, "features").verdict
    assert not report_of(judge, "features").enforcing


def test_no_alarm_rings_for_a_candidate_whose_source_is_down_while_it_is_alone() -> None:
    judge = judge_of(only(spec.GuardrailName.FEATURES), {1: 1.0})
    for index in range(300):
        judge.observe(attempt(index, candidate=True, features_defaulted=1))

    assert not judge.failed
