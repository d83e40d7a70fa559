"""Rows of a release that was launched again with other settings: another arm, the same signature."""

from __future__ import annotations

import time

import msgspec

from softlaunch.adapters.oci import registry
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.core import release, spool
from softlaunch.serving import segments
from softlaunch.testing import releases
from softlaunch.wiring import prediction_log


def test_rows_of_changed_settings_are_read_by_the_releases_signature(tmp_path) -> None:
    home = homes.Home(tmp_path / "home", run_root=tmp_path)
    home.root.mkdir()
    digest = registry.OciRegistry(home.registry).push(releases.write(tmp_path / "release", name="live"))
    arm = release.arm(digest, 2)
    writer = segments.SegmentWriter(
        home.spool / releases.SERVICE / "production", service=releases.SERVICE, environment="production",
        release=arm.short, instance="writer", disk_bytes_max=1 << 24,
    )  # fmt: skip
    row = [
        "a", time.time() - 60.0, 0, "/predict", "", b'{"x0":1.0,"x1":2.0,"x2":3.0}', 200,
        b'{"prediction":{"label":1,"probability":0.5},"release":"x"}', 9, 9, "", 1, "", 0, None, None,
    ]  # fmt: skip
    writer.append(msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row])))
    writer.close()

    moved = prediction_log.ship(home, setting.read({}), once=True, going_on=lambda: True)

    found = prediction_log.ask(
        home, None, "SELECT release, features.x1, answer.probability, unread FROM predictions", row_count_max=9
    ).rows
    assert (1, [(f"{digest.value[7:19]}_2", 2.0, 0.5, None)]) == (moved, found)
