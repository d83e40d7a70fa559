from __future__ import annotations

import joblib
import pandas as pd
import pytest

import delay
import train


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.read_parquet("data/train.parquet")


def test_the_same_rows_give_the_same_points(rows: pd.DataFrame) -> None:
    assert train.train(rows) == train.train(rows)


def test_training_writes_a_card_that_scores(tmp_path, monkeypatch, rows: pd.DataFrame) -> None:
    (tmp_path / "data").mkdir()
    rows.to_parquet(tmp_path / "data" / "train.parquet")
    monkeypatch.chdir(tmp_path)

    train.main()

    assert set(joblib.load("model.joblib")) == {"intercept", "tables", "readings"}
    assert len(delay.Predictor("model.joblib").predict_batch(rows.head(3))["probability"]) == 3
