"""Appends records to a spool for ever and prints each id once it is acknowledged; waits to be killed."""

from __future__ import annotations

import pathlib
import sys

import msgspec

from softlaunch.core import spool
from softlaunch.serving import segments

writer = segments.SegmentWriter(
    pathlib.Path(sys.argv[1]),
    service="svc",
    environment="env",
    release="a" * 12,
    instance=sys.argv[2],
    disk_bytes_max=2**30,
)
number = 0
while True:
    names = [f"{sys.argv[2]}-{number + offset}" for offset in range(1 + number % 7)]
    number += len(names)
    records = [
        spool.Record(
            name, 1.0, "a" * 12, sys.argv[2], spool.PRIMARY, False, "/predict", "", b"x" * (number % 4_000), 200, b"{}",
            False, False, 1, None, "", 1, "", 0, 0, 0,
        )
        for name in names
    ]  # fmt: skip
    writer.append(msgspec.msgpack.encode(spool.group_of(*records)))
    sys.stdout.write("".join(f"{name}\n" for name in names))
    sys.stdout.flush()
