"""
Python classes from the release's code/.

`module.py:Class` is imported from code/, constructed with the model file's path when its constructor takes an argument,
and asked through one of two methods:

    predict_batch(columns)   columns: arrays by feature name   -> sequences by output name
    predict(rows)            rows: dicts by feature name       -> one dict, or one value, per row
"""

from __future__ import annotations

import importlib
import inspect
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import predictions, release
from softlaunch.serving.runtimes import model


class PythonModel:
    """See model.Model."""

    platform = "python"
    cost = None
    float32_names: frozenset[str] = frozenset()

    def __init__(self, target: str, path: pathlib.Path | None, signature: release.Signature) -> None:
        """
        Raises:
            ConfigError: the target cannot be imported or constructed, or has neither method.
        """
        self._signature = signature
        self._names = [column.name for column in signature.inputs]
        self._instance = _constructed(_class(target), target, path)
        self._batch = getattr(self._instance, "predict_batch", None)
        self._rows = getattr(self._instance, "predict", None)
        method = self._batch or self._rows
        if not callable(method):
            raise model.unloadable(
                f"{target} has neither predict(rows) nor predict_batch(columns).",
                remedy="Give the class one of the two methods.",
            )
        if inspect.iscoroutinefunction(method):
            raise model.unloadable(
                f"{target}.{method.__name__} is a coroutine function.",
                remedy="Make it an ordinary method: it runs in a thread of its own already.",
            )

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """See model.Model.answer."""
        if self._batch is not None:
            answer = self._batch(predictions.row_columns(self._signature, rows))
            if not isinstance(answer, Mapping):
                raise TypeError(f"predict_batch() returned a {type(answer).__name__}, not sequences by output name.")
            return answer
        names = self._names
        asked = [dict(zip(names, row, strict=True)) for row in rows]
        return _transposed(self._rows(asked), self._signature.outputs)  # type: ignore[misc]  # one of the two is set


def load(found: model.Loading) -> PythonModel:
    """See unpacked.load_model."""
    if found.content.python_target is None:
        raise model.mismatch("A release of runtime python names no python_target.")
    return PythonModel(found.content.python_target, found.path, found.content.signature)


def _transposed(found: Any, outputs: Sequence[release.Column]) -> dict[str, list[Any]]:
    if isinstance(found, Mapping | str | bytes) or not hasattr(found, "__iter__"):
        raise TypeError(f"predict() returned a {type(found).__name__}, not one answer per row.")
    answers = list(found)
    if all(isinstance(each, Mapping) for each in answers):
        return {column.name: [each.get(column.name) for each in answers] for column in outputs}
    if len(outputs) == 1:
        sole = outputs[0].name
        return {sole: [each.get(sole) if isinstance(each, Mapping) else each for each in answers]}
    raise TypeError(f"predict() returned single values, but the release has {len(outputs)} outputs: return dicts.")


def _class(target: str) -> Any:
    file, _, name = target.partition(":")
    module_name = file.removesuffix(".py").replace("/", ".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.startswith(error.name):
            raise model.unloadable(
                f"There is no {file} in the release's code.",
                remedy="Check `model.python` in softlaunch.yaml: module.py:Class, relative to it.",
            ) from error
        raise model.unloadable(
            f"{file} imports {error.name!r}, which the release's environment does not have.",
            remedy="Add it to the service's requirements and build the release again.",
        ) from error
    except (Exception, SystemExit) as error:  # importing runs the user's code: anything can come out
        raise model.unloadable(
            f"{file} cannot be imported ({model.one_line(error)}).",
            remedy="Fix the module: `python -c 'import ...'` in the service's folder shows the whole traceback.",
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [each for each, value in vars(module).items() if isinstance(value, type)]
        what = "no class" if found is None else f"a {type(found).__name__} instead of a class"
        remedy = predictions.nearest(name, classes) if classes else "Define it there."
        raise model.unloadable(f"{file} has {what} {name!r}.", remedy=remedy)
    return found


def _constructed(found: Any, target: str, path: pathlib.Path | None) -> Any:
    arguments: tuple[str, ...] = ()
    if path is not None and _takes_argument(found):
        arguments = (str(path),)
    try:
        return found(*arguments)
    except (Exception, SystemExit) as error:  # the constructor is the user's code: anything can come out
        raise model.unloadable(
            f"{target} cannot be constructed ({model.one_line(error)}).",
            remedy="Fix its __init__; it gets the model file's path when it takes an argument.",
        ) from error


def _takes_argument(found: Any) -> bool:
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:  # a class written in C without a signature
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(parameter.kind in positional for parameter in parameters)
