"""Importing foreign logs."""

from __future__ import annotations

import base64
import json
import pathlib
import tempfile

import hypothesis
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta
from softlaunch.config import home as homes
from softlaunch.controller.prediction_log import importing, importing_events, importing_rows
from softlaunch.testing import lake as memory
from softlaunch.wiring import log_import

NOW = 1_790_000_000.0
AT = "2024-08-01T12:00:00Z"


def event(identity: str, end: str, body: object, **more: object) -> dict[str, object]:
    kind = f"org.kubeflow.serving.inference.{end}"
    return {"specversion": "1.0", "id": identity, "type": kind, "time": AT, "data": body, **more}


def source(*events: object, digest: str = "ab" * 32) -> importing.Source:
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in events]
    return importing.Source(
        digests=[digest],
        recipe="kserve",
        reader=importing_events.read,
        lines=lambda: [
            importing_rows.Line(file="a.jsonl", number=number, ordinal=number, content=line)
            for number, line in enumerate(lines, start=1)
        ],
        textual=False,
    )


def pairs(count: int) -> list[object]:
    return [
        event(f"r{number}", end, body)
        for number in range(count)
        for end, body in (("request", {"instances": [[number, 2.5]]}), ("response", {"predictions": [0.5]}))
    ]


def bring(of: importing.Source, lake, bad=None, row_count_max: int = 2) -> importing.Outcome:
    return importing.bring(
        of,
        lake=lake,
        service="iris",
        environment="imported",
        release_name=None,
        now=NOW,
        quarantine=(bad if bad is not None else []).extend,
        tell=lambda count: None,
        row_count_max=row_count_max,
    )


def test_the_same_file_twice_is_once() -> None:
    lake = memory.MemoryLake()

    first, second = (bring(source(*pairs(5)), lake) for _ in range(2))

    assert (5, 0) == (first.added, second.added)
    assert [f"r{number}:0" for number in range(5)] == lake.ids("iris")


class Breaking(memory.MemoryLake):
    """Its disk is full after some appends."""

    left = 1

    def append(self, *args, **names):
        if not self.left:
            raise errors.UnavailableError("full", remedy="-", code=errors.Code.LOG_UNAVAILABLE)
        self.left -= 1
        return super().append(*args, **names)


def test_an_import_that_ended_midway_goes_on_after_its_last_row() -> None:
    lake = Breaking()
    with pytest.raises(errors.UnavailableError):
        bring(source(*pairs(5)), lake)
    assert len(lake.ids("iris")) == 2

    lake.left = 9
    assert bring(source(*pairs(5)), lake).added == 3
    assert [f"r{number}:0" for number in range(5)] == lake.ids("iris")


def test_a_file_imported_in_another_way_is_refused() -> None:
    lake = memory.MemoryLake()
    bring(source(*pairs(1)), lake)
    other = source(*pairs(1))
    with pytest.raises(errors.ConfigError, match="already"):
        bring(importing.Source(**{**vars(other), "recipe": "seldon"}), lake)


def test_halves_are_counted_and_not_invented() -> None:
    lake = memory.MemoryLake()
    found = bring(
        source(
            *pairs(1),
            event("lonely", "request", {"instances": [[1, 2]]}),
            event("asked-by-nobody", "response", {"predictions": [1]}),
        ),
        lake,
    )
    assert (1, 1, 1) == (found.rows, found.unanswered, found.unasked)
    assert ["r0:0"] == lake.ids("iris")


def test_a_response_before_its_request_is_joined() -> None:
    assert bring(source(*reversed(pairs(3))), memory.MemoryLake()).rows == 3


@pytest.mark.parametrize(
    ("request_body", "response_body", "features", "answers"),
    [
        ({"instances": [{"a": 1}, {"a": 2}]}, {"predictions": [3, 4]}, [(1,), (2,)], [(3,), (4,)]),
        (
            {"inputs": [{"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [1.5, 2, 3, 4]}]},
            {"outputs": [{"name": "p", "shape": [2], "datatype": "FP32", "data": [0.1, 0.2]}]},
            [(1.5, 2), (3.0, 4)],
            [(0.1,), (0.2,)],
        ),
        (
            {"data": {"names": ["a", "b"], "ndarray": [[1, "x"]]}},
            {"data": {"names": ["p0", "p1"], "tensor": {"shape": [1, 2], "values": [0.25, 0.75]}}},
            [(1, "x")],
            [(0.25, 0.75)],
        ),
    ],
    ids=["v1", "v2", "seldon"],
)
def test_bodies_of_each_protocol_are_rows(request_body, response_body, features, answers) -> None:
    lake = memory.MemoryLake()
    encoded = base64.b64encode(json.dumps(response_body).encode()).decode()
    bring(source(event("r", "request", request_body), event("r", "response", None, data_base64=encoded)), lake)
    (block,) = lake.blocks["iris"]
    assert (features, answers) == (list(block.features), list(block.answers))


def test_every_flipped_bit_costs_its_own_line_at_most() -> None:
    whole = [json.dumps(each).encode() for each in pairs(2)]
    for place in range(len(whole[0])):
        damaged = bytearray(whole[0])
        damaged[place] ^= 0x80
        found = bring(source(bytes(damaged), *whole[1:]), memory.MemoryLake())
        assert found.rows == 1
        assert found.bad == 1
        assert found.unasked == 1


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z", None, 7])
def test_a_time_that_cannot_be_is_set_aside(time) -> None:
    bad: list[importing_rows.Bad] = []
    bring(source(*pairs(1), event("r", "request", {"instances": [[1]]}, time=time)), memory.MemoryLake(), bad)
    assert [3] == [each.line for each in bad]


def test_a_file_in_which_nothing_fits_is_refused_and_nothing_is_written() -> None:
    lake, bad = memory.MemoryLake(), []
    with pytest.raises(errors.ConfigError, match=r"a\.jsonl, line 1: no JSON"):
        bring(source(b"\x00\xff", b"<html>"), lake, bad)
    assert ([], []) == (lake.ids("iris"), bad)


def bring_file(home: pathlib.Path, file: pathlib.Path, map_text: str | None, *, kind: str = "map"):
    map_file = file.with_suffix(".yaml")
    if map_text is not None:
        map_file.write_text(map_text)
    order = log_import.Order(
        files=[file],
        service="iris",
        environment="imported",
        format=kind,
        map_file=None if map_text is None else map_file,
        release=None,
        dry_run=False,
    )
    return log_import.bring(homes.Home(home), order, tell=lambda count: None)


def ask(home: pathlib.Path, sql: str) -> list[tuple[object, ...]]:
    return asking.ask(delta.DeltaLake(homes.Home(home).log).place("iris"), sql).rows


def test_a_capture_of_sagemaker_is_a_row(tmp_path) -> None:
    capture = {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv", "mode": "INPUT", "data": "132,25,113.2", "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "text/csv; charset=utf-8", "mode": "OUTPUT",
                "data": base64.b64encode(b"0.0120").decode(), "encoding": "BASE64",
            },
        },
        "eventMetadata": {"eventId": "b5da0d3c-1111", "inferenceTime": "2024-08-01T17:25:36Z"},
        "eventVersion": "0",
    }  # fmt: skip
    file = tmp_path / "capture.jsonl"
    file.write_text(json.dumps(capture) + "\n")

    bring_file(tmp_path / "home", file, None, kind="sagemaker")

    assert [("b5da0d3c-1111:0", {"x0": 132, "x1": 25, "x2": 113.2}, {"prediction": 0.012})] == ask(
        tmp_path / "home", "SELECT id, features, answer FROM predictions"
    )


def test_an_access_log_is_rows_and_its_odd_lines_are_set_aside_with_their_numbers(tmp_path) -> None:
    file = tmp_path / "access.log"
    file.write_text(
        '127.0.0.1 - - [10/Aug/2024:13:55:36 -0700] "GET /predict?a=1 HTTP/1.1" 200 2326 "-" "curl/8"\n\nnoise\n'
    )

    _, place = bring_file(tmp_path / "home", file, "rows: access\nfeatures: [size]\n")

    assert [(200, "/predict?a=1", {"size": 2326})] == ask(
        tmp_path / "home", "SELECT status, path, features FROM predictions"
    )
    (bad,) = map(json.loads, place.read_text().splitlines())
    assert (3, "the pattern does not match") == (bad["line"], bad["reason"])
    assert place.stat().st_mode & 0o777 == 0o600


def test_csv_and_parquet_are_the_same_rows_and_odd_ones_are_set_aside(tmp_path) -> None:
    columns = {"id": ["a", "b"], "at": [AT, AT], "amount": [1, 2], "code": ["007", "8"], "ok": [True, False]}
    text = "id,at,amount,code,ok\n" + "".join(
        f"{i},{at},{a},{c},{ok}\n" for i, at, a, c, ok in zip(*columns.values(), strict=True)
    )
    (tmp_path / "rows.csv").write_bytes(text.encode() + b"too,few\nc,\xff,1,1,true\n")
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "rows.parquet")

    outcome, _ = bring_file(tmp_path / "one", tmp_path / "rows.csv", "rows: csv\nid: id\ntime: at\n")
    bring_file(tmp_path / "two", tmp_path / "rows.parquet", "rows: parquet\nid: id\ntime: at\n")

    one, two = (ask(tmp_path / home, "SELECT id, features FROM predictions ORDER BY id") for home in ("one", "two"))
    assert one == two
    assert one == [("a:0", {"amount": 1, "code": "007", "ok": True}), ("b:0", {"amount": 2, "code": "8", "ok": False})]
    assert {"2 columns instead of 5": 1, "no UTF-8": 1} == outcome.reasons


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [{"name": ["a"], "shape": [1], "data": [1]}]},
        {"inputs": [{"name": "a", "shape": [1e999], "data": [1]}]},
        {"inputs": []},
        {"instances": [{"": 1}]},
        {"data": {"names": 3, "ndarray": [[1]]}},
        {"data": {"names": [[1]], "ndarray": [[1]]}},
        None,
    ],
)
def test_an_odd_body_costs_its_own_line(body) -> None:
    found = bring(source(*pairs(1), event("odd", "request", body, inferenceservicename=[1])), memory.MemoryLake())
    assert (1, 1) == (found.rows, found.bad)


@pytest.mark.parametrize("odd", [{"id": ""}, {"at": [1]}, {"at": "x"}, {"ms": 10**400}, {"ms": {"a": 1}}, {"ms": "x"}])
def test_an_odd_value_costs_its_own_row(odd, tmp_path) -> None:
    good = {"id": "a", "at": 1_722_513_600, "ms": 3.5, "amount": 1}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (good, {**good, **odd})))
    outcome, _ = bring_file(
        tmp_path / "home", tmp_path / "rows.jsonl", "id: id\ntime: at\ntime_format: unix\nlatency_ms: ms\n"
    )
    assert (1, 1) == (outcome.rows, outcome.bad)
    assert [(3500,)] == ask(tmp_path / "home", "SELECT latency_us FROM predictions")


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "flag": st.none() | st.booleans(),
            "count": st.none() | st.integers(-(2**63), 2**63 - 1),
            "amount": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "word": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        }
    ),
    min_size=1,
    max_size=6,
)


@hypothesis.settings(max_examples=12, deadline=None)
@hypothesis.given(rows=ROWS)
def test_what_a_map_imports_reads_back_equal(rows) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "rows.jsonl"
        lines = [{"id": f"{number:04}", "at": AT, **row} for number, row in enumerate(rows)]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))

        bring_file(pathlib.Path(folder) / "home", file, "id: id\ntime: at\n")

        found = ask(pathlib.Path(folder) / "home", "SELECT features FROM predictions ORDER BY id")
        assert rows == [features for (features,) in found]
