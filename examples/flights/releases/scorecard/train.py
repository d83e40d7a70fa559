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
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import features

TABLES = [*features.CATEGORIES, "dep_hour", "weekday"]
READINGS = ["humid", "wind_speed", "precip", "pressure", "visib"]


def train(rows: pd.DataFrame) -> dict[str, Any]:
    """Points: {intercept, tables: {column: {value: points}}, readings: {column: (typical, spread, points)}}."""
    numbers = Pipeline([("typical", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    columns = ColumnTransformer([("tables", OneHotEncoder(), TABLES), ("readings", numbers, READINGS)])
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
        for name, typical, spread in zip(
            READINGS,
            fitted["typical"].statistics_,
            fitted["scale"].scale_,
            strict=True,
        )
    }
    # The scaler subtracts means, the scorecard typical values: the difference is a constant.
    shift = sum(
        (readings[name][0] - mean) / readings[name][1] * readings[name][2]
        for name, mean in zip(READINGS, fitted["scale"].mean_, strict=True)
    )
    intercept = float(model["points"].intercept_[0]) + float(shift)
    return {"intercept": intercept, "tables": tables, "readings": readings}


def main() -> None:
    joblib.dump(train(pd.read_parquet("data/train.parquet")), "model.joblib")


if __name__ == "__main__":
    main()
