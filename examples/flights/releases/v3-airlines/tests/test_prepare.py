from __future__ import annotations

import math
import pathlib

import features
import pandas as pd
import prepare
import pytest

HOUR = "2013-03-01T12:00:00Z"


def flights(**changed: object) -> pd.DataFrame:
    row = {
        "year": 2013,
        "month": 3,
        "day": 1,
        "sched_arr_time": 1107,
        "arr_delay": 16.0,
        "carrier": "UA",
        "origin": "EWR",
        "dest": "IAH",
        "distance": 1400,
        "hour": 7,
        "minute": 5,
        "time_hour": HOUR,
    }
    return pd.DataFrame([row | changed])


def weather(**changed: object) -> pd.DataFrame:
    reading = dict.fromkeys(features.WEATHER, 1.0) | {"origin": "EWR", "time_hour": HOUR}
    return pd.DataFrame([reading | changed])


@pytest.mark.parametrize(("delay", "late"), [(16.0, 1), (15.0, 0), (-20.0, 0)])
def test_a_flight_is_late_after_more_than_fifteen_minutes(delay: float, late: int) -> None:
    assert [late] == prepare.join(flights(arr_delay=delay), weather())[features.LABEL].tolist()


def test_a_cancelled_flight_has_no_label_and_is_left_out() -> None:
    assert prepare.join(flights(arr_delay=None), weather()).empty


def test_the_weather_is_that_of_the_origin_in_the_scheduled_hour() -> None:
    row = prepare.join(flights(), weather(visib=3.0)).iloc[0]

    assert row["visib"] == 3.0


def test_a_missing_reading_stays_missing() -> None:
    row = prepare.join(flights(), weather(origin="JFK")).iloc[0]

    assert math.isnan(row["pressure"])


def test_the_schedule_is_taken_apart() -> None:
    row = prepare.join(flights(), weather()).iloc[0]

    assert row[features.SCHEDULE].tolist() == [7, 5, 11, 4, 1400]


def test_a_sample_is_the_same_every_time_and_keeps_to_its_months() -> None:
    many = pd.concat([flights(month=month, day=day) for month in (1, 2, 6) for day in range(1, 20)])
    joined = prepare.join(many, weather())

    first = prepare.sample(joined, range(1, 3), 10)

    assert len(first) == 10
    assert first.equals(prepare.sample(joined, range(1, 3), 10))
    assert prepare.sample(joined, range(7, 8), 10).empty


def test_airlines_with_few_flights_are_left_out(monkeypatch) -> None:
    monkeypatch.setattr(prepare, "AIRLINE_FLIGHTS_MIN", 2)
    joined = prepare.join(pd.concat([flights(), flights(), flights(carrier="HA")]), weather())

    assert prepare.big_airlines(joined)["carrier"].tolist() == ["UA", "UA"]


def test_both_files_are_written(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr(prepare, "AIRLINE_FLIGHTS_MIN", 1)
    prepare.write(pd.concat([flights(), flights(month=6)]), weather(), tmp_path / "data")

    for name in ("train.parquet", "holdout.parquet"):
        assert [*features.FEATURES, features.LABEL] == list(pd.read_parquet(tmp_path / "data" / name).columns)
