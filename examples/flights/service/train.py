"""Trains the model on data/train.parquet and writes model.joblib. The same data gives the same model."""

from __future__ import annotations

import features
import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

SEED = 2013


def pipeline() -> Pipeline:
    """
    Gradient boosting on the schedule alone.

    Requests already carry the weather; this model leaves it aside.
    """
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
