"""How people write moments."""

from __future__ import annotations

import datetime

import pytest

from softlaunch import errors
from softlaunch.cli import moments

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m ago", NOW - 5_400.0),
        ("0s ago", NOW),
        ("1794999999.25", 1_794_999_999.25),
        ("2026-11-18T10:26:40Z", datetime.datetime(2026, 11, 18, 10, 26, 40, tzinfo=datetime.UTC).timestamp()),
        ("2026-11-18T10:26:40+02:00", datetime.datetime(2026, 11, 18, 8, 26, 40, tzinfo=datetime.UTC).timestamp()),
        ("2026-11-18 10:26", datetime.datetime(2026, 11, 18, 10, 26).astimezone().timestamp()),
    ],
)
def test_a_moment_is_read_as_it_is_meant(text: str, expected: float) -> None:
    assert expected == moments.parse(text, now=NOW)


@pytest.mark.parametrize("text", ["", "yesterday", "90 minutes ago", "25:00", "nan", "2026-13-01", "12", "1e10"])
def test_what_is_no_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="is no moment") as refused:
        moments.parse(text, now=NOW)
    assert "90m ago" in refused.value.remedy
