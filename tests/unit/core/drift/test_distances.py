"""Distances between profiles: their axioms, small exact examples, and another implementation of the same number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from softlaunch.core.drift import distances, profile

VALUES = st.lists(st.floats(-1e6, 1e6) | st.integers(0, 3).map(float), min_size=1, max_size=60)
WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60)


def numbers(values: list[float]) -> profile.NumericProfile:
    return profile.profile_numeric("x", np.asarray(values, dtype=np.float64))


def words(values: list[str]) -> profile.CategoryProfile:
    return profile.profile_categories("x", values)


def bins(edges: list[float], counts: list[int], minimum: float, maximum: float) -> profile.NumericProfile:
    return profile.NumericProfile(
        name="x",
        missing_count=0,
        distinct_count=2,
        minimum=minimum,
        maximum=maximum,
        edges=tuple(edges),
        counts=tuple(counts),
    )


def named(categories: dict[str, int], other: int = 0) -> profile.CategoryProfile:
    return profile.CategoryProfile(
        name="x",
        missing_count=0,
        distinct_count=len(categories),
        categories=tuple(categories),
        counts=tuple(categories.values()),
        other_count=other,
    )


@given(VALUES, VALUES)
def test_the_distance_of_numbers_is_symmetric_and_a_share_and_no_less_than_its_bound(one, other) -> None:
    there = distances.kolmogorov_smirnov(numbers(one), numbers(other))
    back = distances.kolmogorov_smirnov(numbers(other), numbers(one))

    assert there == back
    assert there is None or 0.0 <= there.least <= there.value <= 1.0


@given(VALUES)
def test_numbers_are_at_no_distance_from_themselves(values) -> None:
    found = distances.kolmogorov_smirnov(numbers(values), numbers(values))

    assert found is None or found == distances.Distance(value=0.0, least=0.0)


@given(WORDS, WORDS)
def test_the_distance_of_categories_is_symmetric_and_a_share_and_no_less_than_its_bound(one, other) -> None:
    there = distances.total_variation(words(one), words(other))
    back = distances.total_variation(words(other), words(one))

    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there.value == pytest.approx(back.value)
        assert there.least == pytest.approx(back.least)
        assert 0.0 <= there.least <= there.value <= 1.0


@given(WORDS)
def test_categories_are_at_no_distance_from_themselves(values) -> None:
    found = distances.total_variation(words(values), words(values))

    assert found is None or (found.value, found.least) == (pytest.approx(0.0), pytest.approx(0.0))


def test_shares_that_differ_by_three_tenths_at_a_common_edge_are_three_tenths_apart() -> None:
    one = bins([1.0, 2.0], [5, 3, 2], 0.0, 3.0)
    other = bins([1.0, 2.0], [2, 4, 4], 0.0, 3.0)

    assert distances.kolmogorov_smirnov(one, other) == distances.Distance(
        value=pytest.approx(0.3), least=pytest.approx(0.3)
    )


def test_ranges_that_do_not_meet_are_one_apart() -> None:
    assert distances.kolmogorov_smirnov(
        bins([1.0], [1, 1], 0.0, 2.0), bins([5.0], [1, 1], 4.0, 6.0)
    ) == distances.Distance(value=1.0, least=1.0)


def test_two_constants_are_one_apart_and_a_constant_is_nothing_apart_from_itself() -> None:
    five, six = bins([5.0], [7, 0], 5.0, 5.0), bins([6.0], [7, 0], 6.0, 6.0)

    assert distances.kolmogorov_smirnov(five, six) == distances.Distance(value=1.0, least=1.0)
    assert distances.kolmogorov_smirnov(five, five) == distances.Distance(value=0.0, least=0.0)


def test_what_the_bins_cannot_tell_is_between_the_bound_and_the_value() -> None:
    # Of the second nothing is known between 0 and 2: all of its rows may lie at 1.
    found = distances.kolmogorov_smirnov(bins([1.0], [9, 1], 0.0, 2.0), bins([2.0], [10, 0], 0.0, 2.0))

    assert found == distances.Distance(value=pytest.approx(0.4), least=0.0)


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_the_distance_is_near_the_one_that_scipy_computes_of_the_rows(shift) -> None:
    random = np.random.default_rng(7)
    one, other = random.normal(size=20_000), random.normal(loc=shift, size=20_000)
    exact = scipy.stats.ks_2samp(one, other).statistic

    found = distances.kolmogorov_smirnov(numbers(one.tolist()), numbers(other.tolist()))

    # Half of the rows are counted on each side: the standard error of a share is at most 0.5 / sqrt(10,000), twice.
    assert found is not None
    assert abs(found.value - exact) <= 4 * 0.5 / np.sqrt(10_000) * np.sqrt(2)
    assert found.least <= found.value <= found.least + 0.01


def test_half_the_rows_in_other_categories_is_a_half() -> None:
    found = distances.total_variation(named({"a": 5, "b": 5}), named({"a": 5, "c": 5}))

    assert found == distances.Distance(value=0.5, least=0.5)


def test_a_category_that_may_be_among_the_other_rows_may_be_no_distance_at_all() -> None:
    found = distances.total_variation(named({"a": 5, "b": 5}), named({"a": 5}, other=5))

    assert found == distances.Distance(value=0.5, least=0.0)


def test_categories_that_both_name_are_compared_exactly() -> None:
    found = distances.total_variation(named({"a": 6, "b": 4}), named({"a": 2, "b": 8}))

    assert found == distances.Distance(value=pytest.approx(0.4), least=pytest.approx(0.4))


def test_of_no_values_there_is_no_distance() -> None:
    assert distances.kolmogorov_smirnov(numbers([]), numbers([1.0, 2.0, 3.0])) is None
    assert distances.total_variation(words([]), words(["a"])) is None


def test_of_a_profile_that_contradicts_itself_there_is_no_distance() -> None:
    assert (
        distances.kolmogorov_smirnov(bins([1.0], [1, 1], 0.0, 2.0), dataclasses.replace(numbers([]), counts=(5,)))
        is None
    )
