"""
Tells what a CatBoost model takes and answers.

Asked: path. Answers as describe_sklearn does.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from softlaunch.adapters.python_env.scripts import exchange


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    model = load(request["path"])
    if model.get_text_feature_indices() or model.get_embedding_feature_indices():
        raise exchange.unreadable(
            request["path"],
            "it takes text or embedding features, which are not served",
            "Train it on numbers and categories, or wrap it: `model: {python: FILE.py:CLASS}`.",
        )
    names = [str(each) for each in model.feature_names_]
    classes = classes_of(model)
    return {
        "kind": "classifier" if classes is not None else "regressor",
        "classes": classes,
        "probabilities": True,
        # Trained on an array, CatBoost calls its features 0, 1, 2: those are no names.
        "feature_names": None if names == [str(number) for number in range(len(names))] else names,
        "feature_count": len(names),
        "target_count": 1 if classes is not None else _target_count(model, len(names)),
        "text_features": [names[place] for place in model.get_cat_feature_indices()],
        "type": "CatBoost",
    }


def load(path: str) -> Any:
    """
    The model.

    Raises:
        ConfigError: it is none, or there is no catboost here.
    """
    try:
        import catboost  # noqa: PLC0415  # only in environments of CatBoost models
    except ImportError as error:
        raise exchange.unreadable(
            path,
            f"the service's environment has no catboost ({exchange.one_line(error)})",
            "Add catboost to the service's requirements.lock.",
        ) from error
    try:
        return catboost.CatBoost().load_model(path, format="cbm")
    except catboost.CatBoostError as error:
        raise exchange.unreadable(
            path,
            f"CatBoost {catboost.__version__} refuses it ({exchange.one_line(error)})",
            "Write it with model.save_model('model.cbm').",
        ) from error


def classes_of(model: Any) -> list[Any] | None:
    """A classifier's classes in its order, None of a regressor."""
    loss = str((model.get_all_params() or {}).get("loss_function", ""))
    plain = [each.item() if hasattr(each, "item") else each for each in model.classes_]
    if plain and all(isinstance(each, str) and re.fullmatch("True|False", each) for each in plain):
        plain = [each == "True" for each in plain]
    if plain:
        return plain
    return [0, 1] if loss.startswith(("Logloss", "CrossEntropy")) else None


def _target_count(model: Any, count: int) -> int:
    categories = set(model.get_cat_feature_indices())
    row = ["" if place in categories else 0.0 for place in range(count)]
    import catboost  # noqa: PLC0415  # `load` has it already

    return int(np.asarray(model.predict(catboost.Pool([row], cat_features=sorted(categories)))).size)


if __name__ == "__main__":
    exchange.run(describe)
