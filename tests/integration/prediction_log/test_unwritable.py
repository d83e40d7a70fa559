"""`softlaunch log ship` and `log status`, as processes, over a log that cannot be written."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import msgspec
import pytest

from softlaunch.config import home as homes
from softlaunch.core import spool
from softlaunch.serving import segments

pytestmark = pytest.mark.slow


def command(place: homes.Home, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "softlaunch.cli.main", "log", *words, "--home", str(place.root), "--json"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_moving_what_waits_once_fails_with_the_reason_and_moves_it_when_there_is_none(tmp_path) -> None:
    place = homes.Home(tmp_path / "home")
    place.root.mkdir()
    writer = segments.SegmentWriter(
        place.spool / "pricing" / "production", service="pricing", environment="production", release="r",
        instance="i", disk_bytes_max=1 << 24,
    )  # fmt: skip
    row = ["a", time.time() - 60.0, 0, "/predict", "", b"{}", 200, b"{}", 9, 9, "", 1, "", 0, None, None]
    writer.append(msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row])))
    writer.close()
    place.log.mkdir()
    (place.log / "pricing").write_text("a file")

    failed = command(place, "ship", "--once")
    (told,) = json.loads(command(place, "status").stdout)["logs"]

    assert (4, "log-unavailable") == (failed.returncode, json.loads(failed.stdout)["code"]), failed.stderr
    assert "is no directory" in told["outage"]["detail"]
    assert told["waiting_bytes"] > 0
    (place.log / "pricing").unlink()
    assert {"rows": 1} == json.loads(command(place, "ship", "--once").stdout)
    (told,) = json.loads(command(place, "status").stdout)["logs"]
    assert (1, 0, None) == (told["rows"], told["waiting_bytes"], told["outage"])
