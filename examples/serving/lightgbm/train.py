"""Writes model.lgb: minutes a flight is in the air. The same data gives the same model."""

import lightgbm
import pandas as pd

flights = pd.read_csv("data/flights.csv")
table = lightgbm.Dataset(flights.drop(columns="air_time"), label=flights["air_time"])
settings = {"objective": "regression", "num_leaves": 15, "seed": 2013, "num_threads": 1, "deterministic": True}
lightgbm.train({**settings, "verbosity": -1}, table, num_boost_round=60).save_model("model.lgb")
