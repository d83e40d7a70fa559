from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

import features
import train


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.read_parquet("data/train.parquet").iloc[::10]


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> Pipeline:
    return train.train(rows)


def test_flights_in_fog_are_later_than_flights_in_clear_air(model: Pipeline, rows: pd.DataFrame) -> None:
    flights = rows[features.FEATURES].head(200)
    clear = model.predict_proba(flights.assign(visib=np.float32(10), humid=np.float32(40)))[:, 1]
    fog = model.predict_proba(flights.assign(visib=np.float32(0.25), humid=np.float32(98)))[:, 1]

    assert fog.mean() > clear.mean()


def test_a_flight_without_any_weather_gets_an_answer(model: Pipeline, rows: pd.DataFrame) -> None:
    blind = rows[features.FEATURES].head(5).assign(**dict.fromkeys(features.WEATHER, np.float32("nan")))

    assert np.isfinite(model.predict_proba(blind)).all()
