from __future__ import annotations

import decimal
import math

import hypothesis
import pytest
from hypothesis import strategies

from softlaunch import errors
from softlaunch.core import spec, units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10.0),
        ("5m", 300.0),
        ("24h", 86_400.0),
        ("7d", 604_800.0),
        ("1.5h", 5_400.0),
        ("0", 0.0),
    ],
)
def test_a_duration_is_one_number_and_one_unit(text: str, seconds: float) -> None:
    assert seconds == units.duration_seconds(text)


@pytest.mark.parametrize("text", ["", "10", "1h30m", "-1s", "1e3s", "5 m", "ms", ".5s", "٣s", "1us", "9" * 13 + "s"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="not a duration"):
        units.duration_seconds(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (1.5, "1500ms"), (90, "90s"), (5_400, "90m"), (86_400.0, "1d"), (0.0005, "0.5ms")],
)
def test_a_duration_is_written_in_the_largest_unit_that_divides_it(seconds: float, text: str) -> None:
    assert text == units.format_duration(seconds)


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_an_impossible_duration_is_not_written(seconds: float) -> None:
    with pytest.raises(errors.ConfigError):
        units.format_duration(seconds)


@hypothesis.given(strategies.integers(min_value=0, max_value=10**11))
def test_milliseconds_survive_writing_and_reading(milliseconds: int) -> None:
    seconds = milliseconds / 1_000

    assert seconds == units.duration_seconds(units.format_duration(seconds))


@hypothesis.given(strategies.integers(min_value=0, max_value=spec.WEIGHT_FULL))
def test_every_weight_survives_as_a_percentage_exactly(weight: int) -> None:
    assert weight == units.weight_from_percent(units.percent(units.format_weight(weight)))
    assert weight == units.weight_from_percent(units.percent_from_weight(weight))


def test_the_smallest_share_is_one_in_ten_thousand() -> None:
    assert units.weight_from_percent(units.percent("0.01%")) == 1
    assert units.format_weight(1) == "0.01%"
    with pytest.raises(errors.ConfigError, match="two decimals"):
        units.weight_from_percent(units.percent("0.001%"))


def test_a_share_that_floats_would_round_down_is_exact() -> None:
    assert int(0.07 * 100) == 7 == units.weight_from_percent(decimal.Decimal("0.07"))
    assert int(0.29 * 100) == 28, "the trap"
    assert units.weight_from_percent(units.percent("0.29%")) == 29


@pytest.mark.parametrize("value", [-0.01, 100.01, math.inf, math.nan])
def test_a_share_lies_between_nothing_and_everything(value: float) -> None:
    with pytest.raises(errors.ConfigError):
        units.weight_from_percent(value)


@pytest.mark.parametrize("text", ["5", "", "%", "-5%", "5%%", "1e2%", "five%", "5,5%"])
def test_a_percentage_needs_its_sign_and_a_plain_number(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="not a percentage"):
        units.percent(text)


@pytest.mark.parametrize(("text", "count"), [("0B", 0), ("512KiB", 524_288), ("256MiB", 268_435_456), ("1 GiB", 2**30)])
def test_a_size_is_a_whole_number_and_a_binary_unit(text: str, count: int) -> None:
    assert count == units.byte_count(text)


@pytest.mark.parametrize("text", ["", "1", "1MB", "1.5MiB", "-1B", "MiB"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="not a size"):
        units.byte_count(text)


@hypothesis.given(strategies.integers(min_value=0, max_value=2**49))
def test_sizes_survive_writing_and_reading(count: int) -> None:
    assert count == units.byte_count(units.format_bytes(count))


def test_a_negative_size_is_not_written() -> None:
    with pytest.raises(errors.ConfigError):
        units.format_bytes(-1)


def test_a_long_text_is_shortened_in_the_message() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        units.duration_seconds("x" * 1_000)

    assert len(caught.value.message) < 100
