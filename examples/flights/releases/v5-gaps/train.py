"""
Fits the scorecard on data/train.parquet and writes model.joblib. The same data gives the same scorecard.

A scorecard is a logistic regression written out: points per value of a category and points per reading. It scores a
flight in microseconds and needs no scikit-learn to do so.
"""

from __future__ import annotations

from typing import Any

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import features

TABLES = [*features.CATEGORIES, "dep_hour", "weekday"]
READINGS = ["humid", "wind_speed", "precip", "pressure", "visib"]


def train(rows: pd.DataFrame) -> dict[str, Any]:
    """Points: {intercept, tables: {column: {value: points}}, readings: {column: (typical, spread, points)}}."""
    # prepare.py fills the gaps: there is nothing left to impute, a handful of rows aside.
    rows = rows.dropna(subset=READINGS)
    columns = ColumnTransformer([("tables", OneHotEncoder(), TABLES), ("readings", StandardScaler(), READINGS)])
    model = Pipeline([("columns", columns), ("points", LogisticRegression(C=0.3, max_iter=500))])
    model.fit(rows[features.FEATURES], rows[features.LABEL])
    points = iter(model["points"].coef_[0].tolist())
    encoder = columns.named_transformers_["tables"]
    tables = {
        name: {value: next(points) for value in values.tolist()}
        for name, values in zip(TABLES, encoder.categories_, strict=True)
    }
    fitted = columns.named_transformers_["readings"]
    readings = {
        name: (float(typical), float(spread), next(points))
        for name, typical, spread in zip(READINGS, fitted.mean_, fitted.scale_, strict=True)
    }
    return {"intercept": float(model["points"].intercept_[0]), "tables": tables, "readings": readings}


def main() -> None:
    joblib.dump(train(pd.read_parquet("data/train.parquet")), "model.joblib")


if __name__ == "__main__":
    main()
