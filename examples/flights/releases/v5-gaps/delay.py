"""Scores flights by the points of model.joblib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import joblib
import numpy as np


class Predictor:
    """What the model server calls."""

    def __init__(self, path: str = "model.joblib") -> None:
        card = joblib.load(path)
        self._intercept = card["intercept"]
        self._tables = card["tables"]
        self._readings = card["readings"]

    def predict_batch(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Probability of being late, one per row; `columns` holds one array per feature."""
        points = np.full(len(columns["carrier"]), self._intercept)
        for name, table in self._tables.items():
            points += [table.get(value, 0.0) for value in columns[name]]
        for name, (typical, spread, weight) in self._readings.items():
            values = np.asarray(columns[name], dtype=float)
            points += weight * (values - typical) / spread
        probability = 1.0 / (1.0 + np.exp(-points))
        return {"label": (probability >= 0.5).astype(np.int64), "probability": probability}
