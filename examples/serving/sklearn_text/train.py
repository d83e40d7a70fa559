"""Writes model.joblib: how likely a flight is late, by carrier and airports as text. Seeded: the same every time."""

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

flights = pd.read_csv("data/flights.csv")
texts = ["carrier", "origin", "dest"]
columns = ColumnTransformer(
    [("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts)],
    remainder="passthrough",
)
model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=50, random_state=2013))
joblib.dump(model.fit(flights.drop(columns="late"), flights["late"]), "model.joblib")
