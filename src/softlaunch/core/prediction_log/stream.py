"""
What is put on a stream instead of into the log: frames of the spool as they are, each with its place in the spool.

    message   MAGIC, version u16, header length u32, CRC-32 of the header u32, header (JSON), frame as in its segment

The place (segment and offset) is what makes a message that came twice known as such: a process that was killed after it
sent and before it noted that, sends again. Messages of a segment follow one another without a gap, and come in that
order; so whoever reads remembers one number a segment (`accept`). Only a sender that was told that a message has
failed, while later ones have not, leaves a gap until it sends again; the gap is remembered for that time.

    kind    what it says
    frame   records; the frame's own CRC covers them
    hole    bytes of the segment that will not come: damaged, lost, or refused by the stream; counted once, like a frame
    gone    the segment is no more, and has been gone for so long that nothing of it can come: forget its number
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from softlaunch.core import spool

MAGIC = b"\xf5softlaunch-stream\n"
VERSION = 1
_HEAD = struct.Struct("<HII")
_SEGMENT = re.compile(rf"[0-9]{{1,20}}-[A-Za-z0-9.+-]{{1,200}}{re.escape(spool.SUFFIX)}", re.ASCII)
_OFFSET_END = 2**53
_GAP = "?"
GONE_SECONDS = 600.0
"""After a segment has gone, its number is kept so long: what was sent and not heard of may still be on its way."""


class Flaw(enum.StrEnum):
    """Why a message cannot be used."""

    HEADER = "header"
    VERSION = "version"
    CHECKSUM = "checksum"
    TORN = "torn"
    CONTENT = "content"


class UnfitError(Exception):
    """
    A message that cannot be used.

    Args:
        flaw: Why.
    """

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    segment: str
    start: int
    header: spool.Header
    """The segment's."""
    payload: bytes

    @property
    def end(self) -> int:
        return self.start + spool.FRAME_HEAD_BYTES + len(self.payload)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hole:
    segment: str
    start: int
    end: int
    reason: str
    """LOST, or why the bytes are no frame."""


LOST = "lost"
"""Deleted for room before it was read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gone:
    segment: str


Message = Frame | Hole | Gone


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """How far a spool was put on the stream, as it is kept beside the spool."""

    offsets: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """By segment: everything before has been taken by the stream."""
    gone: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Of those, segments that are no more: since which Unix second that is known."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Place:
        """What `to_json` wrote."""
        return cls(offsets=dict(document["offsets"]), gone=dict(document["gone"]))


def accept(offsets: dict[str, int], message: Frame | Hole) -> bool:
    """
    Whether a message is here for the first time; `offsets` knows of it from then on.

    Args:
        offsets: By segment the end of the furthest message; and by `SEGMENT?START` the end of a gap before it.
        message: Of any segment, in any order.
    """
    name, start, end = message.segment, message.start, message.end
    furthest = offsets.get(name, 0)
    if start >= furthest:
        is_first = isinstance(message, Frame) and not furthest and start == len(spool.dump_header(message.header))
        if start > furthest and not is_first:
            offsets[f"{name}{_GAP}{furthest}"] = start
        offsets[name] = end
        return True
    for gap in [found for found in offsets if found.startswith(f"{name}{_GAP}")]:
        gap_start, gap_end = int(gap.partition(_GAP)[2]), offsets[gap]
        if gap_start <= start and end <= gap_end:
            del offsets[gap]
            if gap_start < start:
                offsets[f"{name}{_GAP}{gap_start}"] = start
            if end < gap_end:
                offsets[f"{name}{_GAP}{end}"] = gap_end
            return True
    return False


def forget(offsets: dict[str, int], message: Gone) -> None:
    """Nothing of the segment stands in `offsets` any more."""
    for name in [found for found in offsets if found.partition(_GAP)[0] == message.segment]:
        del offsets[name]


def dump(message: Message) -> bytes:
    """The message's bytes."""
    fields: dict[str, Any] = {"kind": type(message).__name__.lower(), "segment": message.segment}
    frame = b""
    if isinstance(message, Frame):
        fields |= {"start": message.start, "header": dataclasses.asdict(message.header)}
        frame = spool.frame(message.payload, message.header.seed)
    elif isinstance(message, Hole):
        fields |= {"start": message.start, "end": message.end, "reason": message.reason}
    document = json.dumps(fields).encode()
    return MAGIC + _HEAD.pack(VERSION, len(document), zlib.crc32(document)) + document + frame


def load(data: bytes) -> Message:
    """
    The message in these bytes.

    Raises:
        UnfitError: it is none, damaged, or of a version that this release does not know.
    """
    start = len(MAGIC) + _HEAD.size
    if not data.startswith(MAGIC) or len(data) < start:
        raise UnfitError(Flaw.TORN if data and MAGIC.startswith(data[: len(MAGIC)]) else Flaw.HEADER)
    version, length, crc = _HEAD.unpack_from(data, len(MAGIC))
    if version != VERSION:
        raise UnfitError(Flaw.VERSION)
    document, frame = data[start : start + length], data[start + length :]
    if len(document) < length:
        raise UnfitError(Flaw.TORN)
    if zlib.crc32(document) != crc:
        raise UnfitError(Flaw.HEADER)
    try:
        return _message(json.loads(document), frame)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnfitError(Flaw.CONTENT) from error


def _message(fields: Mapping[str, Any], frame: bytes) -> Message:
    segment = fields["segment"]
    if not isinstance(segment, str) or not _SEGMENT.fullmatch(segment):
        raise UnfitError(Flaw.CONTENT)
    kind = fields["kind"]
    if kind == "gone":
        return Gone(segment=segment)
    begun = _offset(fields["start"])
    if kind == "hole":
        end, reason = _offset(fields["end"]), fields["reason"]
        if end < begun or not isinstance(reason, str):
            raise UnfitError(Flaw.CONTENT)
        return Hole(segment=segment, start=begun, end=end, reason=reason)
    if kind != "frame":
        raise UnfitError(Flaw.VERSION)
    known = {field.name for field in dataclasses.fields(spool.Header)}
    header = spool.Header(**{name: value for name, value in fields["header"].items() if name in known})
    texts = (header.service, header.environment, header.release, header.instance)
    if not all(isinstance(text, str) and text.isascii() for text in texts) or not 0 <= header.seed < 2**32:
        raise UnfitError(Flaw.CONTENT)
    if header.version not in (spool.VERSION, spool.VERSION_OF_RECORDS):
        raise UnfitError(Flaw.VERSION)
    return Frame(segment=segment, start=begun, header=header, payload=_payload(frame, header.seed))


def _offset(found: Any) -> int:
    if type(found) is not int or not 0 <= found < _OFFSET_END:
        raise UnfitError(Flaw.CONTENT)
    return found


def _payload(frame: bytes, seed: int) -> bytes:
    if len(frame) < spool.FRAME_HEAD_BYTES:
        raise UnfitError(Flaw.TORN)
    found = next(spool.frames(frame, seed), None)
    if found is None:
        _, length, _ = spool.frame_head(frame)
        raise UnfitError(Flaw.TORN if length > len(frame) - spool.FRAME_HEAD_BYTES else Flaw.CHECKSUM)
    start, payload = found
    if start or len(payload) + spool.FRAME_HEAD_BYTES != len(frame):
        raise UnfitError(Flaw.CHECKSUM)
    return payload
