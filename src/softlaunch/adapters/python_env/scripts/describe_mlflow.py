"""
Tells what an MLflow model takes and answers: from its MLmodel file, and by asking it.

Asked: path, code, count (features according to softlaunch.yaml or the reference; None when neither says). Answers as
describe_sklearn does, and kinds (datatype by feature), or outputs as describe_onnx does.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from softlaunch.adapters.python_env.scripts import exchange

_DATATYPES = {"integer": "INT64", "long": "INT64", "float": "FP64", "double": "FP64", "boolean": "BOOL"}
_ZEROS: Mapping[str, Any] = {"string": "", "boolean": False}
_ROW_COUNT = 2


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    exchange.enter(request["code"])
    path = request["path"]
    model = _loaded(path)
    runtime = importlib.import_module("softlaunch.serving.runtimes.mlflow_model")
    schema = model.metadata.get_input_schema()
    kinds: dict[str, str] = {}
    count = request["count"]
    if schema is not None and schema.is_tensor_spec():
        tensors = list(schema.inputs)
        if len(tensors) != 1 or len(tensors[0].shape) != 2:
            raise exchange.unreadable(
                path,
                f"it takes tensors ({schema})",
                "Log it with named columns, or one tensor of shape (-1, features).",
            )
        count = tensors[0].shape[1] if tensors[0].shape[1] > 0 else count
        probe: Any = np.zeros((_ROW_COUNT, count or 1), dtype=tensors[0].type)
    elif schema is not None and schema.has_input_names():
        kinds = _kinds(path, schema, runtime.KINDS)
        import pandas as pd  # noqa: PLC0415  # mlflow.pyfunc needs it anyway

        probe = pd.DataFrame({name: [_ZEROS.get(kind, 0)] * _ROW_COUNT for name, kind in kinds.items()})
        probe = probe.astype({name: runtime.KINDS[kind] for name, kind in kinds.items()})
        count = len(kinds)
    else:
        probe = None
    example = _example(model) if probe is None or "string" in kinds.values() else None
    raw = runtime.classifier_below(model)
    found = {
        "kind": "classifier" if raw is not None else "program",
        "classes": _plain(raw.classes_) if raw is not None else None,
        "probabilities": raw is not None,
        "feature_names": list(kinds) or _fitted_names(raw),
        "feature_count": count if count is not None else getattr(raw, "n_features_in_", None),
        "target_count": 1,
        "text_features": [name for name, kind in kinds.items() if kind == "string"],
        "datatypes": {name: _DATATYPES[kind] for name, kind in kinds.items() if kind in _DATATYPES},
        "type": "MLflow",
    }
    if raw is None:
        found["outputs"] = _outputs(path, model, example if example is not None else probe)
    return found


def _loaded(path: str) -> Any:
    try:
        import mlflow.pyfunc  # noqa: PLC0415  # only in environments of MLflow models
    except ImportError as error:
        raise exchange.unreadable(
            path,
            f"the service's environment lacks a package ({exchange.one_line(error)})",
            "Add mlflow (or mlflow-skinny with numpy and pandas) to the service's requirements.lock.",
        ) from error
    try:
        return mlflow.pyfunc.load_model(path, suppress_warnings=True)
    except ModuleNotFoundError as error:
        raise exchange.unreadable(
            path,
            f"it needs the module {error.name!r}, which the service's environment does not have",
            "Add what the model's own requirements.txt lists to requirements.lock.",
        ) from error
    except Exception as error:  # loading runs the flavour's and the pickle's own code: anything can come out
        raise exchange.unreadable(
            path,
            f"mlflow.pyfunc refuses it ({exchange.one_line(error)})",
            "Load it with mlflow.pyfunc.load_model under the versions that the lock file pins.",
        ) from error


def _kinds(path: str, schema: Any, known: Mapping[str, str]) -> dict[str, str]:
    kinds = {str(column.name): getattr(column.type, "name", str(column.type)) for column in schema.inputs}
    odd = {name: kind for name, kind in kinds.items() if kind not in known}
    if odd:
        shown = ", ".join(f"{name!r} ({kind})" for name, kind in odd.items())
        raise exchange.unreadable(
            path,
            f"rows cannot hold its inputs {shown:.200}",
            "Log the model with columns of numbers, booleans or text.",
        )
    return kinds


def _example(model: Any) -> Any:
    try:
        return model.input_example
    except Exception:  # noqa: BLE001  # an example that cannot be read is none; the model is asked another way
        return None


def _fitted_names(raw: Any) -> list[str] | None:
    names = getattr(raw, "feature_names_in_", None)
    return [str(each) for each in names] if names is not None else None


def _plain(classes: Any) -> list[Any]:
    plain = [each.item() if hasattr(each, "item") else each for each in classes]
    return plain if all(isinstance(each, bool | int | float | str) for each in plain) else [str(each) for each in plain]


def _outputs(path: str, model: Any, probe: Any) -> list[dict[str, Any]]:
    if probe is None:
        raise exchange.unreadable(
            path,
            "nothing says what it answers: it has neither a signature nor an input example",
            "Log it with signature=mlflow.models.infer_signature(inputs, predictions).",
        )
    try:
        answered = model.predict(probe)
    except Exception as error:  # the flavour's own: anything can come out
        raise exchange.unreadable(
            path,
            f"it fails on its own example or on zeros ({exchange.one_line(error)})",
            "Log it with an input_example that it answers.",
        ) from error
    if hasattr(answered, "columns"):
        named = {str(name): answered[name].to_numpy() for name in answered.columns}
    elif isinstance(answered, Mapping):
        named = {str(name): np.asarray(each) for name, each in answered.items()}
    else:
        named = {"output": np.asarray(answered)}
    return [_node(path, name, each, len(probe)) for name, each in named.items()]


def _node(path: str, name: str, answered: Any, row_count: int) -> dict[str, Any]:
    if np.ndim(answered) == 0 or len(answered) != row_count:
        raise exchange.unreadable(
            path, f"for {row_count} rows its output {name!r} has shape {np.shape(answered)}", "Answer one row per row."
        )
    width = int(np.prod(answered.shape[1:])) if answered.ndim > 1 else 1
    kind = "tensor(string)" if answered.dtype.kind in "OUS" else "tensor(double)"
    return {"name": name, "type": kind, "width": width, "classes": None}


if __name__ == "__main__":
    exchange.run(describe)
