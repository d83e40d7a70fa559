from __future__ import annotations

import math
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.core import answer_checks

SHARE = answer_checks.AnswerCheck(path="prediction.late", minimum=0.0, maximum=1.0)
EVERY = answer_checks.AnswerCheck(path="predictions.*.late", minimum=0.0, maximum=1.0)
PRESENT = answer_checks.AnswerCheck(path="label")


@pytest.mark.parametrize(
    ("check", "document"),
    [
        (SHARE, {"prediction": {"late": 0}}),
        (SHARE, {"prediction": {"late": 1.0}, "more": None}),
        (EVERY, {"predictions": [{"late": 0.1}, {"late": 0.9}]}),
        (PRESENT, {"label": "late"}),
        (PRESENT, {"label": False}),
        (answer_checks.AnswerCheck(path="scores.1"), {"scores": [math.nan, 2]}),
        (answer_checks.AnswerCheck(path="0.late"), [{"late": 3}]),
    ],
)
def test_a_good_answer_breaks_no_check(check: answer_checks.AnswerCheck, document: Any) -> None:
    assert answer_checks.broken([check], document) is None


@pytest.mark.parametrize(
    ("check", "document", "words"),
    [
        (SHARE, {}, "nothing at 'prediction.late'"),
        (SHARE, [], "nothing at"),
        (SHARE, None, "nothing at"),
        (SHARE, {"prediction": {"late": math.nan}}, "is nan, not a finite number"),
        (SHARE, {"prediction": {"late": math.inf}}, "is inf, not a finite number"),
        (SHARE, {"prediction": {"late": 1.5}}, "1.5, outside of 0.0 to 1.0"),
        (SHARE, {"prediction": {"late": -1}}, "-1, outside of"),
        (SHARE, {"prediction": {"late": "0.5"}}, "'0.5', not a number"),
        (SHARE, {"prediction": {"late": True}}, "True, not a number"),
        (EVERY, {"predictions": []}, "nothing at"),
        (EVERY, {"predictions": [{"late": 0.1}, {"late": 2}]}, "2, outside of"),
        (PRESENT, {"label": None}, "null, not a value"),
        (PRESENT, {"label": {}}, "an object, not a value"),
        (PRESENT, {"label": []}, "an array, not a value"),
        (PRESENT, {"label": math.nan}, "not a finite number"),
    ],
)
def test_a_broken_answer_is_named_with_its_place(check: answer_checks.AnswerCheck, document: Any, words: str) -> None:
    found = answer_checks.broken([check], document)

    assert found is not None
    assert check.path == found.path
    assert words in found.message


def test_the_first_broken_check_is_told() -> None:
    found = answer_checks.broken([PRESENT, SHARE], {"label": "a"})

    assert found is not None
    assert "prediction.late" == found.path


def test_the_first_value_is_what_the_outputs_are_judged_by() -> None:
    assert 0.1 == answer_checks.first_value([EVERY, SHARE], {"predictions": [{"late": 0.1}, {"late": 0.2}]})
    assert answer_checks.first_value([SHARE], {}) is None
    assert answer_checks.first_value([], {"late": 1}) is None


@pytest.mark.parametrize("path", ["", ".", "a..b", "a."])
def test_a_path_without_a_name_is_no_check(path: str) -> None:
    with pytest.raises(errors.InvariantError, match="Not a path"):
        answer_checks.AnswerCheck(path=path)
