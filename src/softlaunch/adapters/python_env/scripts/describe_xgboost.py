"""
Tells what an XGBoost file takes and answers.

Asked: path. Answers as describe_sklearn does.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from softlaunch.adapters.python_env.scripts import exchange
from softlaunch.core import boosting


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    booster = load(request["path"])
    kinds = booster.feature_types or []
    categories = [booster.feature_names[place] for place, kind in enumerate(kinds) if kind == "c"]
    if categories:
        raise exchange.unreadable(
            request["path"],
            f"it takes categories ({', '.join(categories):.200}), which are not served from XGBoost's files",
            "Encode them in a scikit-learn pipeline around the model, and dump that with joblib.",
        )
    learner = json.loads(booster.save_config())["learner"]
    class_count = int(learner["learner_model_param"]["num_class"])
    answering = boosting.of_xgboost(learner["objective"]["name"], class_count)
    classes = answering.classes
    names = booster.feature_names
    return {
        "kind": "classifier" if classes is not None else "regressor",
        "classes": classes,
        "probabilities": answering.probabilities,
        "feature_names": list(names) if names is not None else None,
        "feature_count": booster.num_features(),
        "target_count": 1 if classes is not None else _target_count(booster),
        "text_features": [],
        "type": f"XGBoost {learner['objective']['name']}",
    }


def load(path: str) -> Any:
    """
    The booster.

    Raises:
        ConfigError: it is none, or there is no xgboost here.
    """
    try:
        import xgboost  # noqa: PLC0415  # only in environments of XGBoost models
    except ImportError as error:
        raise exchange.unreadable(
            path,
            f"the service's environment has no xgboost ({exchange.one_line(error)})",
            "Add xgboost (or xgboost-cpu) to the service's requirements.lock.",
        ) from error
    try:
        return xgboost.Booster(model_file=path)
    except xgboost.core.XGBoostError as error:
        raise exchange.unreadable(
            path,
            f"XGBoost {xgboost.__version__} refuses it ({exchange.one_line(error)})",
            "Write it with save_model('model.ubj').",
        ) from error


def _target_count(booster: Any) -> int:
    import xgboost  # noqa: PLC0415  # `load` has it already

    row = xgboost.DMatrix(np.zeros((1, booster.num_features()), dtype=np.float32))
    return int(booster.predict(row, validate_features=False).size)


if __name__ == "__main__":
    exchange.run(describe)
