"""
Tells what a LightGBM file takes and answers.

Asked: path. Answers as describe_sklearn does.
"""

from __future__ import annotations

import re
from typing import Any

from softlaunch.adapters.python_env.scripts import exchange
from softlaunch.core import boosting


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    booster = load(request["path"])
    objective = str(booster.params.get("objective", "")).split(" ")[0]
    answering = boosting.of_lightgbm(objective, booster.num_model_per_iteration())
    names, classes = booster.feature_name(), answering.classes
    categories = booster.pandas_categorical or []
    places = sorted(booster.params.get("categorical_feature") or [])
    if categories and len(categories) != len(places):
        raise exchange.unreadable(
            request["path"],
            f"it keeps categories of {len(categories)} columns and names {len(places)} of them",
            "Train on a table whose categorical columns are all of pandas' category type.",
        )
    texts = [
        names[place]
        for place, values in zip(places, categories, strict=False)
        if any(isinstance(each, str) for each in values)
    ]
    unnamed = all(re.fullmatch(r"Column_\d+", name) for name in names)
    return {
        "kind": "classifier" if classes is not None else "regressor",
        "classes": classes,
        "probabilities": answering.probabilities,
        "feature_names": None if unnamed else names,
        "feature_count": booster.num_feature(),
        "target_count": 1,
        "text_features": texts,
        "type": f"LightGBM {objective}",
    }


def load(path: str) -> Any:
    """
    The booster.

    Raises:
        ConfigError: it is none, or there is no lightgbm here.
    """
    try:
        import lightgbm  # noqa: PLC0415  # only in environments of LightGBM models
    except ImportError as error:
        raise exchange.unreadable(
            path,
            f"the service's environment has no lightgbm ({exchange.one_line(error)})",
            "Add lightgbm to the service's requirements.lock.",
        ) from error
    try:
        return lightgbm.Booster(model_file=path)
    except lightgbm.basic.LightGBMError as error:
        raise exchange.unreadable(
            path,
            f"LightGBM {lightgbm.__version__} refuses it ({exchange.one_line(error)})",
            "Write it with booster.save_model('model.lgb').",
        ) from error


if __name__ == "__main__":
    exchange.run(describe)
