"""The join of labels in SQL, against one in slow and obvious Python, over histories of everything that goes wrong."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import duckdb
import hypothesis
import hypothesis.strategies as st
import pyarrow as pa
import pytest

from softlaunch.adapters.lake import label_join
from softlaunch.adapters.lake import labels as tables
from softlaunch.core.labels import record, rules
from softlaunch.ports import labels as ports

BEGIN = 1_700_000_000
END = 40
"""Seconds that a history lasts; windows are a few of them."""


class Asked(NamedTuple):
    """A row of predictions."""

    id: str
    time: int
    key: str | None
    keys: Mapping[str, str]


class History(NamedTuple):
    asked: list[Asked]
    pushes: list[list[record.Label]]
    declared: dict[str, rules.Rule]
    known_at: int


class Truth(NamedTuple):
    value: float | None
    text: str | None
    raters: int
    disagree: bool
    arrived: int
    implied: bool


def oracle(history: History) -> dict[tuple[str, str], Truth]:
    """What is known of each prediction at that moment, by looking at each label and each prediction."""
    predictions: dict[str, Asked] = {}
    for row in sorted(history.asked, key=lambda row: row.time):
        if row.time <= history.known_at:  # the first of an id tells the time, and the first that has them the keys
            first = predictions.setdefault(row.id, row)
            predictions[row.id] = first._replace(key=first.key or row.key, keys=first.keys or row.keys)
    standing: dict[tuple[str, str], dict[str | None, tuple[Any, ...]]] = {}
    for push, labels in enumerate(history.pushes):
        for line, label in enumerate(labels):
            if label.arrived > history.known_at:
                continue
            for name, rule, value, text in meant(label, history.declared):
                for found in about(label, rule, predictions.values(), is_event=bool(rule.events)):
                    rank = (label.version, label.arrived, f"push{push}", line, value, text)
                    votes = standing.setdefault((found.id, name), {})
                    if label.rater not in votes or votes[label.rater][:4] < rank[:4]:
                        votes[label.rater] = rank
    truths = {}
    for place, votes in standing.items():
        stand = [vote for vote in votes.values() if vote[4] is not None or vote[5] is not None]
        if stand:
            truths[place] = told(stand)
    for name, rule in history.declared.items():
        for row in predictions.values():
            passed = row.time + rule.within_seconds
            if rule.otherwise is not None and passed <= history.known_at and (row.id, name) not in truths:
                truths[row.id, name] = Truth(rule.otherwise, None, 0, False, int(passed), True)
    return truths


def meant(label: record.Label, declared: Mapping[str, rules.Rule]) -> Iterator[tuple[str, rules.Rule, Any, Any]]:
    is_withdrawn = label.value is None and label.text is None
    is_claimed = False
    for name, rule in declared.items():
        if label.name in rule.events:
            is_claimed = True
            yield name, rule, None if is_withdrawn else rule.events[label.name], None
        elif label.name == name and not rule.events:
            is_claimed = True
            yield name, rule, label.value, label.text
    if not is_claimed:
        yield label.name, rules.Rule(within_seconds=rules.WITHIN_SECONDS), label.value, label.text


def about(label: record.Label, rule: rules.Rule, predictions: Any, *, is_event: bool) -> list[Asked]:
    happened = label.arrived if label.at is None else label.at
    found = []
    for row in predictions:
        is_inside = row.time <= happened <= row.time + rule.within_seconds
        if label.prediction_id is not None:
            is_meant = label.prediction_id == row.id and (is_inside or not is_event)
        else:
            its = row.key if label.key_name is None else row.keys.get(label.key_name)
            is_meant = its == label.key and is_inside
        if is_meant:
            found.append(row)
    if label.prediction_id is None and rule.match is rules.Match.LAST:
        return sorted(found, key=lambda row: (row.time, row.id))[-1:]
    return found


def told(stand: Sequence[tuple[Any, ...]]) -> Truth:
    values = [vote[4] for vote in stand if vote[4] is not None]
    texts = [vote[5] for vote in stand if vote[5] is not None]
    return Truth(
        value=sum(values) / len(values) if values else None,
        text=texts[0] if len(texts) == len(stand) and len(set(texts)) == 1 else None,
        raters=len(stand),
        disagree=len({vote[4:] for vote in stand}) > 1,
        arrived=max(vote[1] for vote in stand),
        implied=False,
    )


IDS = st.sampled_from(["a:0", "b:0", "c:0", "c:1"])
TIMES = st.integers(0, END).map(lambda second: BEGIN + second)
KEYS = st.sampled_from(["u", "v"])
EVENTS = st.sampled_from(["late", "click", "refund"])
VALUES = st.sampled_from([(0.0, None), (1.0, None), (0.25, None), (None, "spam"), (None, "ham"), (None, None)])


@st.composite
def labels(draw: st.DrawFn) -> record.Label:
    by_id = draw(st.booleans())
    value, text = draw(VALUES)
    return record.Label(
        prediction_id=draw(st.one_of(IDS, st.just("nobody:0"))) if by_id else None,
        key_name=None if by_id else draw(st.sampled_from([None, "order"])),
        key=None if by_id else draw(KEYS),
        at=draw(st.one_of(st.none(), TIMES)),
        arrived=draw(TIMES),
        name=draw(EVENTS),
        value=value,
        text=text,
        version=draw(st.integers(0, 2)),
        rater=draw(st.sampled_from([None, "anna", "ben"])),
    )


RULES = st.builds(
    rules.Rule,
    within_seconds=st.sampled_from([1.0, 5.0, 20.0]),
    match=st.sampled_from(rules.Match),
    events=st.dictionaries(EVENTS, st.sampled_from([0.0, 1.0]), max_size=2),
    otherwise=st.sampled_from([None, 0.0, 1.0]),
)
HISTORIES = st.builds(
    History,
    asked=st.lists(
        st.builds(
            Asked, id=IDS, time=TIMES, key=st.one_of(st.none(), KEYS), keys=st.dictionaries(st.just("order"), KEYS)
        ),
        max_size=6,
        unique_by=lambda row: row.time,
    ),
    pushes=st.lists(st.lists(labels(), min_size=1, max_size=5), max_size=3),
    declared=st.dictionaries(st.sampled_from(["late", "good", "clicked"]), RULES, max_size=2),
    known_at=TIMES,
)


def joined(history: History, *, only: str | None = None) -> dict[tuple[str, str], Truth]:
    """The same, asked of DuckDB."""
    pushes = [
        ports.Push(name=f"push{place}", source="test", urgent=True, labels=found)
        for place, found in enumerate(history.pushes)
    ]
    said = tables.arrow(pushes) if pushes else tables.SCHEMA.empty_table()
    asked = pa.table(
        {
            "id": pa.array([row.id for row in history.asked], pa.string()),
            "time": pa.array([row.time * 1_000_000 for row in history.asked], pa.timestamp("us", "UTC")),
            "key": pa.array([row.key for row in history.asked], pa.string()),
            "keys": pa.array(
                [list(row.keys.items()) or None for row in history.asked], pa.map_(pa.string(), pa.string())
            ),
        }
    )
    moment = datetime.datetime.fromtimestamp(history.known_at, datetime.UTC)
    with CONNECTION.cursor() as cursor:
        cursor.register("predictions", asked)
        cursor.register("labels", said)
        by_key = any(label.key is not None for found in history.pushes for label in found)
        query = label_join.view(history.declared, as_of=moment, by_key=by_key, only=only).partition("AS\n")[2]
        where = "" if only is None else f" WHERE id = '{only}'"
        rows = cursor.execute(
            f"SELECT id, name, value, text, raters, disagree, epoch_us(arrived), implied FROM ({query}){where}"
        ).fetchall()
    found = {(row[0], row[1]): Truth(row[2], row[3], row[4], row[5], row[6] // 1_000_000, row[7]) for row in rows}
    assert len(rows) == len(found)
    return found


CONNECTION = duckdb.connect(config={"threads": 1})
CONNECTION.execute("SET TimeZone='UTC'")


def same(history: History) -> None:
    expected, found = oracle(history), joined(history)
    assert expected.keys() == found.keys()
    for place, truth in expected.items():
        assert truth._replace(value=None) == found[place]._replace(value=None)
        if truth.value is None:
            assert found[place].value is None
        else:
            assert math.isclose(truth.value, found[place].value, abs_tol=1e-12)
        assert found[place].arrived <= history.known_at
    for only in sorted({name for name, _ in found})[:1]:  # one alone is what it is among the others
        assert joined(history, only=only) == {place: truth for place, truth in found.items() if place[0] == only}


@hypothesis.given(HISTORIES)
@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
def test_the_join_is_what_looking_at_everything_gives(history: History) -> None:
    same(history)


@pytest.mark.slow
@hypothesis.given(HISTORIES)
@hypothesis.settings(max_examples=int(os.environ.get("HISTORIES", "600")), deadline=None)
def test_so_it_is_for_many_more_histories(history: History) -> None:
    same(history)
