from __future__ import annotations

import json
import math
import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from softlaunch.core.stats import absolute, relative

VECTORS = json.loads(pathlib.Path(__file__).with_name("judge-vectors.json").read_text(encoding="utf-8"))
RHO = strategies.floats(min_value=0.001, max_value=0.999)


def events_of(vector: dict) -> list[tuple[bool, float]]:
    if "events" in vector:
        return [(bool(from_candidate), rho) for from_candidate, rho in vector["events"]]
    assert vector["generator"] == "events[i] = [1, 0.5] for 5000 events"
    return [(True, 0.5)] * 5_000


@pytest.mark.parametrize("vector", VECTORS["relative"], ids=lambda vector: vector["name"])
def test_the_relative_process_reproduces_an_independent_implementation(vector: dict) -> None:
    process = relative.RelativeProcess(grid=VECTORS["grid"])
    first_crossing = None
    for count, (from_candidate, rho) in enumerate(events_of(vector), start=1):
        process.update(from_candidate, rho)
        if first_crossing is None and process.log_e >= -math.log(vector["alpha"]):
            first_crossing = count
        if str(count) in vector["log_e_at"]:
            assert process.log_e == pytest.approx(vector["log_e_at"][str(count)], rel=1e-9, abs=1e-12)

    assert vector["first_crossing"] == first_crossing
    assert vector["log_e_last"] == pytest.approx(process.log_e, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("vector", VECTORS["absolute"], ids=lambda vector: vector["name"])
def test_the_absolute_process_reproduces_an_independent_implementation(vector: dict) -> None:
    process = absolute.AbsoluteProcess(a=vector["a"], bets=tuple(vector["q"]), weights=tuple(vector["w"]))
    bad_at = set(vector["bad_at_1_based"])
    first_crossing = None
    bad = 0
    for count in range(1, vector["length"] + 1):
        bad += count in bad_at
        if first_crossing is None and process.log_e(bad=bad, count=count) >= -math.log(vector["beta"]):
            first_crossing = count

    assert vector["first_crossing"] == first_crossing
    assert vector["log_a_last"] == pytest.approx(process.log_e(bad=bad, count=count), rel=1e-9)
    assert process == absolute.below(vector["a"])


@hypothesis.given(
    rho=RHO, true_ratio=strategies.floats(min_value=0.0, max_value=1.0), tolerated=strategies.floats(1.0, 3.0)
)
def test_an_event_is_expected_to_lower_the_evidence_against_an_arm_no_worse_than_tolerated(
    rho: float, true_ratio: float, tolerated: float
) -> None:
    true_ratio *= tolerated
    probability = rho * true_ratio / (1.0 - rho + rho * true_ratio)
    expected = 0.0
    for from_candidate, weight in ((True, probability), (False, 1.0 - probability)):
        process = relative.RelativeProcess(tolerated_ratio=tolerated)
        process.update(from_candidate, rho)
        expected += weight * process.e

    assert expected <= 1.0 + 1e-12


@hypothesis.given(rho=RHO, ratio=strategies.floats(min_value=1.0, max_value=10.0), margin=strategies.floats(1.1, 4.0))
def test_an_event_is_expected_to_lower_the_evidence_for_an_arm_worse_than_the_margin(
    rho: float, ratio: float, margin: float
) -> None:
    true_ratio = ratio * margin
    probability = rho * true_ratio / (1.0 - rho + rho * true_ratio)
    expected = 0.0
    for from_candidate, weight in ((True, probability), (False, 1.0 - probability)):
        process = relative.MirrorProcess(margin_ratio=margin)
        process.update(from_candidate, rho)
        expected += weight * math.exp(process.log_e)

    assert expected <= 1.0 + 1e-12


@hypothesis.given(
    rho=RHO,
    tail_stable=strategies.floats(min_value=0.0, max_value=1.0),
    better=strategies.floats(min_value=0.0, max_value=1.0),
    two_sided=strategies.booleans(),
)
def test_an_attempt_is_expected_to_lower_the_evidence_against_an_arm_that_is_no_slower(
    *, rho: float, tail_stable: float, better: float, two_sided: bool
) -> None:
    expected = 0.0
    for from_candidate, share, tail in ((True, rho, better * tail_stable), (False, 1.0 - rho, tail_stable)):
        for exceeded, probability in ((True, tail), (False, 1.0 - tail)):
            process = relative.ExceedanceProcess(tail=0.5, grid=(1.1, 1.25, 1.5, 1.9), two_sided=two_sided)
            block = relative.ArmCounts(
                exceeded and from_candidate, exceeded, not exceeded and from_candidate, not exceeded
            )
            process.update(block, rho_low=rho, rho_high=rho)
            expected += share * probability * process.e

    assert expected <= 1.0 + 1e-12


@hypothesis.given(q=strategies.floats(min_value=0.0, max_value=1.0), a=strategies.floats(0.001, 0.5))
def test_an_attempt_is_expected_to_lower_the_evidence_against_a_rate_on_the_wrong_side(q: float, a: float) -> None:
    process = absolute.below(a) if q >= a else absolute.above(a)
    expected = sum(
        probability * math.exp(process.log_e(bad=bad, count=1)) for bad, probability in ((0, 1.0 - q), (1, q))
    )

    assert expected <= 1.0 + 1e-9


def test_evidence_survives_rescaling_far_beyond_what_a_float_can_hold() -> None:
    process = relative.RelativeProcess(grid=(2.0,))
    for _ in range(20_000):
        process.update(from_candidate=True, rho=0.5)
    assert process.log_e == pytest.approx(20_000 * math.log(2.0 / 1.5), rel=1e-9)
    assert process.e == pytest.approx(math.exp(700.0))

    for _ in range(40_000):
        process.update(from_candidate=False, rho=0.5)
    expected = 20_000 * math.log(2.0 / 1.5) - 40_000 * math.log(1.5)
    assert process.log_e == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        relative.RelativeProcess,
        lambda: relative.RelativeProcess(reserve=0.05),
        lambda: relative.MirrorProcess(margin_ratio=2.0),
    ],
)
def test_a_process_goes_on_bit_for_bit_from_its_state(make) -> None:
    whole = make()
    for index in range(1_300):
        whole.update(index % 3 == 0, 0.1 + index / 2_000)
        if index == 650:
            again = make()
            again.load(json.loads(json.dumps(whole.state())))
        elif index > 650:
            again.update(index % 3 == 0, 0.1 + index / 2_000)

    assert whole.state() == again.state()
    assert whole.log_e == again.log_e


def test_beginning_anew_neither_makes_nor_loses_evidence() -> None:
    process = relative.RelativeProcess(reserve=0.05)
    for index in range(10 * relative.RESTART_EVERY):
        before = process.log_e
        process.update(index % 4 == 0, 0.0)  # at rho 0 an event of stable changes nothing
        if index % 4:
            assert process.log_e == pytest.approx(before, abs=1e-9)


def test_a_difference_that_begins_late_is_found_with_a_reserve() -> None:
    def events_needed(process: relative.RelativeProcess) -> int:
        for index in range(10_000):
            process.update(index % 2 == 0, 0.5)
        for index in range(10_000):
            process.update(index % 6 != 0, 0.5)
            if process.log_e >= math.log(100):
                return index + 1
        raise AssertionError("never found")

    assert 10 * events_needed(relative.RelativeProcess(reserve=0.05)) < events_needed(relative.RelativeProcess())


@hypothesis.given(events=strategies.lists(strategies.booleans(), max_size=30), rho=RHO)
def test_a_reserve_costs_at_most_its_share(events: list[bool], rho: float) -> None:
    plain, reserved = relative.RelativeProcess(), relative.RelativeProcess(reserve=0.05)
    for from_candidate in events:
        plain.update(from_candidate, rho)
        reserved.update(from_candidate, rho)

    assert math.exp(reserved.log_e) == pytest.approx(0.95 * math.exp(plain.log_e) + 0.05)
