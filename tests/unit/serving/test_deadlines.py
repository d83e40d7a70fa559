from __future__ import annotations

import math

import pytest

from softlaunch.serving import deadlines


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({}, math.inf),
        ({"x-softlaunch-deadline-ms": "250"}, 0.25),
        ({"x-softlaunch-deadline-ms": "250", "x-envoy-expected-rq-timeout-ms": "100"}, 0.1),
        ({"grpc-timeout": "2S", "x-envoy-expected-rq-timeout-ms": "5000"}, 2.0),
        ({"grpc-timeout": "300u"}, 0.0003),
        ({"x-softlaunch-deadline-ms": "0"}, 0.0),
        ({"x-softlaunch-deadline-ms": "soon", "grpc-timeout": "5x"}, math.inf),
        ({"x-softlaunch-deadline-ms": "9" * 5000, "grpc-timeout": ""}, math.inf),
        ({"x-softlaunch-deadline-ms": "-1"}, math.inf),
    ],
)
def test_the_earliest_deadline_counts_and_what_cannot_be_read_is_none(headers: dict[str, str], left: float) -> None:
    assert 1_000.0 + left == pytest.approx(deadlines.of(headers, 1_000.0))
