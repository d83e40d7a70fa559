"""
Tells what a pickled scikit-learn model takes and answers.

Asked: path, code. Answers: kind (classifier, regressor), classes, probabilities, feature_names, feature_count,
target_count, text_features, type.
"""

from __future__ import annotations

from typing import Any

from softlaunch.adapters.python_env.scripts import exchange


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    exchange.enter(request["code"])
    model = load(request["path"])
    names = getattr(model, "feature_names_in_", None)
    classes = getattr(model, "classes_", None)
    plain = [each.item() if hasattr(each, "item") else each for each in classes] if classes is not None else None
    if plain is not None and not all(isinstance(each, bool | int | float | str) for each in plain):
        plain = [str(each) for each in plain]
    return {
        "kind": "classifier" if classes is not None else "regressor",
        "classes": plain,
        "probabilities": hasattr(model, "predict_proba"),
        "feature_names": [str(each) for each in names] if names is not None else None,
        "feature_count": getattr(model, "n_features_in_", None),
        "target_count": _target_count(model),
        "text_features": sorted(_text_features(model)),
        "type": type(model).__name__,
    }


def load(path: str) -> Any:
    """
    The unpickled model.

    Raises:
        ConfigError: it cannot be unpickled here, or is no fitted estimator.
    """
    try:
        import joblib  # noqa: PLC0415  # only in environments with scikit-learn
    except ImportError as error:
        raise exchange.unreadable(
            path,
            f"the service's environment has no joblib ({exchange.one_line(error)})",
            "Add scikit-learn to the service's lock file.",
        ) from error
    try:
        model = joblib.load(path)
    except ModuleNotFoundError as error:
        raise exchange.unreadable(
            path,
            f"it needs the module {error.name!r}, which the service's environment does not have",
            "Add it to the lock file, or commit the module in the service's folder.",
        ) from error
    except Exception as error:  # unpickling runs the pickle's own code: anything can come out
        raise exchange.unreadable(
            path,
            f"it cannot be unpickled ({exchange.one_line(error)})",
            "Dump the fitted model with joblib under the versions that the lock file pins.",
        ) from error
    if not callable(getattr(model, "predict", None)):
        raise exchange.unreadable(
            path,
            f"it holds a {type(model).__name__}, which has no predict()",
            "Dump the fitted estimator or pipeline itself.",
        )
    return model


def _target_count(model: Any) -> int:
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    count = getattr(final, "n_outputs_", None)
    if count is None:
        shape: tuple[int, ...] = getattr(getattr(final, "coef_", None), "shape", ())
        count = shape[0] if len(shape) == 2 else 1
    return int(count)


def _text_features(model: Any) -> set[str]:
    """Columns that end in an encoder fitted on text; only what a ColumnTransformer says by name."""
    first = model.steps[0][1] if hasattr(model, "steps") else model
    found: set[str] = set()
    for _, transformer, columns in getattr(first, "transformers_", ()):
        steps = [each for _, each in transformer.steps] if hasattr(transformer, "steps") else [transformer]
        categories = next((each.categories_ for each in steps if hasattr(each, "categories_")), ())
        names = [columns] if isinstance(columns, str) else list(columns) if hasattr(columns, "__iter__") else []
        for name, values in zip(names, categories, strict=False):
            if isinstance(name, str) and any(isinstance(each, str) for each in values):
                found.add(name)
    return found


if __name__ == "__main__":
    exchange.run(describe)
