"""
How long it takes to find one prediction by its id in a log whose days are sorted by it, as the shipper leaves them.

    python benchmarks/why_lookup.py --rows 100000000 --out benchmarks/results/why_lookup.json

The table is made by DuckDB (random ids, three features, ten days) and taken over as a Delta table, beside one of a
million labels. Each look-up is that of `softlaunch why`, labels and all, with the tables opened anew. The files' caches
of the operating system are warm. The disk holds some 60 bytes a row.
"""

from __future__ import annotations

import datetime
import pathlib
import random
import statistics
import sys
import tempfile
import time

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from softlaunch.adapters.lake import delta, keeping, labels
from softlaunch.config import home as homes
from softlaunch.core.prediction_log import schema
from softlaunch.wiring import why

sys.path.insert(0, str(pathlib.Path(__file__).parent / "launches"))
import record

DAYS = 10
LOOKUPS = 20
BAR_SECONDS = 2.0
SERVICE = "bench"
LABELS = 1_000_000
ARRIVED = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
_OWN = ("id", "served", "time")
_DAY = deltalake.Schema([deltalake.Field(schema.DAY, "date")])


def make(root: pathlib.Path, row_count: int) -> list[str]:
    """The table; some ids of it."""
    fields = tuple(schema.Field(name=name, kind=schema.Kind.DOUBLE) for name in ("x0", "x1", "x2"))
    others = [field for field in schema.ENVELOPE if field.name not in _OWN]
    columns = ", ".join(f"NULL::{_type(field.kind)} AS {field.name}" for field in others)
    ids: list[str] = []
    path = root / SERVICE / delta.TABLE
    path.mkdir(parents=True)
    for day in range(DAYS):
        place = path / f"day=2026-11-{day + 1:02d}"
        place.mkdir()
        with duckdb.connect() as connection:
            connection.execute("SET memory_limit='4GB'; SET threads=2")
            connection.execute(f"SET temp_directory='{root}/spill'")
            made = (
                "SELECT uuid()::VARCHAR || ':0' AS id, true AS served, "
                f"TIMESTAMPTZ '2026-11-{day + 1:02d} 12:00:00+00' AS time, {columns}, "
                f"{{{', '.join(f'{field.name}: random()' for field in fields)}}} AS features, "
                "{label: 1::BIGINT, probability: random()} AS answer "
                f"FROM range({row_count // DAYS}) ORDER BY id"
            )
            connection.execute(
                f"COPY ({made}) TO '{place}/sorted.parquet' "
                f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {keeping.ROW_GROUP_ROWS})"
            )
        file = pq.ParquetFile(place / "sorted.parquet")
        group = file.read_row_group(random.Random(day).randrange(file.num_row_groups), columns=["id"])
        ids += random.Random(day).sample(group["id"].to_pylist(), LOOKUPS // DAYS)
        record.say(f"{(day + 1) * row_count // DAYS:,} rows")
    deltalake.convert_to_deltalake(str(path), partition_by=_DAY, partition_strategy="hive")
    return ids


def _type(kind: schema.Kind) -> str:
    return {
        schema.Kind.TEXT: "VARCHAR", schema.Kind.BOOL: "BOOLEAN", schema.Kind.INT: "BIGINT", schema.Kind.RAW: "BLOB",
        schema.Kind.TEXT_MAP: "MAP(VARCHAR, VARCHAR)", schema.Kind.TIME: "TIMESTAMPTZ",
    }[kind]  # fmt: skip


def label(path: pathlib.Path, ids: list[str]) -> None:
    """A million labels, of these predictions and of others, as after an hourly round."""
    chance = random.Random(7)
    names = sorted([*ids, *(f"{chance.getrandbits(128):032x}:0" for _ in range(LABELS - len(ids)))])
    known = {
        "prediction_id": names, "arrived": [ARRIVED] * LABELS, "name": ["late"] * LABELS, "value": [1.0] * LABELS,
        "version": [0] * LABELS, "push": ["p"] * LABELS, "line": list(range(LABELS)), "day": [ARRIVED.date()] * LABELS,
    }  # fmt: skip
    columns = [pa.array(known.get(field.name, [None] * LABELS), field.type) for field in labels.SCHEMA]
    table = pa.table(columns, schema=labels.SCHEMA)
    deltalake.write_deltalake(path, table, partition_by=["day"])


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="softlaunch-why-") as name:
        home = homes.Home(pathlib.Path(name))
        ids = make(home.log, options.rows)
        label(home.log / SERVICE / labels.TABLE, ids)
        took = []
        for each in ids:
            began = time.perf_counter()
            found = why.find(home, each, SERVICE)
            took.append(time.perf_counter() - began)
            assert [each] == [row["id"] for row in found.rows]
            assert [known["value"] for known in found.labels] == [1.0]
        size = sum(file.stat().st_size for file in (home.log / SERVICE / delta.TABLE).rglob("*.parquet"))
        record.write(
            options,
            {
                "rows": options.rows,
                "labels": LABELS,
                "lookups": len(took),
                "seconds_median": statistics.median(took),
                "seconds_max": max(took),
                "bytes_per_row": size / options.rows,
                "bar_seconds": BAR_SECONDS,
            },
        )


if __name__ == "__main__":
    main()
