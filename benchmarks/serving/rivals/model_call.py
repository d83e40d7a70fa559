"""
What every rival's service does besides its framework's own work: reads its task, loads the model, calls it.

SOFTLAUNCH_RIVAL is JSON: engine (sklearn or onnx), model (file), port, socket, features (names), settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

TASK: dict[str, Any] = json.loads(os.environ["SOFTLAUNCH_RIVAL"])
SETTINGS: dict[str, Any] = TASK["settings"]
FEATURES: list[str] = TASK["features"]


def load() -> Callable[[Any], Any]:
    """A function from a matrix of rows to a matrix of probabilities, one call of the model."""
    if TASK["engine"] == "sklearn":
        import joblib  # noqa: PLC0415  # a service has one of the two engines

        probabilities: Callable[[Any], Any] = joblib.load(TASK["model"]).predict_proba
        return probabilities
    import onnxruntime  # noqa: PLC0415  # as above

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    run = onnxruntime.InferenceSession(TASK["model"], options, providers=["CPUExecutionProvider"]).run

    def asked(rows: Any) -> Any:
        return run(["probabilities"], {"X": np.asarray(rows, dtype=np.float32)})[0]

    return asked


def row_of(body: dict[str, Any]) -> list[float]:
    """The features of a JSON row, in the model's order."""
    return [body[name] for name in FEATURES]


def answer_of(probabilities: Any) -> dict[str, Any]:
    """The answer to one row."""
    probability = float(probabilities[1])
    return {"label": int(probability > 0.5), "probability": probability}
