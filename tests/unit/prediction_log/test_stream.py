from __future__ import annotations

import dataclasses

import hypothesis
import pytest
from hypothesis import strategies as some

from softlaunch.core import spool
from softlaunch.core.prediction_log import stream

HEADER = spool.Header(
    service="pricing", environment="production", release="0" * 12, instance="i", opened_at=1e9, seed=77
)
NAME = spool.segment_name(HEADER, 1)
FRAME = stream.Frame(segment=NAME, start=250, header=HEADER, payload=b"some records")
MESSAGES = [
    FRAME,
    stream.Hole(segment=NAME, start=5, end=10, reason="torn"),
    stream.Gone(segment=NAME),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_comes_back_as_it_was(message) -> None:
    assert message == stream.load(stream.dump(message))


def test_a_frame_carries_the_bytes_of_its_segment() -> None:
    assert stream.dump(FRAME).endswith(spool.frame(FRAME.payload, HEADER.seed))
    assert FRAME.start + len(spool.frame(FRAME.payload, HEADER.seed)) == FRAME.end


@hypothesis.given(some.sampled_from(MESSAGES), some.data())
def test_whatever_is_cut_or_bitten_is_told_or_unchanged_and_never_something_else(message, draw) -> None:
    data = bytearray(stream.dump(message))
    if draw.draw(some.booleans()):
        del data[draw.draw(some.integers(0, len(data) - 1)) :]
    else:
        data[draw.draw(some.integers(0, len(data) - 1))] ^= 1 << draw.draw(some.integers(0, 7))

    with pytest.raises(stream.UnfitError):
        stream.load(bytes(data))


@hypothesis.given(some.binary(max_size=200))
def test_anything_else_is_no_message(data) -> None:
    with pytest.raises(stream.UnfitError):
        stream.load(data)


def rewritten(**fields: object) -> bytes:
    """A message whose header is whole and says something that ours never do."""
    import json
    import struct
    import zlib

    document = json.dumps(fields).encode()
    return stream.MAGIC + struct.pack("<HII", 1, len(document), zlib.crc32(document)) + document


HEADER_FIELDS = dataclasses.asdict(HEADER)


@pytest.mark.parametrize(
    ("fields", "flaw"),
    [
        ({"kind": "frame"}, stream.Flaw.CONTENT),
        ({"kind": "gone", "segment": "../../etc/passwd"}, stream.Flaw.CONTENT),
        ({"kind": "gone", "segment": 7}, stream.Flaw.CONTENT),
        ({"kind": "newer", "segment": NAME, "start": 1}, stream.Flaw.VERSION),
        ({"kind": "hole", "segment": NAME, "start": "x", "end": 1, "reason": "torn"}, stream.Flaw.CONTENT),
        ({"kind": "frame", "segment": NAME, "start": 1, "header": HEADER_FIELDS | {"version": 9}}, stream.Flaw.VERSION),
        ({"kind": "frame", "segment": NAME, "start": 1, "header": HEADER_FIELDS}, stream.Flaw.TORN),
        ({"kind": "frame", "segment": NAME, "start": 1, "header": {}}, stream.Flaw.CONTENT),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_with_its_flaw(fields, flaw) -> None:
    with pytest.raises(stream.UnfitError) as raised:
        stream.load(rewritten(**fields))
    assert flaw == raised.value.flaw


def test_two_frames_in_one_message_are_none() -> None:
    with pytest.raises(stream.UnfitError) as raised:
        stream.load(stream.dump(FRAME) + spool.frame(b"more", HEADER.seed))
    assert stream.Flaw.CHECKSUM == raised.value.flaw


def test_a_place_comes_back_from_its_file() -> None:
    place = stream.Place(offsets={NAME: 7}, gone={NAME: 1e9})

    assert place == stream.Place.from_json(place.to_json())


def pieces(lengths: list[int]) -> list[stream.Frame | stream.Hole]:
    """A whole segment: frames and, where a length is even, holes between them."""
    found: list[stream.Frame | stream.Hole] = []
    place = len(spool.dump_header(HEADER))
    for length in lengths:
        if length % 2:
            found.append(stream.Frame(segment=NAME, start=place, header=HEADER, payload=b"x" * length))
        else:
            found.append(stream.Hole(segment=NAME, start=place, end=place + length + 2, reason="torn"))
        place = found[-1].end
    return found


@hypothesis.given(some.lists(some.integers(0, 9), min_size=1, max_size=8), some.data())
def test_in_whatever_order_and_number_messages_come_each_is_accepted_once(lengths, draw) -> None:
    sent = pieces(lengths)
    places = draw.draw(some.lists(some.integers(0, len(sent) - 1), max_size=30))
    offsets = {"another-0.spool": 7}

    accepted = [place for place in places if stream.accept(offsets, sent[place])]

    assert sorted(set(places)) == sorted(accepted)
    for place in set(range(len(sent))) - set(places):
        assert stream.accept(offsets, sent[place])
    assert not any(stream.accept(offsets, message) for message in sent)
    stream.forget(offsets, stream.Gone(segment=NAME))
    assert {"another-0.spool": 7} == offsets


def test_messages_in_their_order_leave_one_number_behind() -> None:
    sent = pieces([1, 2, 3, 4, 5])
    offsets: dict[str, int] = {}

    assert all(stream.accept(offsets, message) for message in sent)
    assert {NAME: sent[-1].end} == offsets


def test_a_segment_that_was_begun_elsewhere_is_accepted_from_where_it_is_sent() -> None:
    sent = pieces([1, 3, 5])[1:]
    offsets: dict[str, int] = {}

    assert all(stream.accept(offsets, message) for message in sent)
    assert not any(stream.accept(offsets, message) for message in sent)
