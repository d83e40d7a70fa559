"""
A log that cannot be written for ten minutes, under traffic: does a user notice, and does everything arrive later?

    python benchmarks/launches/log_outage.py --seconds 600 --kind full --out benchmarks/results/log_outage.json

`full` is a real full disk: a small file system of its own for the log (needs root), filled to the last byte. `moved` is
a file where the service's folder was. What arrived is counted as in log_kills.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

import lab
import log_kills
import process_lab
import record

KINDS = ("full", "moved")
_DISK_MIB = 64


@dataclasses.dataclass(kw_only=True)
class Result:
    status: dict[str, Any]
    """`softlaunch log status` just before the end of the outage."""
    text: str
    """The same for people."""
    arrived_seconds: float
    """From the end of the outage until nothing waited."""
    failed: int
    statuses: dict[str, int]
    before: Sequence[float]
    during: Sequence[float]
    """Latencies."""
    counted: log_kills.Counted
    wrong: list[str]

    @property
    def said(self) -> dict[str, str]:
        """What status says of the outage, without the laboratory's own folder."""
        outage = self.status["outage"] or {}
        return {name: re.sub(r"/\S*/home/", "HOME/", str(outage.get(name))) for name in ("detail", "remedy")}


@contextlib.contextmanager
def unwritable(machine: process_lab.ProcessLab, kind: str) -> Iterator[None]:
    """The log of the service, while inside."""
    folder = machine.home.log / lab.SERVICE
    if kind == "full":
        filler = machine.home.log / "filler"
        _fill(filler)
        try:
            yield
        finally:
            filler.unlink()
    else:
        aside = machine.home.log.with_name("log-aside")
        folder.rename(aside)
        folder.write_text("a file\n")
        try:
            yield
        finally:
            folder.unlink()
            aside.rename(folder)


@contextlib.contextmanager
def laboratory(kind: str) -> Iterator[process_lab.ProcessLab]:
    """As log_kills', with a file system of its own for the log where it is to fill up."""
    with log_kills.laboratory() as machine:
        if kind != "full":
            yield machine
            return
        machine.down()
        disk = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m,mode=700", "tmpfs", str(machine.home.log)]
        machine.home.log.mkdir(mode=0o700, exist_ok=True)
        subprocess.run(disk, check=True)
        try:
            machine.up()
            yield machine
            machine.down()
        finally:
            subprocess.run(["umount", "--lazy", str(machine.home.log)], check=True)


def run(machine: process_lab.ProcessLab, kind: str, *, seconds: float, before_seconds: float, rate: float) -> Result:
    """Traffic, then the outage, then everything has to arrive."""
    with log_kills.Traffic(machine.port, rate) as traffic:
        time.sleep(before_seconds)
        began = time.time()
        with unwritable(machine, kind):
            time.sleep(seconds)
            status = log_kills.status(machine)
            text = subprocess.run(
                [*machine.verb("log", "status"), "--home", str(machine.home.root)],
                env=machine.environment(), capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            ended = time.time()
    until = time.monotonic() + 120.0
    while log_kills.status(machine)["waiting_bytes"] and time.monotonic() < until:
        time.sleep(0.3)
    arrived_seconds = time.time() - ended
    counted = log_kills.count(machine)
    return Result(
        status=status,
        text=text,
        arrived_seconds=arrived_seconds,
        failed=traffic.failed,
        statuses=dict(traffic.statuses),
        before=[took for at, took in traffic.latencies if at < began],
        during=[took for at, took in traffic.latencies if began <= at < ended],
        counted=counted,
        wrong=counted.wrong(traffic.ids),
    )


def _fill(path: pathlib.Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(fd, b"\0" * size)
    finally:
        os.close(fd)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--kind", choices=KINDS, default="full")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--before-seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=60.0)
    options = parser.parse_args()
    with laboratory(options.kind) as machine:
        found = run(
            machine, options.kind, seconds=options.seconds, before_seconds=options.before_seconds, rate=options.rate
        )
    latencies = {
        f"{name}_ms_p{share}": log_kills.quantile(taken, share / 100)
        for name, taken in (("before", found.before), ("during", found.during))
        for share in (50, 99)
    }
    record.write(
        options,
        {
            "requests": sum(found.statuses.values()),
            "failed": found.failed,
            **latencies,
            "said": found.said,
            "waiting_bytes": found.status["waiting_bytes"],
            "behind_seconds": round(found.status["behind_seconds"], 1),
            "arrived_seconds": round(found.arrived_seconds, 1),
            "records": found.counted.spooled.total(),
            "rows": found.counted.rows.total(),
            "unacknowledged": found.counted.status["unacknowledged"],
            "unmatched": found.counted.status["unmatched"],
            "wrong": found.wrong,
        },
    )
    assert not found.wrong, found.wrong
    assert not found.failed, found.statuses


if __name__ == "__main__":
    main()
