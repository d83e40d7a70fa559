from __future__ import annotations

import json
import math
import random

import hypothesis
import pytest
from hypothesis import strategies

from softlaunch import errors
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge as judging
from softlaunch.core.rollout import judge_history, judge_keys, judge_policy, judge_report, messages
from softlaunch.core.stats import absolute, relative

STABLE = "a" * 12
CANDIDATE = "b" * 12
ERRORS_ONLY = judge_policy.JudgePolicy(enforcing=(spec.GuardrailName.ERRORS,))


def attempt(
    index: int = 0,
    *,
    candidate: bool = False,
    epoch: int = 1,
    status: int = 200,
    flags: str = "-",
    latency_us: int | None = 1_000,
    key: str = "",
    invalid: bool = False,
    shed: bool = False,
    release: str | None = None,
    composite: bool | None = None,
    number: int = 1,
) -> attempts.Attempt:
    return attempts.Attempt(
        started_at=index / 100,
        request_id=f"r{index}",
        service="s",
        environment="production",
        epoch=epoch,
        release=release if release is not None else CANDIDATE if candidate else STABLE,
        composite=candidate if composite is None else composite,
        number=number,
        status=status,
        flags=flags,
        latency_us=latency_us,
        key=key,
        invalid=invalid,
        shed=shed,
    )


def judge_of(
    policy: judge_policy.JudgePolicy | None = None, *, share: float = 0.1, stable: str | None = STABLE, history=None
) -> judging.Judge:
    judge = judging.Judge(
        policy=policy or judge_policy.JudgePolicy(), stable=stable, candidate=CANDIDATE, history=history
    )
    judge.begin_epochs({1: share})
    return judge


def guardrail(judge: judging.Judge, name: spec.GuardrailName) -> judge_report.GuardrailReport:
    return next(found for found in judge.report().guardrails if found.name is name)


def history_of(*, trials: int = 1_000, failed: int = 0, release: str = STABLE) -> judge_history.ArmHistory:
    history = judge_history.ArmHistory(release=release)
    for index in range(trials):
        status = 503 if index < failed else 200
        history.observe(attempt(index, release=release, status=status, latency_us=10 * (index % 100 + 1)))
    return history


def observe_stable(judge: judging.Judge, count: int) -> None:
    """Attempts of stable before the candidate's first ones, as many as its share makes likely."""
    for index in range(count):
        judge.observe(attempt(1_000_000 + index)._replace(started_at=0.0))


def traffic(count: int, seed: int, *, share: float = 0.1, worse: float = 1.0) -> list[attempts.Attempt]:
    rng = random.Random(seed)
    lines = []
    for index in range(count):
        candidate = rng.random() < share
        roll = rng.random() / (worse if candidate else 1.0)
        composite = candidate or rng.random() < 0.05
        lines.append(
            attempt(
                index,
                candidate=candidate,
                composite=composite,
                epoch=rng.choice((1, 2)),
                status=503 if roll < 0.05 else 422 if roll < 0.08 else 500 if roll < 0.1 else 200,
                invalid=0.08 <= roll < 0.1,
                shed=rng.random() < 0.01,
                latency_us=None if rng.random() < 0.02 else int(rng.lognormvariate(9.0, 0.5)),
                flags="UT" if rng.random() < 0.05 else "-",
                key=rng.choice(("", f"user{rng.randrange(40)}")),
                number=rng.choice((1, 1, 1, 2)),
            )
        )
    return lines


@pytest.mark.parametrize("reset", [{"status": 503}, {"status": 0, "flags": "UC", "latency_us": None}])
def test_three_failed_requests_at_a_tenth_of_the_traffic_are_enough(reset: dict) -> None:
    judge = judge_of()
    for index in range(27):
        judge.observe(attempt(index))
    for index in range(3):
        assert not judge.failed
        judge.observe(attempt(100 + index, candidate=True, **reset))

    report = judge.report()
    assert judge.failed
    assert messages.Verdict.FAIL is report.verdict
    assert spec.GuardrailName.ERRORS is report.guardrail
    assert judge_report.DecidedBy.RELATIVE is report.decided_by
    assert "3 of 3 candidate attempts failed, 0 of 27 on stable" in report.reason
    assert 3 == judge.events_to_fail(0.1)


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ({"status": 422}, spec.GuardrailName.CLIENT_ERRORS),
        ({"status": 500, "invalid": True}, spec.GuardrailName.INVALID),
    ],
)
def test_four_refused_or_invalid_answers_are_enough(bad: dict, name: spec.GuardrailName) -> None:
    judge = judge_of()
    observe_stable(judge, 27)
    for index in range(4):
        assert not judge.failed
        judge.observe(attempt(index, candidate=True, **bad))

    assert name is judge.report().guardrail


def test_a_verdict_of_fail_stays() -> None:
    judge = judge_of()
    observe_stable(judge, 27)
    for index in range(3):
        judge.observe(attempt(index, candidate=True, status=503))
    assert judge.failed
    reason = judge.report().reason
    for index in range(2_000):
        judge.observe(attempt(100 + index, candidate=True))
        judge.observe(attempt(5_000 + index, status=503))

    assert judge.failed
    assert reason == judge.report().reason


def test_without_attempts_nothing_passes() -> None:
    for judge in (judge_of(), judge_of(history=history_of()), judge_of(share=1.0), judge_of(stable=None)):
        report = judge.report()
        assert messages.Verdict.INCONCLUSIVE is report.verdict
        assert "no candidate attempt was seen" in report.reason


def test_stable_traffic_alone_neither_passes_nor_fails_the_candidate() -> None:
    for latency_us in (1, 600, 1_000, 10_000):  # far below and far above every threshold, and in between
        judge = judge_of(history=history_of())
        for index in range(5_000):
            judge.observe(attempt(index, status=503 if index % 10 == 0 else 200, latency_us=latency_us))

        assert messages.Verdict.INCONCLUSIVE is judge.report().verdict


@pytest.mark.parametrize(
    "silent",
    [{"status": 0, "flags": "-", "latency_us": None}, {"status": 503, "shed": True}, {"status": 0, "flags": "DC"}],
)
def test_censored_and_shed_attempts_are_neither_trials_nor_events(silent: dict) -> None:
    judge = judge_of()
    for index in range(2_000):
        judge.observe(attempt(index, candidate=True, **silent))

    report = judge.report()
    assert messages.Verdict.INCONCLUSIVE is report.verdict
    assert 0 == report.tally.trials_candidate
    assert 2_000 == report.tally.shed + report.tally.censored


def test_clean_attempts_pass_errors_after_some_five_hundred() -> None:
    judge = judge_of(ERRORS_ONLY)
    passed_at = None
    for index in range(700):
        judge.observe(attempt(index, candidate=True))
        if passed_at is None and judge.report().verdict is messages.Verdict.PASS:
            passed_at = index + 1

    # 0.8 of the e-value is the bound's; the comparison has seen no event and its 0.2 is still worth 0.2.
    bound = absolute.below(0.01)
    expected = next(count for count in range(700) if 0.8 * math.exp(bound.log_e(bad=0, count=count)) + 0.2 >= 100)
    assert expected == passed_at
    assert passed_at < 560
    assert judge_report.DecidedBy.ABSOLUTE is judge.report().decided_by


def test_as_many_errors_as_stable_pass_by_comparison_when_both_are_above_acceptable() -> None:
    judge = judge_of(ERRORS_ONLY, share=0.5)
    for index in range(4_000):
        judge.observe(attempt(index, candidate=index % 2 == 0, status=503 if index % 40 in (0, 1) else 200))

    report = judge.report()
    assert messages.Verdict.PASS is report.verdict
    assert judge_report.DecidedBy.RELATIVE is report.decided_by


def test_all_enforcing_guardrails_must_pass() -> None:
    judge = judge_of()  # no history, and too few stable attempts for thresholds
    for index in range(2_000):
        judge.observe(attempt(index, candidate=True))

    assert messages.Verdict.PASS is guardrail(judge, spec.GuardrailName.ERRORS).verdict
    assert messages.Verdict.INCONCLUSIVE is judge.report().verdict
    assert "0 of 200 stable attempts" in judge.report().reason


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5])
def test_equal_latencies_pass_within_two_thousand_candidate_attempts(share: float) -> None:
    judge = judge_of(share=share, history=history_of())
    rng = random.Random(5)
    index = candidate_count = 0
    while judge.report().verdict is not messages.Verdict.PASS if index % 100 == 0 else True:
        candidate = rng.random() < share
        candidate_count += candidate
        judge.observe(attempt(index, candidate=candidate, latency_us=10 * rng.randrange(1, 101)))
        index += 1
        assert candidate_count <= 2_000
    assert not judge.failed


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    seed=strategies.integers(0, 2**32), cut=strategies.integers(0, 400), with_history=strategies.booleans()
)
@hypothesis.example(seed=6201, cut=0, with_history=False)  # a fresh process was 1, a restored one the sum of its parts
def test_a_restored_judge_goes_on_bit_for_bit(*, seed: int, cut: int, with_history: bool) -> None:
    lines = traffic(400, seed, share=0.3)
    policy = judge_policy.JudgePolicy(
        latency_slo_ms=20.0 if seed % 2 else None, latency_history_min=60, sibling_wait_seconds=1.0, alpha=1e-6
    )
    history = history_of() if with_history else None

    def fresh() -> judging.Judge:
        judge = judge_of(policy, share=0.3, history=history)
        judge.begin_epochs({2: 1.0 if seed % 3 == 0 else 0.3})
        return judge

    whole = fresh()
    first = fresh()
    keys: list[judge_keys.DepartedKey] = []
    for line in lines[:cut]:
        whole.observe(line)
        first.observe(line)
        if line.number == 2:
            keys += first.take_new_keys()
    keys += first.take_new_keys()
    second = judging.Judge.restore(json.loads(json.dumps(first.state())), reversed(keys))
    for line in lines[cut:]:
        whole.observe(line)
        second.observe(line)

    assert whole.state() == second.state()
    assert whole.report() == second.report()
    assert whole.take_new_keys() == keys + second.take_new_keys()


def test_one_user_who_always_fails_is_no_evidence_beyond_the_first_failure() -> None:
    judge = judge_of(ERRORS_ONLY, share=0.5)
    judge.observe(attempt(0, candidate=True, status=503, key="unlucky"))
    after_the_first = judge.report().log_e
    for index in range(1, 200):
        judge.observe(attempt(index, candidate=True, status=503, key="unlucky"))

    # Nobody else has failed before, so the share at risk is 1 and nothing is learned.
    assert after_the_first == pytest.approx(judge.report().log_e)
    assert 200 == guardrail(judge, spec.GuardrailName.ERRORS).events_candidate
    ((_, epoch),) = judge.state()["epochs"]
    assert [199, 0, 0] == epoch["left"] == epoch["candidate_left"]
    assert 1 == epoch["repeats"][0][0][2]


def test_users_who_failed_before_are_compared_with_each_other() -> None:
    judge = judge_of(ERRORS_ONLY, share=0.5)
    for index in range(400):  # everybody fails once, and then only the candidate's users fail again
        judge.observe(attempt(index, candidate=index % 2 == 0, status=503, key=f"u{index}"))
    assert not judge.failed
    for index in range(400):
        judge.observe(attempt(1_000 + index, candidate=index % 2 == 0, key=f"u{index}"))
    for index in range(0, 400, 2):
        judge.observe(attempt(2_000 + index, candidate=True, status=503, key=f"u{index}"))

    assert judge.failed


def test_a_user_leaves_the_last_stratum_for_good() -> None:
    judge = judge_of(ERRORS_ONLY, share=0.5)
    for index in range(50):
        judge.observe(attempt(index, candidate=True, status=503, key="unlucky"))

    expected = [
        judge_keys.DepartedKey(spec.GuardrailName.ERRORS, judge_keys.key_hash("unlucky", number + 1))
        for number in range(judge_keys.STRATA)
    ]
    assert expected == judge.take_new_keys()
    assert [] == judge.take_new_keys()


def test_a_user_who_failed_still_counts_in_the_other_guardrails() -> None:
    judge = judge_of(share=0.5)
    judge.observe(attempt(0, candidate=True, status=503, key="u"))
    judge.observe(attempt(1, candidate=True, status=422, key="u"))

    assert [spec.GuardrailName.ERRORS, spec.GuardrailName.CLIENT_ERRORS] == [
        key.guardrail for key in judge.take_new_keys()
    ]


def test_without_dedupe_every_failure_counts() -> None:
    judge = judge_of(judge_policy.JudgePolicy(dedupe_keys=False))
    observe_stable(judge, 27)
    for index in range(3):
        judge.observe(attempt(index, candidate=True, status=503, key="unlucky"))

    assert judge.failed
    assert [] == judge.take_new_keys()


def test_the_share_is_the_observed_one_of_the_epoch_and_excludes_the_attempt_itself() -> None:
    judge = judge_of(ERRORS_ONLY, share=0.1)
    for index in range(500):
        judge.observe(attempt(index, candidate=index % 2 == 0))
    judge.observe(attempt(1_000, candidate=True, status=503))

    # 250 of 500 seen, and drawn to the configured 0.1 as if 5 of 50 had been seen before: the larger of the two priors'
    # shares is this one, and it does not count the event's own attempt.
    expected = relative.RelativeProcess(reserve=judge_policy.RESERVE)
    expected.update(from_candidate=True, rho=255 / 550)
    assert expected.state() == judge.state()["evidence"][0]["relative"]


def test_an_attempt_is_judged_by_the_epoch_it_was_routed_under() -> None:
    judge = judge_of(ERRORS_ONLY, share=0.01)
    judge.begin_epochs({2: 0.9})
    for index in range(2):
        judge.observe(attempt(index, candidate=True, status=503, epoch=2))
    assert not judge.failed
    for index in range(2):
        judge.observe(attempt(10 + index, candidate=True, status=503, epoch=1))
    assert judge.failed


def test_attempts_of_unknown_epochs_and_of_share_zero_are_ignored() -> None:
    judge = judge_of(share=0.0)
    for index in range(50):
        judge.observe(attempt(index, candidate=True, status=503))
        judge.observe(attempt(100 + index, candidate=True, status=503, epoch=9))

    assert not judge.failed
    assert 100 == judge.report().tally.ignored


def test_the_same_decision_again_does_nothing_and_its_populations_are_counted_together() -> None:
    judge = judge_of(ERRORS_ONLY, share=0.1)
    judge.begin_epochs({4: 0.1, 5: 0.5, 6: 0.5})
    for index in range(30):
        judge.observe(attempt(index, candidate=index % 3 == 0, epoch=(1, 4, 6)[index % 3 - 1]))
    before = judge.state()
    judge.begin_epochs({4: 0.1, 5: 0.5, 6: 0.5})

    tally = judge.report().tally
    assert before == judge.state()
    assert (4, 10, 10) == (tally.epoch, tally.epoch_trials_candidate, tally.epoch_trials_stable)
    assert 10 == tally.trials_stable - tally.epoch_trials_stable


def test_populations_that_cannot_begin_leave_everything_as_it_was() -> None:
    judge = judge_of(share=0.1)
    before = judge.state()

    with pytest.raises(errors.InvariantError):
        judge.begin_epochs({2: 0.5, 1: 0.3})
    assert before == judge.state()


@pytest.mark.parametrize("epoch", [1, None])
def test_a_state_of_the_time_with_one_epoch_still_loads(epoch: int | None) -> None:
    judge = judge_of(ERRORS_ONLY, share=0.1)
    judge.observe(attempt(0, candidate=True))
    state = judge.state()
    del state["current"]
    restored = judging.Judge.restore({**state, "epoch": epoch}, [])

    assert epoch == restored.report().tally.epoch
    assert (0 if epoch is None else 1) == restored.report().tally.epoch_trials_candidate


def test_an_epoch_begins_once_with_one_share() -> None:
    judge = judge_of(share=0.1)
    judge.begin_epochs({1: 0.1})

    with pytest.raises(errors.InvariantError):
        judge.begin_epochs({1: 0.2})
    with pytest.raises(errors.InvariantError):
        judge.begin_epochs({2: 1.2})


@pytest.mark.parametrize("seed", range(20))
def test_a_better_candidate_is_not_punished(seed: int) -> None:
    judge = judge_of(share=0.3, history=history_of())
    rng = random.Random(seed)
    for index in range(4_000):
        candidate = rng.random() < 0.3
        judge.observe(
            attempt(
                index,
                candidate=candidate,
                status=503 if rng.random() < (0.005 if candidate else 0.05) else 200,
                latency_us=int(10 * rng.randrange(1, 101) * (0.8 if candidate else 1.0)),
            )
        )

    assert not judge.failed
    assert messages.Verdict.PASS is judge.report().verdict


def test_retries_on_stable_are_not_stables_own_attempts() -> None:
    judge = judge_of(ERRORS_ONLY)
    for index in range(40):
        judge.observe(attempt(index, candidate=True, status=503 if index < 3 else 200))
        judge.observe(attempt(index, composite=True, number=2, status=503))

    assert judge.failed
    assert 0 == judge.report().tally.trials_stable
    assert 40 == judge.report().tally.repeats


def test_a_slower_candidate_fails_on_latency_and_says_what_slow_is() -> None:
    judge = judge_of(history=history_of())
    rng = random.Random(3)
    index = 0
    while not judge.failed:
        candidate = rng.random() < 0.1
        judge.observe(attempt(index, candidate=candidate, latency_us=10 * rng.randrange(1, 101) + 500 * candidate))
        index += 1
        assert index < 5_000

    report = judge.report()
    assert spec.GuardrailName.LATENCY is report.guardrail
    assert "slower than stable's p95 of" in report.reason


def test_latency_passes_when_a_slow_record_leaves_neither_arm_anything_above_its_p95() -> None:
    judge = judge_of(history=history_of())  # recorded: up to 1,000 us, p95 950 us

    for index in range(200):
        judge.observe(attempt(index, candidate=True, latency_us=100))
        judge.observe(attempt(1_000 + index, latency_us=100))

    assert messages.Verdict.PASS is guardrail(judge, spec.GuardrailName.LATENCY).verdict


def test_a_tolerated_slowdown_is_not_punished() -> None:
    judge = judge_of(judge_policy.JudgePolicy(latency_slack_ratio=1.2, latency_slack_ms=0.1), history=history_of())
    rng = random.Random(3)
    for index in range(5_000):
        candidate = rng.random() < 0.2
        latency_us = 10 * rng.randrange(1, 101)
        judge.observe(
            attempt(index, candidate=candidate, latency_us=int(latency_us * 1.19 + 90) if candidate else latency_us)
        )

    assert not judge.failed


def test_given_up_tries_are_slow_and_failed_and_late_winners_only_slow() -> None:
    judge = judge_of(history=history_of())
    judge.observe(attempt(0, candidate=True, status=0, flags="UT", latency_us=None))
    judge.observe(attempt(1, candidate=True, flags="UT", latency_us=900_000, number=2))
    judge.observe(attempt(2, candidate=True, flags="UT", latency_us=None, number=2))

    assert 3 == guardrail(judge, spec.GuardrailName.LATENCY).events_candidate
    assert 1 == guardrail(judge, spec.GuardrailName.ERRORS).events_candidate


def test_without_history_thresholds_come_from_the_first_stable_attempts_and_judge_only_later_ones() -> None:
    judge = judge_of()
    for index in range(199):
        judge.observe(attempt(index, latency_us=1_000 + index))
    judge.observe(attempt(300, candidate=True, latency_us=10**9))
    assert 0 == guardrail(judge, spec.GuardrailName.LATENCY).trials_candidate

    judge.observe(attempt(301, latency_us=1_100))
    judge.observe(attempt(302, candidate=True, latency_us=10**9))
    latency = guardrail(judge, spec.GuardrailName.LATENCY)
    assert (1, 1, 0) == (latency.trials_candidate, latency.events_candidate, latency.trials_stable)


def test_a_first_release_is_judged_by_the_absolute_tests_and_latency_only_with_an_slo() -> None:
    policy = judge_policy.of_strategy(
        spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=spec.shares(10_000)), has_stable=False
    )
    judge = judge_of(policy, stable=None, share=1.0)
    for index in range(700):
        judge.observe(attempt(index, release=CANDIDATE))

    report = judge.report()
    assert messages.Verdict.PASS is report.verdict
    assert judge_report.DecidedBy.ABSOLUTE is report.decided_by
    latency = guardrail(judge, spec.GuardrailName.LATENCY)
    assert not latency.enforcing
    assert "no latency SLO" in latency.reason

    failing = judge_of(policy, stable=None, share=1.0)
    for index in range(failing.events_to_fail(1.0)):
        assert not failing.failed
        failing.observe(attempt(index, release=CANDIDATE, status=503))
    assert failing.failed
    assert judge_report.DecidedBy.ABSOLUTE is failing.report().decided_by


def test_alone_the_candidate_may_do_what_stable_was_recorded_to_do() -> None:
    def judged(history: judge_history.ArmHistory | None) -> judging.Judge:
        judge = judge_of(ERRORS_ONLY, share=1.0, history=history)
        for index in range(1_500):
            judge.observe(attempt(index, candidate=True, status=503 if index % 20 == 0 else 200))
        return judge

    assert judged(None).failed
    assert judge_report.DecidedBy.ABSOLUTE is judged(None).report().decided_by
    assert not judged(history_of(trials=2_000, failed=100)).failed


def test_alone_an_slo_is_enough_to_pass_and_to_fail() -> None:
    policy = judge_policy.JudgePolicy(enforcing=(spec.GuardrailName.LATENCY,), latency_slo_ms=50.0, alone_weight=1.0)
    fast, slow = judge_of(policy, stable=None), judge_of(policy, stable=None)
    for index in range(700):
        fast.observe(attempt(index, release=CANDIDATE, latency_us=49_000))
        slow.observe(attempt(index, release=CANDIDATE, latency_us=51_000))

    assert messages.Verdict.PASS is fast.report().verdict
    assert "the SLO of 50 ms" in guardrail(fast, spec.GuardrailName.LATENCY).reason
    assert slow.failed


def test_alone_a_tail_twice_as_large_as_in_stables_history_fails() -> None:
    def judged(slow_share: int) -> judging.Judge:
        judge = judge_of(share=1.0, history=history_of())
        for index in range(3_000):
            judge.observe(attempt(index, candidate=True, latency_us=2_000 if index % 100 < slow_share else 100))
        return judge

    assert judged(25).failed
    assert messages.Verdict.PASS is judged(4).report().verdict


def test_an_observing_guardrail_reports_and_decides_nothing() -> None:
    judge = judge_of(ERRORS_ONLY)
    for index in range(50):
        judge.observe(attempt(index, candidate=True, status=422))

    observed = guardrail(judge, spec.GuardrailName.CLIENT_ERRORS)
    assert messages.Verdict.FAIL is observed.verdict
    assert not observed.enforcing
    assert not judge.failed


def test_fewer_events_suffice_at_a_smaller_share() -> None:
    judge = judge_of()
    needed = [judge.events_to_fail(rho) for rho in (0.0001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.9)]

    assert sorted(needed) == needed
    assert 2 <= needed[0]
    assert needed[-1] < 100


def test_a_release_is_not_compared_with_itself() -> None:
    with pytest.raises(errors.InvariantError):
        judging.Judge(policy=judge_policy.JudgePolicy(), stable=STABLE, candidate=STABLE)
