"""Tables that a newer program has written are refused by name, not misread."""

from __future__ import annotations

import json
import pathlib

import deltalake
import pytest

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta, keeping
from softlaunch.core.prediction_log import progress, schema
from softlaunch.ports import lake as lakes

MADE = progress.Progress(version=1, offsets={"a.spool": 10}, counts={"rows": 1})
SECOND = progress.Progress(version=2)


class Delta(delta.DeltaLake):
    def ids(self, service):
        return [name for (name,) in asking.ask(self.place(service), "SELECT id FROM predictions ORDER BY id").rows]


def block(name: str) -> lakes.Block:
    known = {"id": f"{name}:0", "environment": "production", "time": 1_700_000_000_000_000}
    row = tuple(known.get(field.name) for field in schema.ENVELOPE)
    return lakes.Block(rows=[row], feature_fields=(), features=[()], answer_fields=(), answers=[()])


def written(tmp_path, action):
    lake = Delta(tmp_path)
    lake.append("pricing", [block("a")], environment="production", progress=MADE)
    path = pathlib.Path(lake.place("pricing").uri) / "_delta_log" / f"{2:020d}.json"
    path.write_text(json.dumps(action) + "\n")
    return lake


def named(*features: str, reads: bool):
    readers = {"minReaderVersion": 3, "readerFeatures": list(features)} if reads else {"minReaderVersion": 1}
    return {"protocol": {**readers, "minWriterVersion": 7, "writerFeatures": list(features)}}


@pytest.mark.parametrize(
    ("action", "said", "reads"),
    [
        ({"protocol": {"minReaderVersion": 1, "minWriterVersion": 99}}, "writer version 99", True),
        ({"protocol": {"minReaderVersion": 99, "minWriterVersion": 99}}, "reader version 99", False),
        (named("notYetInvented", reads=True), "notYetInvented", False),
        (named("deletionVectors", reads=True), "deletionVectors", False),
        (named("rowTracking", reads=False), "rowTracking", True),
    ],
)
def test_a_table_of_a_newer_kind_is_not_written_and_read_only_where_its_files_are_its_rows(
    tmp_path, action, said, reads
) -> None:
    lake = written(tmp_path, action)

    for refused in (
        lambda: lake.state("pricing"),
        lambda: lake.append("pricing", [block("b")], environment="production", progress=SECOND),
        lambda: keeping.Keeper(lake.place("pricing")).forget("u1", key_name=None),
    ):
        with pytest.raises(errors.UnavailableError, match=said) as raised:
            refused()
        assert "Upgrade softlaunch" in raised.value.remedy
    if reads:
        assert ["a:0"] == lake.ids("pricing")
    else:
        with pytest.raises(errors.UnavailableError, match=said):
            lake.ids("pricing")


def test_features_that_change_no_row_are_no_reason(tmp_path) -> None:
    lake = written(tmp_path, named("appendOnly", "invariants", reads=False))

    lake.append("pricing", [block("b")], environment="production", progress=SECOND)
    assert ["a:0", "b:0"] == lake.ids("pricing")


def test_a_place_told_in_a_newer_way_is_refused_with_its_version(tmp_path) -> None:
    lake = Delta(tmp_path)
    lake.append("pricing", [block("a")], environment="production", progress=MADE)
    table = deltalake.DeltaTable(lake.place("pricing").uri)
    told = {"softlaunch.progress": "[]", "softlaunch.progress.version": "2"}
    rows = table.to_pyarrow_table()
    deltalake.write_deltalake(
        table, rows, mode="append", commit_properties=deltalake.CommitProperties(custom_metadata=told)
    )

    with pytest.raises(errors.UnavailableError, match="version 2, 1 is known here"):
        lake.state("pricing")
    assert 2 == len(asking.ask(lake.place("pricing"), "SELECT id FROM predictions").rows)


def test_what_a_later_version_tells_beside_is_passed_on(tmp_path) -> None:
    lake = Delta(tmp_path)
    later = progress.Progress.from_json({**MADE.to_json(), "sketches": {"until": 7}})
    lake.append("pricing", [block("a")], environment="production", progress=later)

    found = lake.state("pricing").progress["production"]
    assert ({"until": 7}, later) == (found.more["sketches"], found)
    assert {"until": 7} == found.to_json()["sketches"]
