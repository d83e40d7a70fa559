"""
Rows in, answers out: how JSON rows become a model's columns, and how a model's answer becomes a release's outputs.

Pure functions over a Signature. The builder writes signatures with `classifier_outputs` and `regressor_outputs`; the
model server answers by `answer_columns`, so both agree on names and order:

    binary classifier       label, probability          (probability of the second class, the greater one)
    multiclass classifier   label, probability_CLASS    (one per class, in the order of classes_)
    regressor               prediction                  (prediction_0, prediction_1, ... when there are several targets)

Rows are tuples of Python values in the signature's order; None is a missing value. Unknown features, missing or wrong
values raise, naming row and column; nothing is guessed.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from softlaunch import errors
from softlaunch.core import release

LABEL = "label"
PROBABILITY = "probability"
PREDICTION = "prediction"
_SCORE, _TARGET = f"{PROBABILITY}_", f"{PREDICTION}_"

FLOAT32_MAX = float(np.finfo(np.float32).max)
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
Row: TypeAlias = tuple[Any, ...]
Columns: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
"""
Values by column name, each of shape [N]: bool, int64, float32 or float64, and object arrays of str for BYTES.

A missing value is NaN in floats and None in BYTES; a nullable INT64 or BOOL column is float64, as in pandas.
"""


class MalformedError(errors.ConfigError):
    """The request is not of a form this server reads at all; HTTP says 400."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy, code=errors.Code.REQUEST_MALFORMED)


class RowError(errors.ConfigError):
    """One value of one row is not what the signature allows; HTTP says 422."""

    def __init__(self, message: str, *, remedy: str, row: int | None = None, column: str | None = None) -> None:
        super().__init__(message, remedy=remedy, code=errors.Code.ROW_INVALID)
        self.row = row
        """Counted from 0."""
        self.column = column


def narrowed(signature: release.Signature, float32_names: frozenset[str]) -> release.Signature:
    """The signature with those FP64 inputs made FP32 that the model computes in float32: 1e300 is refused, not inf."""
    return dataclasses.replace(
        signature,
        inputs=tuple(
            dataclasses.replace(found, datatype=release.Datatype.FP32)
            if found.name in float32_names and found.datatype is release.Datatype.FP64
            else found
            for found in signature.inputs
        ),
    )


def check_rows(signature: release.Signature, found: Sequence[Any]) -> list[Row]:
    """
    Rows as the model takes them, from decoded JSON objects by feature name.

    A nullable feature may be left out. Whole numbers are accepted for floats and 3.0 for an INT64 (JSON has one kind
    of number); true and false are never numbers.

    Raises:
        RowError: no rows at all, or the first offending value, with its row and column.
    """
    if not found:
        raise RowError("The request has no rows.", remedy="Send at least one row.")
    names = frozenset(column.name for column in signature.inputs)
    return [_checked_row(signature, names, number, row) for number, row in enumerate(found)]


def check_value(column: release.Column, value: Any, row: int) -> Any:
    """
    The value as the model takes it, None when it is missing and may be.

    Raises:
        RowError: it is not what the column allows.
    """
    if value is None:
        if column.nullable:
            return None
        raise RowError(
            f"Row {row}, column {column.name!r}: null, but a value is required.",
            remedy=f"Send {ALLOWED[column.datatype]}.",
            row=row,
            column=column.name,
        )
    taken = TAKEN[column.datatype](value)
    if taken is None:
        or_null = ", or null when it is missing" if column.nullable else ""
        raise RowError(
            f"Row {row}, column {column.name!r}: {shown(value)} is not allowed.",
            remedy=f"Send {ALLOWED[column.datatype]}{or_null}.",
            row=row,
            column=column.name,
        )
    return taken


def row_columns(signature: release.Signature, rows: Sequence[Row]) -> dict[str, np.ndarray[Any, Any]]:
    """Checked rows as one array per feature; see Columns."""
    return {
        column.name: _array(column, values)
        for column, values in zip(signature.inputs, zip(*rows, strict=True), strict=True)
    }


def nearest(name: str, names: Sequence[str]) -> str:
    """A sentence that names the most similar of `names`, or all of them when none is similar."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known are {', '.join(repr(each) for each in names)}."


def classifier_outputs(classes: Sequence[Any], *, probabilities: bool = True) -> tuple[release.Column, ...]:
    """
    Outputs of a classifier, from its `classes_`.

    Args:
        classes: bool, int, whole float or str, in the model's order; at least two.
        probabilities: False for a model without predict_proba, which answers the label only.

    Raises:
        ConfigError: fewer than two classes, or classes of another or of mixed type.
    """
    found = [each.item() if isinstance(each, np.generic) else each for each in classes]
    if len(found) < 2:
        raise _classes_unsupported(found, "there are fewer than two")
    label = release.Column(name=LABEL, datatype=_label_datatype(found))
    if not probabilities:
        return (label,)
    if len(found) == 2:
        return label, _probability(PROBABILITY)
    suffixes = [str(int(each)) if isinstance(each, float) else str(each) for each in found]
    return label, *(_probability(f"{PROBABILITY}_{each}") for each in suffixes)


def regressor_outputs(target_count: int = 1) -> tuple[release.Column, ...]:
    """Outputs of a regressor: finite, without bounds."""
    names = [PREDICTION] if target_count == 1 else [f"{PREDICTION}_{number}" for number in range(target_count)]
    return tuple(release.Column(name=name, datatype=release.Datatype.FP64) for name in names)


def answer_columns(
    outputs: Sequence[release.Column],
    *,
    labels: np.ndarray[Any, Any] | None = None,
    probabilities: np.ndarray[Any, Any] | None = None,
    values: np.ndarray[Any, Any] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """
    Raw arrays of a model, laid out under the names of the signature; a name nothing was given for is left out.

    Args:
        outputs: The signature's outputs, as made by `classifier_outputs` or `regressor_outputs`.
        labels: Shape [N] or [N, 1].
        probabilities: Shape [N, classes], or [N] or [N, 1] holding the second class alone.
        values: A regressor's answer, shape [N] or [N, targets].
    """
    return AnswerLayout(outputs).columns(labels=labels, probabilities=probabilities, values=values)


class AnswerLayout:
    """`answer_columns` for one signature: what depends on it alone is found out once, not at every call."""

    def __init__(self, outputs: Sequence[release.Column]) -> None:
        self._has_label = any(found.name == LABEL for found in outputs)
        self._label_is_bool = any(found.name == LABEL and found.datatype is release.Datatype.BOOL for found in outputs)
        self._scores = [name for found in outputs if (name := found.name) == PROBABILITY or name.startswith(_SCORE)]
        self._targets = [name for found in outputs if (name := found.name) == PREDICTION or name.startswith(_TARGET)]

    def columns(
        self,
        *,
        labels: np.ndarray[Any, Any] | None = None,
        probabilities: np.ndarray[Any, Any] | None = None,
        values: np.ndarray[Any, Any] | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """See answer_columns."""
        columns: dict[str, np.ndarray[Any, Any]] = {}
        if labels is not None and self._has_label:
            flat = labels.reshape(-1)
            columns[LABEL] = flat.astype(bool) if self._label_is_bool else flat
        if probabilities is not None and self._scores:
            matrix = probabilities.reshape(len(probabilities), -1)
            if self._scores == [PROBABILITY]:
                columns[PROBABILITY] = matrix[:, -1]
            elif matrix.shape[1] == len(self._scores):
                columns.update({name: matrix[:, number] for number, name in enumerate(self._scores)})
        if values is not None and self._targets:
            matrix = values.reshape(len(values), -1)
            if matrix.shape[1] == len(self._targets):
                columns.update({name: matrix[:, number] for number, name in enumerate(self._targets)})
        return columns


def _checked_row(signature: release.Signature, names: frozenset[str], number: int, row: Any) -> Row:
    if not isinstance(row, dict):
        raise RowError(
            f"Row {number} is {shown(row)}, not an object.",
            remedy="Send each row as an object of values by feature name.",
            row=number,
        )
    for name in row:
        if name not in names:
            raise RowError(
                f"Row {number}: there is no feature {name!r:.100}.",
                remedy=nearest(name, [column.name for column in signature.inputs]),
                row=number,
                column=name,
            )
    for column in signature.inputs:
        if column.name not in row and not column.nullable:
            raise RowError(
                f"Row {number}: feature {column.name!r} is missing.",
                remedy=f"Send {ALLOWED[column.datatype]}.",
                row=number,
                column=column.name,
            )
    return tuple(check_value(column, row.get(column.name), number) for column in signature.inputs)


def _taken_bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _taken_int(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():  # also false for NaN and the infinities
        return None
    return int(value) if INT64_MIN <= value <= INT64_MAX else None


def _taken_float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        taken = float(value)
    except OverflowError:
        return None
    return taken if math.isfinite(taken) else None


def _taken_float32(value: Any) -> float | None:
    taken = _taken_float(value)
    return taken if taken is not None and abs(taken) <= FLOAT32_MAX else None


def _taken_text(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


TAKEN: Mapping[release.Datatype, Callable[[Any], Any]] = {
    # The value as the model takes it, None when it is not of the datatype.
    release.Datatype.BOOL: _taken_bool,
    release.Datatype.INT64: _taken_int,
    release.Datatype.FP32: _taken_float32,
    release.Datatype.FP64: _taken_float,
    release.Datatype.BYTES: _taken_text,
}

ALLOWED: Mapping[release.Datatype, str] = {
    release.Datatype.BOOL: "true or false",
    release.Datatype.INT64: "a whole number of 64 bits",
    release.Datatype.FP32: "a finite number of at most 3.4e38 (the model computes in float32)",
    release.Datatype.FP64: "a finite number",
    release.Datatype.BYTES: "a string of valid Unicode",
}

_DTYPES: Mapping[release.Datatype, Any] = {
    release.Datatype.BOOL: np.bool_,
    release.Datatype.INT64: np.int64,
    release.Datatype.FP32: np.float32,
    release.Datatype.FP64: np.float64,
    release.Datatype.BYTES: object,
}


def _array(column: release.Column, values: Sequence[Any]) -> np.ndarray[Any, Any]:
    dtype = _DTYPES[column.datatype]
    if column.nullable and column.datatype in (release.Datatype.BOOL, release.Datatype.INT64):
        dtype = np.float64
    return np.array(values, dtype=dtype)


def shown(value: Any) -> str:
    """The value as a message shows it: short, ASCII, containers by their kind only."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and value.bit_length() > 256:
        return "a very large number"
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _probability(name: str) -> release.Column:
    return release.Column(name=name, datatype=release.Datatype.FP64, minimum=0.0, maximum=1.0)


def _label_datatype(classes: Sequence[Any]) -> release.Datatype:
    if all(isinstance(each, bool) for each in classes):
        return release.Datatype.BOOL
    if all(isinstance(each, str) for each in classes):
        return release.Datatype.BYTES
    whole = [
        not isinstance(each, bool) and isinstance(each, int | float) and math.isfinite(each) and each == int(each)
        for each in classes
    ]
    if all(whole):
        return release.Datatype.INT64
    raise _classes_unsupported(classes, "they are not all bool, all whole numbers or all text")


def _classes_unsupported(classes: Sequence[Any], why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The classifier's classes {list(classes)!r:.200} cannot be served: {why}.",
        remedy="Train with two or more classes that are all bool, all whole numbers or all text.",
        code=errors.Code.CLASSES_UNSUPPORTED,
    )
