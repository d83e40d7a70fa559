"""Which exchanges become records, and what a full buffer or disk costs."""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from softlaunch.core import spec, spool
from softlaunch.serving import capture as capturing
from softlaunch.serving import redaction, replies

HEADER = spool.Header(service="svc", environment="env", release="a" * 12, instance="tok", opened_at=time.time(), seed=0)


class Writer:
    """Keeps what is appended; can be closed for a while, or broken."""

    def __init__(self) -> None:
        self.records: list[spool.Record] = []
        self.open = threading.Event()
        self.open.set()
        self.broken = False

    def append(self, payload: bytes) -> None:
        assert self.open.wait(10)
        if self.broken:
            raise OSError(28, "No space left on device")
        assert len(payload) <= spool.FRAME_BYTES_MAX
        self.records += spool.records(HEADER, msgspec.msgpack.decode(payload, type=spool.Group))

    def close(self) -> None:
        pass


def capture(writer: Writer, *, percent: float = 100.0, redactor: redaction.Redactor | None = None) -> capturing.Capture:
    return capturing.Capture(writer, percent=percent, redactor=redactor)


def add(
    to: capturing.Capture,
    headers: Mapping[str, str],
    reply: replies.Reply | None = None,
    *,
    body: bytes = b"{}",
    **more: Any,
) -> None:
    measured = replies.Measured(body, time.perf_counter(), 3, 40, "n:0.5", **more)
    made = reply or replies.Reply(200, b"{}")
    to.add(
        "/predict",
        headers,
        headers["x-request-id"],
        made,
        measured,
        service_us=700,
        memory_kib=9,
        served_count=2,
        content_type=headers.get("content-type", ""),
    )


def test_an_exchange_is_recorded_with_what_the_gateway_said_of_it() -> None:
    writer = Writer()
    to = capture(writer)

    headers = {"x-request-id": "id", "x-softlaunch-arm": "mirrored", "x-softlaunch-key": "ada", "content-type": "a/b"}
    add(to, headers)
    to.close()

    (found,) = writer.records
    assert ("id", "a" * 12, "tok", spool.PRIMARY, True) == found[:1] + found[2:6]
    assert ("ada", "a/b", 700, 40, 3, "n:0.5", 9, 2, 0) == (
        found.key, found.content_type, found.service_us, found.cpu_us, found.row_count, found.output,
        found.memory_kib, found.served_count, found.dropped,
    )  # fmt: skip


def test_pairs_are_recorded_at_any_share() -> None:
    writer = Writer()
    to = capture(writer, percent=0.0)

    add(to, {"x-request-id": "plain"})
    add(to, {"x-request-id": "pair", "x-softlaunch-arm": "mirrored"})
    add(to, {"x-request-id": "pair", "x-softlaunch-arm": "shadow"})
    to.close()

    assert [("pair", "primary"), ("pair", "shadow")] == [(found.request_id, found.arm) for found in writer.records]


@pytest.mark.parametrize("percent", [0.0, 30.0, 100.0])
def test_what_it_says_to_take_is_what_it_records(percent: float) -> None:
    writer = Writer()
    to = capture(writer, percent=percent)
    asked = [{"x-request-id": f"r{number}"} for number in range(200)]
    asked += [{"x-request-id": f"s{number}", "x-softlaunch-arm": "shadow"} for number in range(5)]

    told = [headers["x-request-id"] for headers in asked if to.takes(headers, headers["x-request-id"])]
    for headers in asked:
        add(to, headers)
    to.close()

    assert told == [found.request_id for found in writer.records]


@pytest.mark.parametrize("percent", [0.0, 1.0, 30.0, 100.0])
def test_a_share_of_requests_is_chosen_by_their_ids_alone(percent: float) -> None:
    count = 20_000
    chosen = sum(capturing.is_chosen(f"request-{number}", percent) for number in range(count))

    deviation = (percent / 100 * (1 - percent / 100) / count) ** 0.5
    assert abs(chosen / count - percent / 100) <= 4 * deviation


def test_failures_are_marked() -> None:
    writer = Writer()
    to = capture(writer)

    add(to, {"x-request-id": "a"}, replies.answer_invalid(0, "y", "NaN"))
    add(to, {"x-request-id": "b"}, replies.shed(10, 1))
    add(to, {"x-request-id": "c"}, replies.model_failed("ValueError"))
    to.close()

    marks = [(found.status, found.invalid, found.shed) for found in writer.records]
    assert [(500, True, False), (503, False, True), (500, False, False)] == marks


def test_large_bodies_are_left_out_and_said_so() -> None:
    writer = Writer()
    to = capture(writer)

    add(to, {"x-request-id": "a"}, body=b"x" * (spool.BODY_BYTES_MAX + 1))
    to.close()

    assert (b"", b"", True) == (writer.records[0].request, writer.records[0].answer, writer.records[0].cut)


def test_a_full_buffer_drops_and_the_next_record_says_how_many() -> None:
    writer = Writer()
    writer.open.clear()
    to = capture(writer)

    for number in range(80):
        add(to, {"x-request-id": str(number)}, body=b"x" * 1_000_000)
    dropped = to.dropped
    writer.open.set()
    to.close()

    assert 40 < dropped < 60
    assert 80 - dropped == len(writer.records)


def test_a_broken_disk_drops_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    writer = Writer()
    writer.broken = True
    to = capture(writer)

    for number in range(500):
        add(to, {"x-request-id": str(number)})
    to.close()

    assert 500 == to.dropped
    assert 1 == capsys.readouterr().err.count("cannot be recorded")


def test_segments_are_named_after_the_process(tmp_path: pathlib.Path) -> None:
    header = spool.Header(service="s", environment="e", release="a" * 12, instance="0f-../x", opened_at=1.5, seed=0)

    assert "/" not in spool.segment_name(header, 1)


def test_keys_and_features_are_recorded_as_they_are() -> None:
    writer = Writer()
    to = capture(writer)

    add(to, {"x-request-id": "a"}, keys={"order": ["o-7", None, 3]}, features={"weather": {"wind": 3.5}})
    to.close()

    assert {"order": ["o-7", None, 3]} == writer.records[0].keys
    assert {"weather": {"wind": 3.5}} == writer.records[0].features


def test_the_time_is_that_of_the_request() -> None:
    writer = Writer()
    to = capture(writer)
    before = time.time()

    add(to, {"x-request-id": "a"})
    to.close()

    assert before - 0.01 <= writer.records[0].at <= time.time() + 0.01


def test_groups_fit_into_frames_however_large_their_bodies_are() -> None:
    writer = Writer()
    writer.open.clear()
    to = capture(writer)

    for number in range(25):
        add(to, {"x-request-id": str(number)}, body=b"x" * spool.BODY_BYTES_MAX)
    writer.open.set()
    to.close()

    assert [str(number) for number in range(25)] == [found.request_id for found in writer.records]


def test_records_are_redacted_before_they_are_written() -> None:
    writer = Writer()
    to = capture(writer, redactor=redaction.Redactor({"x": spec.Redaction.DROP}, secret=b""))

    add(to, {"x-request-id": "a"}, body=b'{"x":5}')
    to.close()

    assert b'{"x":null}' == writer.records[0].request
