"""
How long the join of predictions and labels takes: a million predictions, 650,000 labels, many of them corrected.

    python benchmarks/label_join.py --out benchmarks/results/label_join.json

Both are Delta tables of a week, as the shipper leaves them after its hourly round. Each run opens them anew; the
operating system has the files in its cache. What is asked is the mean of every label that is known, joined with its
prediction.
"""

from __future__ import annotations

import datetime
import pathlib
import statistics
import sys
import tempfile
import time
import uuid

import deltalake
import numpy as np
import pyarrow as pa

from softlaunch.adapters.lake import asking, delta, keeping, label_views
from softlaunch.adapters.lake import labels as tables
from softlaunch.adapters.lake import place as places
from softlaunch.core.prediction_log import schema

sys.path.insert(0, str(pathlib.Path(__file__).parent / "launches"))
import record

RUNS = 7
BAR_SECONDS = 1.0
DAYS = 7
_DAY_US = 86_400_000_000
_START_US = 1_763_000_000_000_000 // _DAY_US * _DAY_US
_MOMENT = pa.timestamp("us", "UTC")
_KINDS = {
    schema.Kind.TEXT: pa.string(), schema.Kind.BOOL: pa.bool_(), schema.Kind.INT: pa.int64(),
    schema.Kind.RAW: pa.binary(), schema.Kind.TEXT_MAP: pa.map_(pa.string(), pa.string()),
}  # fmt: skip


def make(root: places.Root, prediction_count: int, label_count: int) -> None:
    """Both tables, as after an hourly round."""
    chance = np.random.default_rng(20261124)
    ids = np.array([f"{uuid.UUID(bytes=chance.bytes(16))}:0" for _ in range(prediction_count)])
    times = _START_US + np.sort(chance.integers(0, DAYS * _DAY_US, prediction_count))
    known = {"id": pa.array(ids), "time": pa.array(times, _MOMENT), "served": pa.array([True] * prediction_count)}
    columns = [
        known.get(field.name, pa.nulls(prediction_count, _KINDS.get(field.kind, pa.string())))
        for field in schema.ENVELOPE
    ]
    asked = pa.table(
        [*columns, known["time"].cast(pa.date32())], names=[*(field.name for field in schema.ENVELOPE), schema.DAY]
    )
    picked = chance.choice(prediction_count, label_count)
    arrived = pa.array(times[picked] + chance.exponential(_DAY_US, label_count).astype("i8"), _MOMENT)
    said = {
        "prediction_id": pa.array(ids[picked]), "arrived": arrived, "name": pa.array(["late"] * label_count),
        "value": pa.array((chance.random(label_count) < 0.3).astype(float)),
        "version": pa.array(chance.integers(0, 2, label_count)), "push": pa.array(["p"] * label_count),
        "line": pa.array(np.arange(label_count)), "day": arrived.cast(pa.date32()),
    }  # fmt: skip
    labels = pa.table(
        [said.get(field.name, pa.nulls(label_count, field.type)) for field in tables.SCHEMA], schema=tables.SCHEMA
    )
    for name, table, column in ((delta.TABLE, asked, "id"), (tables.TABLE, labels, "prediction_id")):
        place = root.place("bench", name)
        deltalake.write_deltalake(place.uri, table, partition_by=["day"])
        keeping.Keeper(place, sorted_by=column).keep(datetime.date(2026, 11, 24), keep_days=None)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=650_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="softlaunch-labels-") as name:
        root = places.root(pathlib.Path(name))
        make(root, options.predictions, options.labels)
        took = []
        for _ in range(RUNS):
            labelled = label_views.Labelled(
                place=root.place("bench", tables.TABLE), as_of=datetime.datetime.now(datetime.UTC)
            )
            began = time.perf_counter()
            (row,) = asking.ask(
                root.place("bench", delta.TABLE),
                "SELECT count(*), count(value), avg(value) FROM predictions LEFT JOIN labelled USING (id)",
                labelled=labelled,
            ).rows
            took.append(time.perf_counter() - began)
        assert row[0] == options.predictions, row
        record.write(
            options,
            {
                "predictions": options.predictions,
                "labels": options.labels,
                "labelled": row[1],
                "seconds_median": statistics.median(took),
                "seconds_max": max(took),
                "runs": RUNS,
                "bar_seconds": BAR_SECONDS,
            },
        )


if __name__ == "__main__":
    main()
