from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from softlaunch import errors
from softlaunch.adapters.build_tools import tables
from softlaunch.controller.pipeline import rows
from softlaunch.core import predictions, release


def read(tmp_path, columns):
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return tables.ArrowTables().read(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("values", "datatype", "taken"),
    [
        (pa.array([1, 2], pa.int8()), "INT64", [1, 2]),
        (pa.array([1, None], pa.int64()), "INT64", [1, None]),
        (pa.array([1.5, float("nan")], pa.float32()), "FP64", [1.5, None]),
        (pa.array([2**63, 1], pa.uint64()), "FP64", [2.0**63, 1.0]),
        (pa.array([decimal.Decimal("1.25"), None]), "FP64", [1.25, None]),
        (pa.array([True, False]), "BOOL", [True, False]),
        (pa.array([True, None]), "BOOL", [True, None]),
        (pa.array(["", None]), "BYTES", ["", None]),
        (pa.array(["a", "b"]).dictionary_encode(), "BYTES", ["a", "b"]),
        (pa.array(["a", "b"], pa.large_string()), "BYTES", ["a", "b"]),
    ],
)
def test_columns_become_datatypes_and_rows(tmp_path, values, datatype, taken) -> None:
    table = read(tmp_path, {"x": values})
    column = table.column("x")
    assert column is not None
    wanted = release.Column(name="x", datatype=release.Datatype(datatype), nullable=column.nullable)

    assert column.datatype.value == datatype
    assert [row[0] for row in rows.of_table(table, (wanted,), None, what="It")] == taken
    assert column.nullable == (None in taken)


def test_times_and_lists_are_no_features_and_the_index_of_pandas_is_left_out(tmp_path) -> None:
    columns = {
        "at": pa.array([datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)]),
        "many": pa.array([[1, 2]]),
        "__index_level_0__": pa.array([7]),
        "x": pa.array([1.0]),
    }
    table = read(tmp_path, columns)

    assert [column.name for column in table.columns] == ["x"]
    assert table.unusable == ("at", "many")


def test_csv_knows_missing_text_and_keeps_namibia(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("country,temp\nNA,1.5\n,\n")
    table = tables.ArrowTables().read(tmp_path / "t.csv")
    inputs = (
        release.Column(name="country", datatype=release.Datatype.BYTES),
        release.Column(name="temp", datatype=release.Datatype.FP64),
    )

    assert rows.of_table(table, inputs, None, what="It") == [("NA", 1.5), (None, None)]


@pytest.mark.parametrize("content", ["", "a,b\n", "a,b\n1\n"])
def test_a_broken_or_empty_csv_is_refused(tmp_path, content) -> None:
    (tmp_path / "t.csv").write_text(content)

    with pytest.raises(errors.ConfigError) as refused:
        tables.ArrowTables().read(tmp_path / "t.csv")

    assert refused.value.code is errors.Code.TABLE_UNREADABLE


def test_rows_reach_another_python_as_they_are(tmp_path) -> None:
    from softlaunch.adapters.python_env.scripts import exchange

    inputs = tuple(release.Column(name=each.value, datatype=each) for each in release.Datatype)
    values = {
        release.Datatype.BOOL: [True, None],
        release.Datatype.INT64: [predictions.INT64_MAX, None],
        release.Datatype.FP32: [0.1, None],
        release.Datatype.FP64: [0.1, None],
        release.Datatype.BYTES: ["\u4e2d\x00", None],
    }
    found = list(zip(*(values[column.datatype] for column in inputs), strict=True))

    rows.write(tmp_path / "rows.npz", inputs, found)

    assert exchange.read_rows(str(tmp_path / "rows.npz")) == found


def test_a_value_of_another_kind_names_its_row_and_column(tmp_path) -> None:
    table = read(tmp_path, {"x": pa.array([1.0, 1.5])})
    wanted = release.Column(name="x", datatype=release.Datatype.INT64)

    with pytest.raises(errors.ConfigError, match=r"1\.5 in 'x', row 1"):
        rows.of_table(table, (wanted,), None, what="It")
    assert np.isfinite(table.columns[0].values).all()
