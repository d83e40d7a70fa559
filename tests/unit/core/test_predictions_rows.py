from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softlaunch.core import predictions, release

SIGNATURE = release.Signature(
    inputs=(
        release.Column(name="distance", datatype=release.Datatype.FP64),
        release.Column(name="wind", datatype=release.Datatype.FP32, nullable=True),
        release.Column(name="hour", datatype=release.Datatype.INT64),
        release.Column(name="weekend", datatype=release.Datatype.BOOL),
        release.Column(name="carrier", datatype=release.Datatype.BYTES, nullable=True),
    ),
    outputs=predictions.regressor_outputs(),
)
GOOD = {"distance": 1.5, "wind": 2.0, "hour": 3, "weekend": True, "carrier": "AA"}


def refused(row: Any) -> predictions.RowError:
    with pytest.raises(predictions.RowError) as caught:
        predictions.check_rows(SIGNATURE, [GOOD, row])
    return caught.value


def test_a_row_becomes_values_in_the_order_of_the_signature() -> None:
    shuffled = dict(reversed(GOOD.items()))

    assert [(1.5, 2.0, 3, True, "AA")] == predictions.check_rows(SIGNATURE, [shuffled])


def test_whole_numbers_are_floats_and_whole_floats_are_integers() -> None:
    (row,) = predictions.check_rows(SIGNATURE, [{**GOOD, "distance": 7, "hour": 3.0}])

    assert (7.0, 3) == (row[0], row[2])
    assert isinstance(row[0], float)
    assert isinstance(row[2], int)


@pytest.mark.parametrize("absent", [{}, {"wind": None, "carrier": None}])
def test_what_is_nullable_may_be_null_or_left_out(absent: dict[str, None]) -> None:
    row = {"distance": 1.5, "hour": 3, "weekend": True, **absent}

    assert [(1.5, None, 3, True, None)] == predictions.check_rows(SIGNATURE, [row])


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("distance", True, "true"),
        ("distance", "1.5", "'1.5'"),
        ("distance", None, "null"),
        ("distance", float("nan"), "nan"),
        ("distance", float("-inf"), "-inf"),
        ("distance", 10**400, "a very large number"),
        ("distance", {}, "an object"),
        ("wind", 1e39, "1e+39"),
        ("wind", [], "an array"),
        ("hour", 2.5, "2.5"),
        ("hour", 2**63, "9223372036854775808"),
        ("hour", False, "false"),
        ("hour", float("inf"), "inf"),
        ("weekend", 1, "1"),
        ("carrier", 7, "7"),
        ("carrier", "\ud800", "'\\ud800'"),
        ("carrier", "x" * 1000, ""),
    ],
)
def test_a_wrong_value_is_named_with_its_row_column_and_remedy(column: str, value: Any, shown: str) -> None:
    if value == "x" * 1000:
        assert predictions.check_rows(SIGNATURE, [{**GOOD, column: value}])
        return

    error = refused({**GOOD, column: value})

    assert (1, column) == (error.row, error.column)
    assert shown in error.message
    assert error.remedy.startswith("Send ")


def test_an_unknown_feature_is_refused_with_the_nearest_name() -> None:
    error = refused({**GOOD, "carriers": "AA"})

    assert (1, "carriers") == (error.row, error.column)
    assert "'carrier'" in error.remedy


def test_a_missing_feature_is_named() -> None:
    error = refused({name: value for name, value in GOOD.items() if name != "hour"})

    assert (1, "hour") == (error.row, error.column)
    assert "missing" in error.message


def test_a_row_that_is_no_object_is_refused() -> None:
    assert "an array" in refused([1, 2]).message


def test_no_rows_are_refused() -> None:
    with pytest.raises(predictions.RowError, match="no rows"):
        predictions.check_rows(SIGNATURE, [])


def test_missing_values_are_nan_in_floats_and_none_in_text() -> None:
    rows = predictions.check_rows(SIGNATURE, [GOOD, {**GOOD, "wind": None, "carrier": None}])

    columns = predictions.row_columns(SIGNATURE, rows)

    assert np.float32 == columns["wind"].dtype
    assert [False, True] == np.isnan(columns["wind"]).tolist()
    assert ["AA", None] == columns["carrier"].tolist()


def test_a_nullable_integer_column_is_float_as_in_pandas() -> None:
    nullable = release.Column(name="n", datatype=release.Datatype.INT64, nullable=True)
    signature = release.Signature(inputs=(nullable,), outputs=())

    columns = predictions.row_columns(signature, [(1,), (None,)])

    assert np.float64 == columns["n"].dtype


def test_a_float32_model_narrows_only_what_it_computes_in_float32() -> None:
    narrowed = predictions.narrowed(SIGNATURE, frozenset({"distance", "hour"}))

    assert [release.Datatype.FP32, release.Datatype.INT64] == [narrowed.inputs[0].datatype, narrowed.inputs[2].datatype]
    assert SIGNATURE.outputs == narrowed.outputs


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from([*GOOD, "x"]), children),
    max_leaves=20,
)


@given(JSON)
def test_whatever_json_a_row_holds_it_is_taken_or_refused_by_name(row: Any) -> None:
    try:
        (taken,) = predictions.check_rows(SIGNATURE, [row])
    except predictions.RowError as error:
        refused_row = error.row
    else:
        refused_row = 0
        assert len(SIGNATURE.inputs) == len(taken)
        predictions.row_columns(SIGNATURE, [taken])

    assert 0 == refused_row
