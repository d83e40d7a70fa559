"""Writes model.joblib: how likely a flight is late, by distance and hour. The data is made up."""

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(4)
flights = np.column_stack([rng.uniform(100, 3000, 2000), rng.integers(5, 24, 2000)])
late = rng.random(2000) < 1 / (1 + np.exp(-(flights[:, 1] - 16) / 3))
joblib.dump(LogisticRegression(max_iter=1000).fit(flights, late), "model.joblib")
