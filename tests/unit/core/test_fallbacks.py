"""Tables answer by keys; what cannot answer is refused before it is deployed."""

from __future__ import annotations

import pytest

from softlaunch import errors
from softlaunch.core import fallbacks, spec

PRICES = """carrier,distance,label,probability,note,rush
UA,100,0,0.25,plain,true
UA,100.5,1,1,,false
,,0,0.5,default,false
"""


def table(content: str = PRICES, *keys: str) -> fallbacks.Table:
    return fallbacks.Table(
        spec.FallbackSpec(
            kind=spec.FallbackKind.TABLE, target="prices.csv", keys=keys or ("carrier", "distance"), content=content
        )
    )


@pytest.mark.parametrize("distance", [100, 100.0, "100", "100.0"])
def test_numbers_are_compared_as_numbers(distance) -> None:
    answer = table().answer({"carrier": "UA", "distance": distance, "more": 1})

    assert {"label": 0, "probability": 0.25, "note": "plain", "rush": True} == answer


def test_each_answer_column_has_one_type_and_an_empty_cell_is_null() -> None:
    answer = table().answer({"carrier": "UA", "distance": 100.5})

    assert answer is not None
    assert {"label": 1, "probability": 1.0, "note": None, "rush": False} == answer
    assert isinstance(answer["probability"], float)


@pytest.mark.parametrize(
    "row", [{}, {"carrier": "UA"}, {"carrier": "XX", "distance": 1}, {"carrier": "UA", "distance": "far"}]
)
def test_a_row_nobody_named_gets_the_default(row) -> None:
    assert "default" == (table().answer(row) or {})["note"]


def test_without_a_default_there_is_no_answer() -> None:
    found = table("k,v\na,1\n", "k")

    assert {"v": 1} == found.answer({"k": "a"})
    assert found.answer({"k": "b"}) is None
    assert found.answer({"k": None}) is None


def test_text_keys_are_compared_as_written_and_bools_as_json_writes_them() -> None:
    found = table("k,v\n007,1\nx,2\ntrue,3\n3,4\n", "k")

    assert [{"v": 1}, {"v": 3}, {"v": 4}] == [found.answer({"k": key}) for key in ("007", True, 3.0)]
    assert found.answer({"k": 7}) is None


@pytest.mark.parametrize(
    ("content", "keys", "words"),
    [
        ("", ("k",), "has no column 'k'"),
        ("k,v\n", ("k",), "has no rows"),
        ("k,v\na,1\n", ("x",), "has no column 'x'"),
        ("k\na\n", ("k",), "key columns only"),
        ("k,k\na,1\n", ("k",), "two of one name"),
        ("k,v\na\n", ("k",), "has 1 cells in row 2"),
        ("k,v\na,1\na,2\n", ("k",), "row 2 twice"),
        ("k,v\n1,1\n1.0,2\n", ("k",), "row 2 twice"),
        ('k,v\n"a,1\n', ("k",), "is not CSV"),
    ],
)
def test_what_is_no_table_is_refused_with_the_place(content: str, keys: tuple[str, ...], words: str) -> None:
    with pytest.raises(errors.ConfigError, match=words) as caught:
        table(content, *keys)

    assert caught.value.code is errors.Code.FALLBACK_UNUSABLE


@pytest.mark.parametrize(
    ("target", "content", "words"),
    [
        ("prices.py", "", "is not FILE.py:FUNCTION"),
        ("prices.txt:base", "", "is not FILE.py:FUNCTION"),
        ("prices.py:base", "def base(:", "is not Python in line 1"),
        ("prices.py:base", "def other(row): ...", "defines no function 'base'"),
    ],
)
def test_what_is_no_function_is_refused_without_running_it(target: str, content: str, words: str) -> None:
    fallback = spec.FallbackSpec(kind=spec.FallbackKind.PYTHON, target=target, content=content)

    with pytest.raises(errors.ConfigError, match=words):
        fallbacks.check(fallback)


def test_checking_runs_nothing() -> None:
    fallbacks.check(
        spec.FallbackSpec(
            kind=spec.FallbackKind.PYTHON, target="p.py:base", content="1 / 0\ndef base(row):\n    return {}\n"
        )
    )


def test_a_task_is_read_as_it_was_written() -> None:
    task = fallbacks.Task(
        fallback=spec.FallbackSpec(kind=spec.FallbackKind.TABLE, target="p.csv", keys=("k",), content="k,v\nä,1\n"),
        features=("k", "l"),
    )

    assert fallbacks.load(fallbacks.dump(task)) == task


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"schema":1}', b"\xff"])
def test_a_task_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(errors.ConfigError):
        fallbacks.load(raw)
