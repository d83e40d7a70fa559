"""
How many records a second one core moves from the spool to the Delta table, joined with the gateway's attempts.

    python benchmarks/log_shipping.py --records 500000 --out benchmarks/results/log_shipping.json

Real segments (written by the model server's own writer), real lines of the attempt log, a real Delta table. What counts
is processor time of the whole process, all of its threads: Delta writes on several.
"""

from __future__ import annotations

import cProfile
import functools
import gc
import json
import pathlib
import pstats
import resource
import sys
import tempfile
import time

import msgspec
import numpy as np

from softlaunch.adapters.envoy import attempt_log
from softlaunch.adapters.lake import asking, delta, profiles
from softlaunch.adapters.lake import place as places
from softlaunch.adapters.spool import tail
from softlaunch.controller.prediction_log import joining, profiling, shipping
from softlaunch.core import release, spool
from softlaunch.core.drift import profile
from softlaunch.serving import segments

sys.path.insert(0, str(pathlib.Path(__file__).parent / "launches"))
import record

SERVICE, ENVIRONMENT, RELEASE = "bench", "production", "0123456789ab"
GROUP = 200
FEATURE_COUNT = 10
START = 1_700_000_000.0


def write(home: pathlib.Path, count: int) -> None:
    """A spool of `count` records of one row, and the gateway's lines on them."""
    writer = segments.SegmentWriter(
        home / "spool" / SERVICE / ENVIRONMENT, service=SERVICE, environment=ENVIRONMENT, release=RELEASE,
        instance="bench", disk_bytes_max=8 << 30,
    )  # fmt: skip
    encode = msgspec.msgpack.Encoder().encode
    (home / "gateway").mkdir()
    with (home / "gateway" / "attempts.log").open("wb") as log:
        for first in range(0, count, GROUP):
            rows = []
            for number in range(first, min(first + GROUP, count)):
                at, name = START + number / 10_000, f"{number:08x}-0000-4000-8000-000000000000"
                request = json.dumps({f"x{place}": number / (place + 3) for place in range(FEATURE_COUNT)}).encode()
                answer = b'{"prediction":{"label":1,"probability":0.731},"release":"%s"}' % RELEASE.encode()
                rows.append(
                    [name, at, 0, "/predict", "application/json", request, 200, answer, 210, 60, f"u{number % 1000}",
                     1, "n:0.731", number, None, None]
                )  # fmt: skip
                line = {
                    "cluster": f"{SERVICE}/{ENVIRONMENT}/stable/{RELEASE}", "epoch": "1", "flags": "-",
                    "host": f"/tmp/{RELEASE}.0.sock", "id": name, "key": f"u{number % 1000}", "number": "1",
                    "served": f"{number}r", "start": f"{at:.6f}", "status": 200, "us": 900,
                }  # fmt: skip
                log.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            writer.append(encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=rows)))
    writer.close()


def content(_service: str, _digits: str) -> release.ReleaseContent:
    inputs = tuple(release.Column(name=f"x{place}", datatype=release.Datatype.FP64) for place in range(FEATURE_COUNT))
    outputs = (
        release.Column(name="label", datatype=release.Datatype.INT64),
        release.Column(name="probability", datatype=release.Datatype.FP64),
    )
    return release.ReleaseContent(
        service=SERVICE, runtime=release.Runtime.ONNX, model_file=None, python_target=None,
        signature=release.Signature(inputs=inputs, outputs=outputs), lock_file=None, profile_file=None, smoke_file=None,
    )  # fmt: skip


@functools.cache
def reference(_service: str, _digits: str) -> profile.Profile:
    chance = np.random.default_rng(7)
    columns = [
        profile.profile_numeric(f"x{place}", chance.uniform(0, 500_000 / (place + 3), 50_000))
        for place in range(FEATURE_COUNT)
    ]
    return profile.Profile(row_count=50_000, columns=tuple(columns))


def shipper(home: pathlib.Path, root: places.Root, *, profiled: bool = True) -> shipping.Shipper:
    log = attempt_log.AttemptLog(home / "gateway" / "attempts.log", reopen=lambda: None, only_reads=True)
    return shipping.Shipper(
        segments=tail.SegmentTail(home / "spool"),
        lake=delta.DeltaLake(root),
        attempts=joining.Attempts(log),
        content=content,
        profiler=profiling.Profiler(profiles.SqliteProfiles(home / "log"), reference) if profiled else None,
    )


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--url", help="an object store's, as SOFTLAUNCH_LOG_URL; it must hold no table of this yet")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--without-profiles", action="store_true", help="Live profiles are not counted.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = pathlib.Path(name)
        write(home, options.records)
        root = places.Root(folder=home / "log", url=options.url)
        moving = shipper(home, root, profiled=not options.without_profiles)
        reference(SERVICE, RELEASE)  # made here; a shipper reads it once in a release's life
        gc.set_threshold(500_000, 10, 100)  # as wiring.prediction_log
        profiled = cProfile.Profile()
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        if options.profile:
            profiled.enable()
        moved = 0
        while turned := moving.turn(START + 1e6, drain=True):
            moved += turned
        profiled.disable()
        after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - began
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        table = root.place(SERVICE, delta.TABLE)
        (row,) = asking.ask(table, "SELECT count(*), count(DISTINCT id), count(served) FROM predictions").rows
        assert moved == options.records
        assert row[:2] == (moved, moved), row
        size = sum(table.load().get_add_actions().column("size_bytes").to_pylist())
        found = {
            "records": moved,
            "features": FEATURE_COUNT,
            "cpu_seconds": cpu,
            "wall_seconds": wall,
            "records_per_core_second": moved / cpu,
            "joined": row[2],
            "bytes_per_row": size / moved,
            "peak_mib": after.ru_maxrss >> 10,
            "bar": 50_000,
        }
        if options.profile:
            pstats.Stats(profiled).sort_stats("tottime").print_stats(18)
        record.write(options, found)


if __name__ == "__main__":
    main()
