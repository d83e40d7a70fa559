"""Trains the model on data/train.parquet and writes model.joblib. The same data gives the same model."""

from __future__ import annotations

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

import features

SEED = 2013

GUSTS = ["wind_gust"]
READINGS = ["humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
"""Not temp and dewp: over a few months they tell the season rather than the delay, and a model trained until May is
worse calibrated in autumn with them than without (README of the example has the table)."""


def pipeline() -> Pipeline:
    """Gradient boosting on the schedule and the weather at the origin."""
    return Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [
                        (
                            "categories",
                            OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype="float32"),
                            features.CATEGORIES,
                        ),
                        ("schedule", "passthrough", features.SCHEDULE),
                        # No gust was reported because there was none.
                        ("gusts", SimpleImputer(strategy="constant", fill_value=0.0), GUSTS),
                        ("readings", SimpleImputer(strategy="median"), READINGS),
                    ],
                    remainder="drop",
                ),
            ),
            (
                "trees",
                HistGradientBoostingClassifier(
                    max_iter=150,
                    learning_rate=0.06,
                    max_leaf_nodes=6,
                    min_samples_leaf=400,
                    l2_regularization=20.0,
                    early_stopping=False,
                    random_state=SEED,
                ),
            ),
        ],
    )


def train(rows: pd.DataFrame) -> Pipeline:
    # One thread: two add the same numbers in another order, and that is another model.
    with threadpool_limits(1):
        return pipeline().fit(rows[features.FEATURES], rows[features.LABEL])


def main() -> None:
    joblib.dump(train(pd.read_parquet("data/train.parquet")), "model.joblib", compress=3)


if __name__ == "__main__":
    main()
