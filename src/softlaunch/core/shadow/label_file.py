"""
The truth about predictions, as people keep it: a CSV with a header, or one JSON object a line.

Both have `prediction_id` (REQUEST-ID:ROW, rows counted from 0; REQUEST-ID alone is its first row) and `label`. What
else stands there is left alone.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from softlaunch import errors
from softlaunch.core import predictions
from softlaunch.core.shadow import answer_rows, labels

ID, LABEL = "prediction_id", "label"
_WITH_ROW = re.compile(r"(.+):(\d{1,9})")
_BOOLEANS = {"true": True, "false": False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """Who was right, and which labels found nothing to judge."""

    report: labels.LabelReport
    label_count: int
    found_count: int
    """Labels whose row both releases answered."""

    @property
    def missing_count(self) -> int:
        """Labels of predictions that are not among the answers, or that one of the two did not answer."""
        return self.label_count - self.found_count

    def document(self) -> dict[str, Any]:
        """For interfaces."""
        return {
            **dataclasses.asdict(self.report),
            "label_count": self.label_count,
            "missing_count": self.missing_count,
        }


def parse(text: str, *, name: str) -> dict[str, Any]:
    """
    Labels by REQUEST-ID:ROW, as labels.judge takes them.

    A number of a CSV is a number; one that would lose something, such as 007, stays a text. Of two labels of one row
    the later one holds: the truth gets corrected.

    Args:
        text: The file.
        name: Of the file, for messages.

    Raises:
        ConfigError: it is neither, or a line lacks an id or a label; says which line.
    """
    lines = _json_lines(text, name) if text.lstrip().startswith("{") else _table(text, name)
    found: dict[str, Any] = {}
    for number, row in lines:
        prediction, label = row.get(ID), row.get(LABEL)
        if not isinstance(prediction, str) or not prediction:
            raise _unreadable(name, number, f"has no {ID}")
        if not isinstance(label, str | bool | int | float) or label == "":
            raise _unreadable(name, number, f"has no {LABEL} that is a text, a number, true or false")
        if isinstance(label, float) and not math.isfinite(label):
            raise _unreadable(name, number, f"has the {LABEL} {label}")
        found[prediction if _WITH_ROW.fullmatch(prediction) else f"{prediction}:0"] = label
    if not found:
        raise _unreadable(name, 1, "is the end: there are no labels")
    return found


def requests(found: Mapping[str, Any]) -> frozenset[str]:
    """The request ids that have labels."""
    return frozenset(each.rpartition(":")[0] for each in found)


def judge(found: Mapping[str, Any], answers: Iterable[tuple[str, bytes, bytes]]) -> Judged:
    """
    Compares both sides' answers with the truth, and counts the labels that found none.

    Args:
        found: As `parse` gives them.
        answers: (request id, stable's body, the candidate's body), both successful.
    """
    wanted: collections.defaultdict[str, set[int]] = collections.defaultdict(set)
    for each in found:
        request_id, _, row = each.rpartition(":")
        wanted[request_id].add(int(row))
    kept = [each for each in answers if each[0] in wanted]
    judged = 0
    for request_id, stable, candidate in kept:
        rows = min(len(answer_rows.rows(stable) or ()), len(answer_rows.rows(candidate) or ()))
        judged += sum(row < rows for row in wanted[request_id])
    return Judged(report=labels.judge(found, kept), label_count=len(found), found_count=judged)


def _json_lines(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            row = answer_rows.decoded(line.encode())
            if not isinstance(row, dict):
                raise _unreadable(name, number, f"is no JSON object: {predictions.shown(line[:60])}")
            yield number, row


def _table(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    missing = {ID, LABEL} - set(reader.fieldnames or ())
    if missing:
        raise _unreadable(name, 1, f"is no header with {ID} and {LABEL}")
    try:
        for row in reader:
            yield reader.line_num, {ID: row[ID], LABEL: _value(row[LABEL])}
    except csv.Error as error:
        raise _unreadable(name, reader.line_num, f"is no CSV: {error}") from error


def _value(text: str | None) -> Any:
    if text is None or text.lower() in _BOOLEANS:
        return None if text is None else _BOOLEANS[text.lower()]
    try:
        value = json.loads(text)
    except ValueError:  # also 007, which JSON has no number for
        return text
    return value if isinstance(value, int | float) else text


def _unreadable(name: str, line: int, said: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The labels in {name} cannot be used: line {line} {said}.",
        remedy=f"Write a CSV with the columns {ID} and {LABEL}, or such JSON objects, one a line.",
        code=errors.Code.LABELS_UNREADABLE,
    )
