"""Trains a model of tips, seeded, and logs it to $MLFLOW_TRACKING_URI as models:/tips@champion."""

import mlflow
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

random = np.random.default_rng(4)
bills = pd.DataFrame({"bill": np.round(random.gamma(6, 5, 500), 2), "guests": random.integers(1, 7, 500)})
tips = 0.15 * bills["bill"] + 0.4 * bills["guests"] + random.normal(0, 0.5, 500)
model = LinearRegression().fit(bills, tips)

with mlflow.start_run():
    logged = mlflow.sklearn.log_model(
        model,
        name="tips",
        signature=mlflow.models.infer_signature(bills, model.predict(bills)),
        registered_model_name="tips",
        serialization_format="cloudpickle",
        pip_requirements="requirements.in",  # otherwise MLflow finds out in a process of its own, slowly
    )
version = logged.registered_model_version
mlflow.MlflowClient().set_registered_model_alias("tips", "champion", version)
print(f"models:/tips@champion is version {version}")
