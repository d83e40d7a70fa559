"""
Tells what a Python class answers: from its attribute `outputs`, else by asking it with rows of the reference.

Asked: target, code, path, names, rows. Answers: outputs (name to datatype).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from softlaunch import errors
from softlaunch.adapters.python_env.scripts import exchange
from softlaunch.core import release


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    exchange.enter(request["code"])
    target = request["target"]
    instance = _instance(target, request["path"])
    declared = getattr(instance, "outputs", None)
    if declared is not None:
        known = {each.value for each in release.Datatype}
        if not isinstance(declared, Mapping) or not declared or not set(declared.values()) <= known:
            raise _refused(
                target, f"its `outputs` is {declared!r:.200}", 'Name them with datatypes: {"price": "FP64"}.'
            )
        return {"outputs": dict(declared)}
    if request["rows"] is None:
        raise errors.ConfigError(
            f"Nothing says what {target} answers: it has no attribute `outputs`, and there are no rows to ask it with.",
            remedy='Add `outputs = {"price": "FP64"}` to the class, or a `reference` to softlaunch.yaml.',
            code=errors.Code.SIGNATURE_UNKNOWN,
        )
    names, rows = request["names"], exchange.read_rows(request["rows"])
    try:
        if hasattr(instance, "predict_batch"):
            columns = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
            answer: Any = instance.predict_batch(columns)
        else:
            answer = instance.predict([dict(zip(names, row, strict=True)) for row in rows])
    except Exception as error:  # the user's code: anything can come out
        raise _refused(
            target,
            f"it fails on reference rows ({exchange.one_line(error)})",
            "Fix it, or the reference's columns.",
        ) from error
    return {"outputs": _outputs(target, answer)}


def _instance(target: str, path: str | None) -> Any:
    file, _, name = target.partition(":")
    try:
        found = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
        arguments = [path] if path is not None and inspect.signature(found).parameters else []
        instance = found(*arguments)
    except (Exception, SystemExit) as error:  # as above
        raise _refused(
            target, f"it cannot be made ({exchange.one_line(error)})", "Fix the class or its imports."
        ) from error
    if not (hasattr(instance, "predict_batch") or hasattr(instance, "predict")):
        raise _refused(target, "it has neither predict(rows) nor predict_batch(columns)", "Give it one of the two.")
    return instance


def _outputs(target: str, answer: Any) -> dict[str, str]:
    if isinstance(answer, Mapping):
        return {str(name): _datatype(target, str(name), list(values)) for name, values in answer.items()}
    answers = list(answer)
    if answers and all(isinstance(each, Mapping) for each in answers):
        names = list(dict.fromkeys(str(name) for each in answers for name in each))
        return {name: _datatype(target, name, [each.get(name) for each in answers]) for name in names}
    return {"prediction": _datatype(target, "prediction", answers)}


def _datatype(target: str, name: str, values: list[Any]) -> str:
    plain = [each.item() if isinstance(each, np.generic) else each for each in values]
    for kinds, datatype in ((bool, "BOOL"), (int, "INT64"), (float, "FP64"), (str, "BYTES")):
        accepted: Any = (int, float) if kinds is float else kinds
        if all(isinstance(each, accepted) and (kinds is bool or not isinstance(each, bool)) for each in plain):
            return datatype
    shown = next((each for each in plain if not isinstance(each, bool | int | float | str)), plain[0])
    raise _refused(
        target, f"its output {name!r} is {shown!r:.80}", "Answer numbers, true or false, or text, of one kind."
    )


def _refused(target: str, why: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(f"{target} cannot be served: {why}.", remedy=remedy, code=errors.Code.MODEL_UNREADABLE)


if __name__ == "__main__":
    exchange.run(describe)
