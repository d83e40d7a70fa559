from __future__ import annotations

import dataclasses
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softlaunch.core import spool

SEED = 0x1234_5678
HEADER = spool.Header(
    service="flights", environment="production", release="a" * 12, instance="tok", opened_at=1_700_000_000.5, seed=SEED
)
PAYLOADS = [b"one", b"", b"three" * 100, spool.MARK * 3, spool.frame(b"not mine", SEED + 1)]


def framed(payloads: list[bytes]) -> bytes:
    return b"".join(spool.frame(payload, SEED) for payload in payloads)


def test_what_was_framed_is_scanned() -> None:
    data = framed(PAYLOADS)

    found = spool.scan(data, SEED)

    assert (PAYLOADS, len(data), 0) == (found.payloads, found.stopped_at, found.damage_count)


def test_a_header_survives_and_says_where_frames_begin() -> None:
    raw = spool.dump_header(HEADER)

    assert (HEADER, len(raw)) == spool.load_header(raw + framed(PAYLOADS))


@pytest.mark.parametrize("length", range(0, len(spool.dump_header(HEADER)), 7))
def test_a_header_cut_anywhere_is_none(length: int) -> None:
    assert spool.load_header(spool.dump_header(HEADER)[:length]) is None


def test_a_segment_of_a_later_format_is_not_read() -> None:
    raw = bytearray(spool.dump_header(HEADER))
    raw[len(spool.MAGIC)] += 1

    assert spool.load_header(bytes(raw)) is None


@given(st.integers(0, len(framed(PAYLOADS))))
def test_a_tail_torn_anywhere_loses_the_last_frame_only_and_is_read_on_from(length: int) -> None:
    data = framed(PAYLOADS)

    torn = spool.scan(data[:length], SEED)
    rest = spool.scan(data[torn.stopped_at :], SEED)

    assert PAYLOADS == torn.payloads + rest.payloads
    assert 0 == torn.damage_count == rest.damage_count


@given(st.integers(0, len(framed(PAYLOADS)) - 1), st.integers(1, 255))
def test_a_byte_changed_anywhere_costs_one_frame_and_is_counted(place: int, change: int) -> None:
    data = bytearray(framed([*PAYLOADS, b"last"]))
    data[place] ^= change

    found = spool.scan(bytes(data), SEED)

    assert len(PAYLOADS) == len(found.payloads)
    assert "last" == found.payloads[-1].decode()
    assert 1 == found.damage_count


def test_a_frame_inside_of_a_torn_payload_is_no_record() -> None:
    # A client that knows the format, but not the segment's random number, sends a frame as its request.
    forged = spool.frame(b"forged", 0)
    whole = spool.frame(b"x" + forged + b"y" * 50, SEED)

    assert [] == spool.scan(whole[:-10], SEED).payloads


def test_noise_is_passed_over() -> None:
    noise = random.Random(1).randbytes(5_000)

    found = spool.scan(noise + framed([b"good"]), SEED)

    assert ([b"good"], 1, 5_000) == (found.payloads, found.damage_count, found.damage_bytes)


def test_a_scan_stops_after_as_many_as_asked_and_can_go_on() -> None:
    data = framed(PAYLOADS)

    first = spool.scan(data, SEED, enough=lambda payload: payload == PAYLOADS[1])

    assert PAYLOADS[:2] == first.payloads
    assert PAYLOADS[2:] == spool.scan(data[first.stopped_at :], SEED).payloads


def test_names_sort_by_time_and_tell_the_writer() -> None:
    later = dataclasses.replace(HEADER, opened_at=HEADER.opened_at + 1)
    first, second = spool.segment_name(HEADER, 9), spool.segment_name(later, 10)

    assert first < second
    assert HEADER.opened_at == spool.opened_at(first)
    assert f"{'a' * 12}-tok" == spool.writer_of(first) == spool.writer_of(second)
    assert spool.opened_at("lock") is None


def test_a_record_without_the_newest_fields_can_be_read() -> None:
    made = spool.Record(
        "id", 1.0, "a" * 12, "tok", "primary", False, "/predict", "", b"{}", 200, b"{}", False, False, 5, None, "", 1,
        "n:1", 10, 3, 0,
    )  # fmt: skip
    older = msgspec.msgpack.encode(tuple(made)[:-1])

    assert made == msgspec.msgpack.Decoder(spool.Record).decode(older)


def test_a_group_gives_back_its_records_and_older_ones_their_defaults() -> None:
    made = spool.Record(
        "id", 1.0, "a" * 12, "tok", "shadow", True, "/predict", "", b"{}", 500, b"", True, True, 5, None, "", 1, "n:1",
        10, 3, 2, True, {"order": [1]}, {"f": 1}, True,
    )  # fmt: skip
    group = spool.group_of(made, made._replace(request_id="other"))
    narrow = group._replace(rows=[["id", 2.0, 0]], offset=1.0)

    assert [made, made._replace(request_id="other")] == spool.records(HEADER, group)
    (older,) = spool.records(HEADER, narrow)
    assert ("id", 3.0, spool.PRIMARY, None) == (older.request_id, older.at, older.arm, older.keys)


SOUND = ["r", 1e9, 0, "/predict", "", b"{}", 200, b"{}", 5, None, "u", 1, "", 0, {"k": ["a"]}, None]


def rows_of(*rows: list) -> spool.Group:
    return spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=list(rows))


@pytest.mark.parametrize("row", [SOUND, SOUND[:2], [*SOUND, "of a later release"]])
def test_groups_of_ours_are_sound(row) -> None:
    assert spool.is_sound(rows_of(SOUND, row))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"r"), (0, None), (1, float("nan")), (1, 1e18), (1, -1.0), (2, 2**63), (6, True), (9, "5"), (11, -1),
        (11, 2**40), (14, {"k": "a"}), (14, {1: ["a"]}), (14, {"k": [b"a"]}), (15, ["x"]),
    ],
)  # fmt: skip
def test_a_group_with_a_value_that_readers_do_not_expect_is_not_sound(place, value) -> None:
    assert not spool.is_sound(rows_of(SOUND, [*SOUND[:place], value, *SOUND[place + 1 :]]))


def test_a_row_without_a_time_is_not_sound() -> None:
    assert not spool.is_sound(rows_of(["r"]))
