from __future__ import annotations

import json
import subprocess
import sys

from softlaunch import errors
from softlaunch.config import home as homes
from softlaunch.controller.prediction_log import outages
from softlaunch.serving import segments
from softlaunch.wiring import log_outages, prediction_log

NOW = 1_700_000_000.0
FULL = errors.UnavailableError("It is full.", remedy="Make room.", code=errors.Code.LOG_UNAVAILABLE)


def test_the_pause_between_tries_doubles_up_to_half_a_minute_and_ends_with_the_first_that_passes() -> None:
    told: list[dict[str, outages.Outage]] = []
    found = outages.Outages(lambda each: told.append(dict(each)))
    pauses = []
    now = NOW
    for _ in range(8):
        found.failed("pricing", FULL, now)
        pauses.append(found.found["pricing"].again_at - now)
        assert found.is_out("pricing", now + pauses[-1] - 0.1)
        now += pauses[-1]
        assert not found.is_out("pricing", now)

    assert [1, 2, 4, 8, 16, 30, 30, 30] == pauses
    assert (NOW, 8, "It is full.", "Make room.") == (
        found.found["pricing"].since, found.found["pricing"].try_count,
        found.found["pricing"].detail, found.found["pricing"].remedy,
    )  # fmt: skip
    assert not found.is_out("other", NOW)
    found.passed("pricing", now)
    found.passed("pricing", now)
    assert ({}, 9) == (told[-1], len(told))


def home(tmp_path) -> homes.Home:
    found = homes.Home(tmp_path / "home", run_root=tmp_path)
    found.root.mkdir()
    found.prepare()
    return found


def test_what_a_shipper_tells_is_read_while_it_lives(tmp_path) -> None:
    place = home(tmp_path)
    assert None is log_outages.read(place)
    note = log_outages.Note(place)
    assert {} == log_outages.read(place)
    found = outages.Outages(note.tell)
    found.failed("pricing", FULL, NOW)
    assert ("It is full.", NOW) == (
        log_outages.read(place)["pricing"]["detail"], log_outages.read(place)["pricing"]["since"],
    )  # fmt: skip
    note.close()
    assert None is log_outages.read(place)

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (place.run / "prediction-log.json").write_text(json.dumps({"pid": ended.pid, "outages": {}}))
    assert None is log_outages.read(place)


def test_status_says_that_nobody_moves_what_waits_and_why_a_log_is_unreadable(tmp_path) -> None:
    place = home(tmp_path)
    writer = segments.SegmentWriter(
        place.spool / "pricing" / "production", service="pricing", environment="production", release="r",
        instance="i", disk_bytes_max=1 << 24,
    )  # fmt: skip
    writer.append(b"anything")
    writer.close()

    (found,) = prediction_log.status(place)
    assert "No process moves records" in found.document(NOW)["outage"]["detail"]

    note = log_outages.Note(place)
    (found,) = prediction_log.status(place)
    assert None is found.document(NOW)["outage"]

    place.log.mkdir(exist_ok=True)
    (place.log / "pricing").write_text("a file")
    (found,) = prediction_log.status(place)
    assert "is no directory" in found.document(NOW)["outage"]["detail"]
    assert 0 < found.waiting_bytes
    note.close()
