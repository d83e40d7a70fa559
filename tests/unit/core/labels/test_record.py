"""Labels from what people and programs write."""

from __future__ import annotations

import datetime
import math

import pytest

from softlaunch.core.labels import record

NOW = 1_763_000_000.0
PREDICTION = {"prediction_id": "r1:0", "value": 1}


def parsed(*, textual: bool = False, **members: object) -> record.Label | None:
    return record.parse({**PREDICTION, **members}, now=NOW, textual=textual)


def test_a_label_is_about_a_prediction_or_a_key() -> None:
    assert parsed() == record.Label("r1:0", None, None, None, NOW, "label", 1.0, None, 0, None)
    by_key = record.parse({"key": 4711, "key_name": "order", "value": "spam"}, now=NOW, name="kind")
    assert by_key == record.Label(None, "order", "4711", None, NOW, "kind", None, "spam", 0, None)


@pytest.mark.parametrize(
    ("given", "identity"), [("r1", "r1:0"), ("r1:3", "r1:3"), ("a:b", "a:b:0"), ("a:b:1", "a:b:1"), (":1", ":1:0")]
)
def test_a_requests_id_stands_for_its_first_row(given: str, identity: str) -> None:
    found = parsed(prediction_id=given)
    assert found is not None
    assert identity == found.prediction_id


@pytest.mark.parametrize(
    ("value", "textual", "number", "text"),
    [
        (True, False, 1.0, None),
        (0.25, False, 0.25, None),
        ("0.25", True, 0.25, None),
        ("0.25", False, None, "0.25"),
        ("True", True, 1.0, None),
        ("no", True, 0.0, None),
        ("spam", True, None, "spam"),
    ],
)
def test_values_are_numbers_or_classes(*, value: object, textual: bool, number: float | None, text: str | None) -> None:
    found = parsed(value=value, textual=textual)
    assert found is not None
    assert (number, text) == (found.value, found.text)


@pytest.mark.parametrize("value", [None, "", math.nan])
def test_without_a_value_nothing_is_said_yet(value: object) -> None:
    assert parsed(value=value) is None
    assert record.parse({"prediction_id": "r1"}, now=NOW) is None


def test_an_event_says_so_by_being_there_and_a_withdrawal_says_so() -> None:
    event = record.parse({"key": "u1", "event": "click"}, now=NOW)
    withdrawn = record.parse({"key": "u1", "event": "click", "withdrawn": True, "version": 1}, now=NOW)
    written = record.parse(
        {"key": "u1", "withdrawn": "yes", "version": " 3", "rater": "", "value": ""}, now=NOW, textual=True
    )
    assert event is not None
    assert withdrawn is not None
    assert written is not None
    assert ("click", 1.0) == (event.name, event.value)
    assert ("click", None, None, 1) == (withdrawn.name, withdrawn.value, withdrawn.text, withdrawn.version)
    assert (None, 3, None) == (written.value, written.version, written.rater)


@pytest.mark.parametrize(
    ("at", "textual"),
    [
        (1_762_999_000, False),
        ("1762999000", True),
        ("2025-11-13T01:56:40", False),
        ("2025-11-13T02:56:40+01:00", False),
        (datetime.datetime(2025, 11, 13, 1, 56, 40), False),  # noqa: DTZ001 - a file without zones
    ],
)
def test_times_come_as_seconds_and_as_texts(*, at: object, textual: bool) -> None:
    found = parsed(at=at, textual=textual)
    assert found is not None
    assert 1_762_999_000.0 == found.at


def test_a_day_is_its_first_moment() -> None:
    found = parsed(arrived=datetime.date(2025, 11, 12))
    assert found is not None
    assert 1_762_905_600.0 == found.arrived


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"prediction_id": None}, "neither"),
        ({"key": "u1"}, "both prediction_id and key"),
        ({"key_name": "order"}, "key_name without key"),
        ({"prediction_id": 1.5}, "prediction_id is no text"),
        ({"prediction_id": "x" * 1_001}, "longer"),
        ({"prediction_id": "a\x00"}, "stored"),
        ({"rater": "\ud800"}, "stored"),
        ({"colour": "red"}, "unknown member 'colour'"),
        ({"name": "a", "event": "b"}, "both name and event"),
        ({"name": "1st"}, "a letter"),
        ({"value": [1]}, "neither a number"),
        ({"value": math.inf}, "not finite"),
        ({"value": 10**400}, "not finite"),
        ({"withdrawn": True}, "withdrawn, and yet a value"),
        ({"withdrawn": "perhaps"}, "neither true nor false"),
        ({"version": -1}, "version"),
        ({"version": True}, "version"),
        ({"version": 2**63}, "version"),
        ({"at": "yesterday"}, "at is neither"),
        ({"at": True}, "at is neither"),
        ({"at": 1e300}, "at is neither"),
        ({"at": "1999-01-01"}, "before 2000"),
        ({"at": NOW + 90_000}, "in the future"),
        ({"arrived": NOW + 1}, "arrived is in the future"),
        ({"arrived": []}, "arrived is neither"),
    ],
)
def test_what_is_no_label_says_why(members: dict[str, object], reason: str) -> None:
    with pytest.raises(record.UnfitError, match=reason):
        parsed(**members)
