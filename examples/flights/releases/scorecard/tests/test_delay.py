from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import delay
import train


@pytest.fixture(scope="module")
def predictor(tmp_path_factory) -> delay.Predictor:
    path = tmp_path_factory.mktemp("model") / "model.joblib"
    joblib.dump(train.train(pd.read_parquet("data/train.parquet")), path)
    return delay.Predictor(str(path))


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return pd.read_parquet("data/holdout.parquet")


def test_answers_are_probabilities(predictor: delay.Predictor, flights: pd.DataFrame) -> None:
    answer = predictor.predict_batch(flights)["probability"]

    assert ((answer > 0) & (answer < 1)).all()


def test_the_card_ranks_the_flights_of_the_next_month(predictor: delay.Predictor, flights: pd.DataFrame) -> None:
    answer = predictor.predict_batch(flights)["probability"]

    assert roc_auc_score(flights["late"], answer) > 0.7


def test_an_airport_that_was_never_seen_gets_an_answer(predictor: delay.Predictor, flights: pd.DataFrame) -> None:
    answer = predictor.predict_batch(flights.head(5).assign(dest="???"))

    assert np.isfinite(answer["probability"]).all()
