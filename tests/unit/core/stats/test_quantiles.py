from __future__ import annotations

import json

import hypothesis
import numpy
import pytest
from hypothesis import strategies

from softlaunch import errors
from softlaunch.core.stats import quantiles

LATENCIES = strategies.lists(strategies.integers(min_value=0, max_value=10**10), min_size=1, max_size=200)


def histogram_of(latencies: list[int]) -> quantiles.LatencyHistogram:
    histogram = quantiles.LatencyHistogram()
    for latency in latencies:
        histogram.add(latency)
    return histogram


@hypothesis.given(latencies=LATENCIES, probability=strategies.floats(min_value=0.01, max_value=1.0))
def test_a_quantile_is_never_too_low_and_at_most_one_bin_too_high(latencies: list[int], probability: float) -> None:
    exact = max(1.0, float(numpy.quantile(latencies, probability, method="inverted_cdf")))

    assert exact * (1.0 - 1e-9) <= histogram_of(latencies).quantile(probability) <= exact * 1.015 * (1.0 + 1e-9)


@hypothesis.given(first=LATENCIES, second=LATENCIES)
def test_merging_equals_counting_everything_in_one(first: list[int], second: list[int]) -> None:
    merged = histogram_of(first)
    merged.merge(histogram_of(second))

    assert histogram_of(first + second).to_json() == merged.to_json()
    assert len(first) + len(second) == merged.count


@hypothesis.given(latencies=LATENCIES)
def test_json_brings_back_an_equal_histogram(latencies: list[int]) -> None:
    histogram = histogram_of(latencies)
    again = quantiles.LatencyHistogram.from_json(json.loads(json.dumps(histogram.to_json())))

    assert histogram.to_json() == again.to_json()
    assert histogram.count == again.count


def test_no_quantile_of_nothing() -> None:
    with pytest.raises(errors.InvariantError):
        quantiles.LatencyHistogram().quantile(0.5)


def test_other_bins_are_refused() -> None:
    with pytest.raises(errors.InvariantError):
        quantiles.LatencyHistogram.from_json({"growth": 1.1, "bins": []})
