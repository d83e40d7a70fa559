from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats

from softlaunch import errors
from softlaunch.core import release
from softlaunch.core.drift import profile

RNG = np.random.default_rng(7)


def test_every_present_row_of_the_counting_half_is_in_one_bin() -> None:
    values = RNG.normal(size=20_001)
    values[::10] = np.nan
    found = profile.profile_numeric("x", values)
    counted = profile.counting_half(len(values))

    assert sum(found.counts) == int((counted & ~np.isnan(values)).sum())
    assert len(found.counts) == len(found.edges) + 1
    assert list(found.edges) == sorted(set(found.edges))
    assert found.missing_count == int(np.isnan(values).sum())


def test_bins_hold_about_the_same_number_of_rows() -> None:
    found = profile.profile_numeric("x", RNG.lognormal(sigma=3, size=40_000))
    expected = sum(found.counts) / len(found.counts)

    # Two independent halves: counts over expectation follow an F distribution with about 2 x 10 degrees each.
    ceiling = scipy.stats.f.ppf(1 - 1e-9, 2 * profile.ROWS_PER_BIN_MIN, 2 * profile.ROWS_PER_BIN_MIN)
    assert max(found.counts) < expected * ceiling


def test_one_wild_value_does_not_move_the_bins() -> None:
    values = RNG.normal(size=10_000)
    wild = np.append(values, 1e300)

    ours, theirs = profile.profile_numeric("x", values), profile.profile_numeric("x", wild)

    assert np.allclose(ours.edges, theirs.edges[: len(ours.edges)], atol=0.5)


def test_the_halves_are_even_and_follow_no_period() -> None:
    half = profile.counting_half(100_000)
    for period in (2, 3, 7, 24, 168):
        for phase in range(min(period, 5)):
            part = half[phase::period]
            assert scipy.stats.binomtest(int(part.sum()), len(part)).pvalue > 1e-6


def test_few_distinct_values_get_a_bin_each() -> None:
    found = profile.profile_numeric("weekday", np.tile(np.arange(7), 500))

    assert found.distinct_count == 7
    assert all(count > 0 for count in found.counts[:-1])
    assert len(found.counts) in (7, 8)


def test_categories_stand_by_frequency_and_the_rest_is_other() -> None:
    values = ["b"] * 500 + ["a"] * 500 + ["c"] * 900 + [None] * 30 + [f"rare{number}" for number in range(2_000)]
    found = profile.profile_categories("carrier", values)

    assert found.categories[0] == "c"
    assert set(found.categories[1:3]) == {"a", "b"}
    assert found.missing_count == 30
    assert found.distinct_count == 2_003
    assert sum(found.counts) + found.other_count == int(
        (profile.counting_half(len(values)) & np.array([each is not None for each in values])).sum()
    )


@pytest.mark.parametrize("values", [np.array([]), np.array([np.nan, np.inf]), np.array([1.0]), np.zeros(50)])
def test_degenerate_columns_have_a_profile_too(values) -> None:
    found = profile.profile_numeric("x", values)

    assert json.loads(profile.dump(profile.Profile(row_count=len(values), columns=(found,))))


def test_a_profile_is_read_back_and_written_again_byte_for_byte() -> None:
    columns = (
        profile.profile_numeric("temp", RNG.normal(size=1_000)),
        profile.profile_column(
            release.Column(name="caf\u00e9", datatype=release.Datatype.BYTES),
            np.array(["a", None, "\u4e2d"], dtype=object),
        ),
        profile.profile_column(release.Column(name="late", datatype=release.Datatype.BOOL), np.array([True, False])),
    )
    whole = profile.Profile(row_count=1_000, columns=columns)

    assert profile.load(profile.dump(whole)) == whole
    assert profile.dump(profile.load(profile.dump(whole))) == profile.dump(whole)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"schema": 99}', b'{"schema":1,"row_count":1,"columns":[{"kind":"x"}]}']
)
def test_what_is_no_profile_is_refused(raw) -> None:
    with pytest.raises(errors.ConfigError):
        profile.load(raw)
