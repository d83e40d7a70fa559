"""Labels as people keep them."""

from __future__ import annotations

import json

import pytest

from softlaunch import errors
from softlaunch.core.shadow import label_file


def answer(*labels: object) -> bytes:
    return json.dumps({"predictions": [{"label": label} for label in labels]}).encode()


def test_a_table_and_json_lines_say_the_same() -> None:
    table = "prediction_id,when,label\nr1,today,1\nr2:3,today,0.5\nr3,today,true\nr4,today,late\nr5,today,007\n"
    lines = "\n".join(
        json.dumps({"prediction_id": name, "label": label})
        for name, label in (("r1", 1), ("r2:3", 0.5), ("r3", True), ("r4", "late"), ("r5", "007"))
    )

    expected = {"r1:0": 1, "r2:3": 0.5, "r3:0": True, "r4:0": "late", "r5:0": "007"}
    assert expected == label_file.parse(table, name="x") == label_file.parse(lines, name="x")


def test_the_later_of_two_labels_holds() -> None:
    assert {"r:0": 0} == label_file.parse("prediction_id,label\nr,1\nr:0,0\n", name="x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\nr,1\n", "line 1 is no header"),
        ("prediction_id,label\nr,1\nr2,\n", "line 3 has no label"),
        ("prediction_id,label\n,1\n", "line 2 has no prediction_id"),
        ("prediction_id,label\nr,NaN\n", "line 2 has the label nan"),
        ("prediction_id,label\nr\n", "line 2 has no label"),
        ('{"prediction_id": "r", "label": 1}\n{"prediction_id": "r"}\n', "line 2 has no label"),
        ('{"prediction_id": "r", "label": [1]}\n', "line 1 has no label"),
        ('{"prediction_id": "r", "label": 1}\nr2\n', "line 2 is no JSON object"),
        ("", "line 1 is no header"),
        ("prediction_id,label\n", "there are no labels"),
    ],
)
def test_a_mistake_is_told_with_its_line(text, said) -> None:
    with pytest.raises(errors.ConfigError, match=said) as caught:
        label_file.parse(text, name="truth.csv")

    assert errors.Code.LABELS_UNREADABLE is caught.value.code


def test_labels_without_two_answers_are_counted() -> None:
    found = {"r1:0": 1, "r1:1": 0, "r1:2": 1, "r2:0": 1}

    judged = label_file.judge(found, [("r1", answer(1, 1), answer(0, 0)), ("r9", answer(1), answer(0))])

    assert (4, 2, 2) == (judged.label_count, judged.found_count, judged.missing_count)
    assert (1, 1) == (judged.report.stable_count, judged.report.candidate_count)
    assert {"r1", "r2"} == label_file.requests(found)
    assert 2 == judged.document()["missing_count"]
