"""
Do two answers to the same request say the same?

Names of releases, of the model and the echoed id are no part of what an answer says. Numbers agree when they are as
close as the rule allows, relative to the larger; texts, booleans and nulls when equal. With `top_1` a row of a
classifier agrees when its class does, however the probabilities moved: the label where there is one, else the class of
the largest probability, else the side of one half a single probability is on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import answer_checks, predictions
from softlaunch.core.shadow import answer_rows

_NO_CONTENT = frozenset({"release", "model_name", "model_version", "id", "parameters"})
_SHOWN_CHARS = 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """When numbers agree, and whether of classes only the first counts."""

    tolerance: float = 0.0
    """Relative to the larger of the two; 0: exactly."""
    top_1: bool = False
    paths: tuple[str, ...] = ()
    """Places (core.answer_checks) at which answers of somebody's own code are compared; empty: everywhere."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """The first place at which two answers differ, for people."""

    path: str
    """Such as `[3].probability`: row 3, counted from 0; empty for the whole answer."""
    stable: str
    candidate: str

    def __str__(self) -> str:
        return f"{self.path or 'the answer'}: stable {self.stable}, candidate {self.candidate}"


def difference(stable: bytes, candidate: bytes, rule: Rule) -> Difference | None:
    """
    Where the candidate's answer differs from stable's; None when they agree.

    Args:
        stable: The body of a successful answer of /predict, of the Open Inference Protocol, or any other JSON.
        candidate: Its counterpart.
        rule: When numbers and classes agree.
    """
    if stable == candidate:
        return None
    if rule.paths:
        return _at_paths(answer_rows.decoded(stable), answer_rows.decoded(candidate), rule)
    rows_stable, rows_candidate = answer_rows.rows(stable), answer_rows.rows(candidate)
    if rows_stable is not None and rows_candidate is not None:
        return _of_rows(rows_stable, rows_candidate, rule)
    left, right = answer_rows.decoded(stable), answer_rows.decoded(candidate)
    if left is None or right is None:
        return Difference(path="", stable=_shown_bytes(stable), candidate=_shown_bytes(candidate))
    return _of_values("", _content(left), _content(right), rule.tolerance)


def _at_paths(stable: Any, candidate: Any, rule: Rule) -> Difference | None:
    for path in rule.paths:
        left, right = (answer_checks.values(path, document) for document in (stable, candidate))
        if len(left) != len(right):
            return Difference(path=f".{path}", stable=f"{len(left)} values", candidate=f"{len(right)} values")
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            where = f".{path}" if len(left) == 1 else f".{path}[{number}]"
            found = _of_values(where, one, other, rule.tolerance)
            if found is not None:
                return found
    return None


def top_class(row: Mapping[str, Any]) -> Any:
    """The class a row says, as its kind of answer says it; None when it is no classifier's."""
    if predictions.LABEL in row:
        return row[predictions.LABEL]
    prefix = f"{predictions.PROBABILITY}_"
    scores = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
    if scores and all(_is_number(value) for value in scores.values()):
        return max(scores, key=lambda name: scores[name])
    single = row.get(predictions.PROBABILITY)
    if single is not None and _is_number(single):
        return single >= 0.5
    vectors = [value for value in row.values() if isinstance(value, list) and value]
    if len(vectors) == 1 and all(_is_number(value) for value in vectors[0]):
        return vectors[0].index(max(vectors[0]))
    return None


def _of_rows(
    stable: Sequence[answer_rows.AnswerRow], candidate: Sequence[answer_rows.AnswerRow], rule: Rule
) -> Difference | None:
    if len(stable) != len(candidate):
        return Difference(path="", stable=f"{len(stable)} rows", candidate=f"{len(candidate)} rows")
    for number, (left, right) in enumerate(zip(stable, candidate, strict=True)):
        if rule.top_1:
            class_left, class_right = top_class(left), top_class(right)
            if class_left is not None and class_right is not None:
                if not _same(class_left, class_right, 0.0):
                    path = f"[{number}] class"
                    return Difference(path=path, stable=_shown(class_left), candidate=_shown(class_right))
                continue
        found = _of_values(f"[{number}]", left, right, rule.tolerance)
        if found is not None:
            return found
    return None


def _of_values(path: str, left: Any, right: Any, tolerance: float) -> Difference | None:
    if isinstance(left, dict) and isinstance(right, dict):
        for name in [*left, *(name for name in right if name not in left)]:
            if name not in left or name not in right:
                shown = ["absent" if name not in side else _shown(side[name]) for side in (left, right)]
                return Difference(path=f"{path}.{name}", stable=shown[0], candidate=shown[1])
            found = _of_values(f"{path}.{name}", left[name], right[name], tolerance)
            if found is not None:
                return found
        return None
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            found = _of_values(f"{path}[{number}]", one, other, tolerance)
            if found is not None:
                return found
        return None
    if _same(left, right, tolerance):
        return None
    return Difference(path=path, stable=_shown(left), candidate=_shown(right))


def _same(left: Any, right: Any, tolerance: float) -> bool:
    if _is_number(left) and _is_number(right):
        if left == right or (math.isnan(left) and math.isnan(right)):
            return True
        return bool(abs(left - right) <= tolerance * max(abs(left), abs(right)))
    return type(left) is type(right) and bool(left == right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _content(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: value for name, value in document.items() if name not in _NO_CONTENT}
    return document


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"{value:.6g}" if isinstance(value, float) else predictions.shown(value)


def _shown_bytes(body: bytes) -> str:
    return predictions.shown(body[:_SHOWN_CHARS].decode(errors="replace"))
