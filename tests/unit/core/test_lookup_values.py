from __future__ import annotations

import datetime
import decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.core import lookup_recorded, lookup_values, lookups, predictions, release

NOW = 1_800_000_000.0
WIND = release.Column(name="wind", datatype=release.Datatype.FP64)
COUNT = release.Column(name="count", datatype=release.Datatype.INT64)
RAINS = release.Column(name="rains", datatype=release.Datatype.BOOL)
SKY = release.Column(name="sky", datatype=release.Datatype.BYTES, nullable=True)
COLUMNS = {column.name: column for column in (WIND, COUNT, RAINS, SKY)}
SIGNATURE = release.Signature(
    inputs=(release.Column(name="origin", datatype=release.Datatype.BYTES), WIND, SKY), outputs=()
)
FRESH, MISSING, LATE, STALE = (
    lookups.ServedAs.FRESH,
    lookups.ServedAs.MISSING,
    lookups.ServedAs.LATE,
    lookups.ServedAs.STALE,
)


def spec(**changes) -> lookups.LookupSpec:
    fields = {
        "name": "weather",
        "source": lookups.LookupSource.REDIS,
        "target": "weather:{origin}",
        "by": ("origin",),
        "features": {"wind": 5.0},
        "server": "$CACHE",
    }
    return lookups.LookupSpec(**{**fields, **changes})


def read(answer, **changes):
    return lookup_values.read(spec(**changes), COLUMNS, answer, now=NOW)


def test_a_value_that_is_there_is_fresh() -> None:
    assert {"wind": (3.0, FRESH)} == read(lookup_values.Answer({"wind": 3}))


@pytest.mark.parametrize("fields", [None, {}, {"wind": None}, {"wind": "calm"}, {"wind": float("nan")}, {"wind": []}])
def test_what_is_not_there_or_is_nothing_the_model_takes_is_missing(fields) -> None:
    assert {"wind": (5.0, MISSING)} == read(lookup_values.Answer(fields))


@pytest.mark.parametrize("how", [LATE, MISSING])
def test_no_answer_gives_every_default(how: lookups.ServedAs) -> None:
    features = {"wind": 5.0, "sky": None}

    assert {"wind": (5.0, how), "sky": (None, how)} == read(how, features=features)


@pytest.mark.parametrize(
    ("made_at", "how"),
    [
        (NOW - 60, FRESH),
        (NOW - 61, STALE),
        (str(NOW - 60), FRESH),
        (NOW + 5, FRESH),
        ("2001-01-01T00:00:00Z", STALE),
        (datetime.datetime.fromtimestamp(NOW - 30, tz=datetime.UTC).isoformat(), FRESH),
        (datetime.datetime.fromtimestamp(NOW - 30, tz=datetime.UTC).replace(tzinfo=None), FRESH),
        (b"1799999990", FRESH),
        (None, STALE),
        ("yesterday", STALE),
    ],
)
def test_what_is_too_old_or_of_unknown_age_is_stale(made_at, how: lookups.ServedAs) -> None:
    found = read(lookup_values.Answer({"wind": 3.0, "at": made_at}), age_seconds_max=60.0, timestamp="at")

    assert how is found["wind"][1]
    assert (3.0 if how is FRESH else 5.0) == found["wind"][0]


def test_a_source_that_knows_the_age_itself_needs_no_field() -> None:
    rule = {"features": {"wind": 5.0, "sky": "grey"}, "age_seconds_max": 60.0}
    answer = lookup_values.Answer({"wind": 3.0, "sky": "blue"}, {"wind": NOW - 10, "sky": NOW - 100})

    assert {"wind": (3.0, FRESH), "sky": ("grey", STALE)} == read(answer, **rule)
    assert {"wind": (5.0, STALE)} == read(lookup_values.Answer({}, {}, frozenset({"wind"})))


def test_a_feature_may_stand_in_a_field_of_another_name_inside_of_objects() -> None:
    place = {"wind": "current.speed"}

    assert {"wind": (3.0, FRESH)} == read(lookup_values.Answer({"current": {"speed": 3.0}}), fields=place)
    assert {"wind": (4.0, FRESH)} == read(lookup_values.Answer({"current.speed": 4.0}), fields=place)
    assert {"wind": (5.0, MISSING)} == read(lookup_values.Answer({"current": 3.0}), fields=place)


@pytest.mark.parametrize(
    ("column", "value", "taken"),
    [
        (WIND, "3.5", 3.5),
        (WIND, b"3.5", 3.5),
        (WIND, b"\xff", None),
        (WIND, decimal.Decimal("3.5"), 3.5),
        (WIND, np.float32(3.5), 3.5),
        (WIND, True, None),
        (WIND, "1_0", None),
        (WIND, "inf", None),
        (WIND, "9" * 5_000, None),
        (COUNT, "7", 7),
        (COUNT, decimal.Decimal(7), 7),
        (COUNT, decimal.Decimal("7.5"), None),
        (COUNT, 7.0, 7),
        (COUNT, np.int64(7), 7),
        (COUNT, "7.0", None),
        (RAINS, "TRUE", True),
        (RAINS, b"0", False),
        (RAINS, 1, True),
        (RAINS, 2, None),
        (SKY, b"blue", "blue"),
        (SKY, 7, None),
    ],
)
def test_what_sources_hold_becomes_what_the_model_takes_or_nothing(column, value, taken) -> None:
    found = lookup_values.taken(column, value)

    assert (taken, type(taken)) == (found, type(found))


def test_clients_need_not_send_what_is_looked_up() -> None:
    found = lookup_values.optional(SIGNATURE, [spec()])

    assert [False, True, True] == [column.nullable for column in found.inputs]


def test_every_mistake_against_the_signature_is_named() -> None:
    wrong = [
        spec(by=("orign",), target="x:{orign}", features={"wnd": 1.0, "wind": None, "sky": 5}),
        spec(name="other", by=("user",), target="x:{user}", features={}),
    ]
    with pytest.raises(errors.ConfigError) as caught:
        lookup_values.check(wrong, SIGNATURE, {"order_id"})

    assert errors.Code.LOOKUP_MISMATCH is caught.value.code
    for said in (
        "'orign'",
        "is 'origin' meant?",
        "'wnd'",
        "is 'wind' meant?",
        "'wind' is null",
        "'sky' is 5",
        "'user'",
    ):
        assert said in caught.value.message


def test_a_lookup_may_go_by_a_business_key() -> None:
    lookup_values.check([spec(by=("user",), target="x:{user}")], SIGNATURE, {"user"})


@pytest.mark.parametrize(
    ("source", "target", "names"),
    [
        (lookups.LookupSource.HTTP, "/w/{origin}/{day}?o={origin}", ("origin", "day")),
        (lookups.LookupSource.SQL, "select a::int, '12:30' from t where a = :origin and b = :day", ("origin", "day")),
        (lookups.LookupSource.PYTHON, "f.py:f", None),
    ],
)
def test_a_target_names_the_values_it_asks_for(source, target: str, names) -> None:
    assert names == lookups.placeholders(source, target)


def test_a_value_cannot_leave_its_place_in_a_url() -> None:
    values = {"origin": "../a b?x=1&y#é", "late": True}

    assert "/w/..%2Fa%20b%3Fx%3D1%26y%23%C3%A9/true" == lookups.filled("/w/{origin}/{late}", values, encoded=True)
    assert "w:../a b?x=1&y#é" == lookups.filled("w:{origin}", values, encoded=False)


def test_the_header_counts_and_the_record_keeps_all() -> None:
    served = lookup_values.FeaturesServed([{"wind": (5.0, "missing")}, {"wind": (2.0, "sent")}], 1, 0, 0)

    assert ("x-softlaunch-features", "missing=1,late=0,stale=0") == served.header
    assert {"wind": [(5.0, "missing"), (2.0, "sent")]} == served.recorded
    assert 1 == lookup_recorded.defaulted(served.recorded)
    assert lookup_recorded.defaulted(None) is None


VALUES = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), max_size=4
)


@given(st.lists(VALUES, max_size=4))
def test_recorded_values_survive_their_header(rows: list[dict]) -> None:
    assert rows == lookup_recorded.loads(lookup_recorded.dumps(rows), len(rows))


def test_a_replay_sends_what_was_served_and_nothing_where_it_does_not_fit() -> None:
    features = {"wind": [[5.0, "missing"], [2.0, "fresh"]], "sky": [[None, "late"], ["blue", "fresh"]]}
    header = lookup_recorded.header(features)

    assert [{"wind": 5.0, "sky": None}, {"wind": 2.0, "sky": "blue"}] == lookup_recorded.loads(
        header[lookup_recorded.HEADER], 2
    )
    assert {} == lookup_recorded.header(None)
    assert {} == lookup_recorded.header({"wind": [[np.random.default_rng(n).random(), "fresh"] for n in range(9_000)]})


@pytest.mark.parametrize("text", ["", "%%%", "aGVsbG8=", lookup_recorded.dumps([]), lookup_recorded.dumps([{}, {}])])
def test_a_header_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(predictions.MalformedError):
        lookup_recorded.loads(text, 1)
