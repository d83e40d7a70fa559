"""
How many records a second one core puts on a Kafka stream, and how many it takes from there into the Delta table.

    python benchmarks/log_stream.py --records 500000 --out benchmarks/results/log_stream.json

The spool, the gateway's log and the table are those of log_shipping.py; the broker is tansu in memory, a process of its
own. What counts is processor time of the process that moves, all of its threads, and not the broker's.
"""

from __future__ import annotations

import gc
import pathlib
import resource
import sys
import tempfile
import time

import log_shipping

from softlaunch.adapters.envoy import attempt_log
from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.local import leases
from softlaunch.adapters.spool import forwarded, tail
from softlaunch.adapters.streams import broker, outlet, parts
from softlaunch.controller.prediction_log import forwarding, joining, shipping

sys.path.insert(0, str(pathlib.Path(__file__).parent / "launches"))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "contract"))
import broker_lab
import record


class Meter:
    """Processor and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = _cpu(), time.perf_counter()

    def read(self, name: str, count: int) -> dict[str, float]:
        cpu, wall = _cpu() - self._cpu, time.perf_counter() - self._wall
        return {
            f"{name}_cpu_seconds": cpu, f"{name}_wall_seconds": wall, f"{name}_records_per_core_second": count / cpu,
            f"{name}_records_per_second": count / wall,
        }  # fmt: skip


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--records", type=int, default=500_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, broker_lab.running(pathlib.Path(name)) as running:
        home = pathlib.Path(name)
        log_shipping.write(home, options.records)
        gc.set_threshold(500_000, 10, 100)  # as wiring.prediction_log
        cluster = broker.Broker(running.servers, broker_lab.PREFIX)
        forwarder = forwarding.Forwarder(
            segments=tail.SegmentTail(home / "spool"),
            outlet=outlet.KafkaOutlet(cluster),
            places=forwarded.ForwardedFiles(home / "spool"),
            began=lambda *_: {},
        )
        meter = Meter()
        while forwarder.turn(log_shipping.START):
            pass
        found = meter.read("forward", options.records)
        source = parts.KafkaSegments(cluster, leases.FileLeases(home / "leases"), outlet.KafkaOutlet(cluster))
        log = attempt_log.AttemptLog(home / "gateway" / "attempts.log", reopen=lambda: None, only_reads=True)
        lake = delta.DeltaLake(home / "log")
        moving = shipping.Shipper(
            segments=source, lake=lake, attempts=joining.Attempts(log), content=log_shipping.content
        )
        meter = Meter()
        moved = 0
        while moved < options.records:
            moved += moving.turn(log_shipping.START + 1e6, drain=True)
        found |= meter.read("consume", moved)
        source.close()
        (row,) = asking.ask(
            lake.place(log_shipping.SERVICE), "SELECT count(*), count(DISTINCT id), count(served) FROM predictions"
        ).rows
        assert (moved, moved) == row[:2], row
        record.write(options, {"records": moved, "joined": row[2], "bar": 50_000, **found})


if __name__ == "__main__":
    main()
