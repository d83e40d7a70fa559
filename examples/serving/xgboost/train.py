"""Writes model.ubj: how likely a flight is late. The same data gives the same model."""

import pandas as pd
import xgboost

flights = pd.read_csv("data/flights.csv")
table = xgboost.DMatrix(flights.drop(columns="late"), label=flights["late"])
settings = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.1, "seed": 2013, "nthread": 1}
xgboost.train(settings, table, num_boost_round=60).save_model("model.ubj")
