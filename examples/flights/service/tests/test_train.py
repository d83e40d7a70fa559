from __future__ import annotations

import features
import joblib
import numpy as np
import pandas as pd
import pytest
import train
from sklearn.pipeline import Pipeline


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.read_parquet("data/train.parquet").iloc[::10]


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> Pipeline:
    return train.train(rows)


def test_answers_are_probabilities(model: Pipeline, rows: pd.DataFrame) -> None:
    answers = model.predict_proba(rows[features.FEATURES])

    assert np.isfinite(answers).all()
    assert np.allclose(1.0, answers.sum(axis=1))


def test_the_same_rows_train_the_same_model(model: Pipeline, rows: pd.DataFrame) -> None:
    again = train.train(rows)

    assert np.array_equal(
        model.predict_proba(rows[features.FEATURES]),
        again.predict_proba(rows[features.FEATURES]),
    )


def test_an_evening_flight_is_later_than_a_morning_flight(model: Pipeline, rows: pd.DataFrame) -> None:
    flights = rows[features.FEATURES].head(200)
    morning = flights.assign(dep_hour=np.float32(6), arr_hour=np.float32(8))
    evening = flights.assign(dep_hour=np.float32(19), arr_hour=np.float32(21))

    assert model.predict_proba(evening)[:, 1].mean() > model.predict_proba(morning)[:, 1].mean()


def test_an_unknown_airline_gets_an_answer(model: Pipeline, rows: pd.DataFrame) -> None:
    unknown = rows[features.FEATURES].head(5).assign(carrier="??")

    assert np.isfinite(model.predict_proba(unknown)).all()


def test_training_writes_the_model(tmp_path, monkeypatch, rows: pd.DataFrame) -> None:
    (tmp_path / "data").mkdir()
    rows.to_parquet(tmp_path / "data" / "train.parquet")
    monkeypatch.chdir(tmp_path)

    train.main()

    assert isinstance(joblib.load(tmp_path / "model.joblib"), Pipeline)
