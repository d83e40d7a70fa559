from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from softlaunch.core.shadow import labels


def answer(**outputs: object) -> bytes:
    return json.dumps({"predictions": [outputs]}).encode()


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_binomial_test_is_scipy_s(left: int, right: int) -> None:
    if left + right:
        assert pytest.approx(stats.binomtest(left, left + right).pvalue) == labels.binomial_p(left, left + right)


def test_mcnemar_s_exact_test_gives_the_published_value() -> None:
    # Agresti (2002), Categorical Data Analysis, table 10.1: 150 and 86 changed their mind; z = -4.17 by the normal law.
    assert pytest.approx(2 * stats.norm.sf(4.17), rel=0.25) == labels.binomial_p(86, 236)


@given(st.lists(st.floats(-100, 100).filter(lambda x: x != 0), min_size=1, max_size=30, unique_by=abs))
def test_wilcoxon_without_ties_is_scipy_s_exact_test(differences: list[float]) -> None:
    expected = stats.wilcoxon(differences, method="exact").pvalue

    assert pytest.approx(expected) == labels.wilcoxon_p(differences)


@given(st.lists(st.integers(-6, 6).filter(bool), min_size=60, max_size=120))
def test_wilcoxon_with_ties_is_scipy_s_approximation(differences: list[int]) -> None:
    found = [float(each) for each in differences]

    expected = stats.wilcoxon(found, method="approx", correction=False).pvalue

    assert pytest.approx(expected, rel=1e-6) == labels.wilcoxon_p(found)


def test_wilcoxon_gives_the_published_value() -> None:
    # Wilcoxon (1945), Darwin's maize: differences in eighths of an inch between crossed and self-fertilised plants.
    darwin = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

    assert pytest.approx(0.0413, abs=5e-4) == labels.wilcoxon_p([float(each) for each in darwin])


def test_rows_without_a_label_and_all_zero_differences_say_nothing() -> None:
    assert labels.wilcoxon_p([0.0, 0.0]) is None
    report = labels.judge({}, [("a", answer(label=1), answer(label=1))])
    assert (0, None, None) == (report.row_count, report.counts_p, report.stable_score)


def test_who_was_right_about_classes() -> None:
    truth = {f"{number}:0": "late" for number in range(30)}
    answers = [
        (str(number), answer(label="late" if number < 10 else "on time"), answer(label="late" if number < 25 else "x"))
        for number in range(31)
    ]

    report = labels.judge(truth, answers)

    assert (30, 0, 15, 15) == (report.row_count, report.stable_count, report.candidate_count, report.tied_count)
    assert pytest.approx(2 * 0.5**15) == report.counts_p
    assert pytest.approx((10 / 30, 25 / 30)) == (report.stable_score, report.candidate_score)


@pytest.mark.parametrize(("label", "said"), [(1, 1.0), (True, True), ("3", 3), (2.0, 2)])
def test_a_class_is_the_same_however_a_table_writes_it(label: object, said: object) -> None:
    report = labels.judge({"a:0": label}, [("a", answer(label=said), answer(label=said))])

    assert 1.0 == report.stable_score


def test_who_was_closer_about_numbers() -> None:
    chance = random.Random(2)
    truth, answers = {}, []
    for number in range(200):
        value = chance.gauss(100, 10)
        truth[f"{number}:0"] = value
        stable, candidate = value + chance.gauss(0, 4), value + chance.gauss(0, 1)
        answers.append((str(number), answer(prediction=stable), answer(prediction=candidate)))

    report = labels.judge(truth, answers)

    assert labels.LabelKind.NUMBERS is report.kind
    assert report.candidate_count > report.stable_count
    assert report.stable_score == pytest.approx(4 * math.sqrt(2 / math.pi), rel=0.2)
    assert max(report.counts_p or 1, report.sizes_p or 1) < 1e-6


def test_equal_releases_are_rarely_told_apart() -> None:
    chance = random.Random(4)
    called = 0
    for _ in range(400):
        differences = [chance.gauss(0, 1) for _ in range(30)]
        called += (labels.wilcoxon_p(differences) or 1) < 0.05

    assert called / 400 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)
