"""
The spool's format: what a model server answered, as bytes that survive being cut anywhere.

    segment   MAGIC, version u16, header length u32, CRC of the header u32, header (JSON), frames
    frame     MARK, payload length u32, CRC u32, payload

Numbers are little-endian. The CRC is CRC-32 seeded with the segment's own random number (in the header): bytes that a
client sent inside of a payload cannot pass for a frame. A payload is a MessagePack array; who reads and writes segments
brings that codec (this layer has the standard library only), `frame` and `scan` do the rest. What the array holds
depends on the segment's version:

    1   one Record, field by field
    2   a Group: many records, and once what they share. A frame of its own for every record costs the writing process
        several times as much

Rules of reading, which need to know nothing of the writer:
    * A frame that is whole and whose CRC fits is a record.
    * Where there is none, but a good frame follows, what lies between is damage: counted once and passed over.
    * Where there is none and nothing good follows, the writer has not finished yet, or never will (a torn tail). The
      place is kept; both look the same, and neither loses a whole record.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MAGIC = b"\xf5softlaunch-spool\n"
VERSION = 2
VERSION_OF_RECORDS = 1
"""Frames hold a Record each; still read."""
MARK = b"\xf5SL\n"
"""0xf5 occurs in no UTF-8 text, so JSON bodies never look like a frame's start."""

SUFFIX = ".spool"
FRAME_BYTES_MAX = 4 * 2**20
"""No frame is larger; a length beyond it is damage."""
BODY_BYTES_MAX = 2**20
"""Larger requests or answers are recorded without their bodies (`cut`)."""

PRIMARY, SHADOW = "primary", "shadow"
MIRRORED = "mirrored"
"""What the gateway calls a request that it has copied, as it calls the copy SHADOW."""

_SEGMENT = struct.Struct("<HII")
_FRAME = struct.Struct("<4sII")
FRAME_HEAD_BYTES = _FRAME.size
_HEADER_BYTES_MAX = 65_536


class Record(NamedTuple):
    """
    One answered prediction request. New fields go to the end, with a default: older segments lack them.

    A NamedTuple, not a dataclass: one is built for every request, and this is the cheapest typed record there is.
    """

    request_id: str
    at: float
    """Unix seconds at which the request's body had been read."""
    release: str
    """First twelve hex digits of the digest that answered."""
    instance: str
    """The process that answered; its token."""
    arm: str
    """PRIMARY; SHADOW for a copy whose answer nobody saw."""
    mirrored: bool
    """A copy of this request was sent to the shadow."""
    path: str
    content_type: str
    request: bytes
    status: int
    answer: bytes
    invalid: bool
    shed: bool
    service_us: int
    """From the body's last byte to the answer's first, in the process."""
    cpu_us: int | None
    """Its rows' share of the model call's CPU time; None when the model was not called."""
    key: str
    """The sticky key (user), empty when the request carried none."""
    row_count: int
    """0 when the request could not be read."""
    output: str
    """As core.attempts.Attempt.output."""
    memory_kib: int
    served_count: int
    dropped: int
    """Records this process could not keep, all told: a gap in the spool is not a missing answer."""
    cut: bool = False
    """The bodies were too large to keep, or could not be redacted."""
    keys: Mapping[str, Sequence[Any]] | None = None
    """Business keys by name, one value a row."""
    features: Mapping[str, Any] | None = None
    """Features looked up for the request, as they were served."""
    redacted: bool = False
    """Something of the request was left out or hashed: it cannot be sent again as it was."""


class Group(NamedTuple):
    """Records of one process, as they stand in a frame of version 2. New fields go to the end, with a default."""

    offset: float
    """Seconds to be added to a value's `started`, which is on a clock of the process, for Unix seconds."""
    memory_kib: int
    dropped: int
    rows: list[list[Any]]
    """Of every record the values of VALUE_NAMES, or the first of them."""


VALUE_NAMES = (
    "request_id", "started", "flags", "path", "content_type", "request", "status", "answer", "service_us", "cpu_us",
    "key", "row_count", "output", "served_count", "keys", "features",
)  # fmt: skip
"""Of one record in Group.rows. New ones go to the end."""
VALUE_COUNT = len(VALUE_NAMES)
REQUEST_PLACE, ANSWER_PLACE = VALUE_NAMES.index("request"), VALUE_NAMES.index("answer")

FLAG_SHADOW, FLAG_MIRRORED, FLAG_INVALID, FLAG_SHED, FLAG_CUT, FLAG_REDACTED = 1, 2, 4, 8, 16, 32
VALUE_DEFAULTS: tuple[Any, ...] = ("", 0.0, 0, "", "", b"", 0, b"", 0, None, "", 0, "", 0, None, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """Who writes a segment."""

    service: str
    environment: str
    release: str
    instance: str
    opened_at: float
    seed: int
    """Of the frames' CRC; 32 random bits."""
    version: int = VERSION
    """What payloads are; see the module. Written in front of the header, not in it."""


def segment_name(header: Header, number: int) -> str:
    """Sorts by the time of opening; unique among the processes of a directory."""
    instance = "".join(letter for letter in header.instance if letter.isalnum())[:12]
    return f"{int(header.opened_at * 1e3):014d}-{header.release or 'none'}-{instance}-{number:06d}{SUFFIX}"


def opened_at(name: str) -> float | None:
    """Unix seconds in a segment's name; None when it is not one."""
    digits = name.partition("-")[0]
    return int(digits) / 1e3 if name.endswith(SUFFIX) and digits.isdecimal() else None


def writer_of(name: str) -> str:
    """What the names of one process's segments have in common."""
    return name.removesuffix(SUFFIX).split("-", 1)[-1].rpartition("-")[0]


def dump_header(header: Header) -> bytes:
    """The first bytes of a segment."""
    fields = dataclasses.asdict(header)
    version = fields.pop("version")
    document = json.dumps(fields).encode()
    return MAGIC + _SEGMENT.pack(version, len(document), zlib.crc32(document)) + document


def load_header(data: bytes) -> tuple[Header, int] | None:
    """
    The header at the start of a segment, and where its frames begin.

    None when it is not whole (yet), damaged, or of a version this release does not know: then nothing can be read.
    """
    start = len(MAGIC) + _SEGMENT.size
    if len(data) < start or not data.startswith(MAGIC):
        return None
    version, length, crc = _SEGMENT.unpack_from(data, len(MAGIC))
    document = bytes(data[start : start + length])
    if version not in (VERSION_OF_RECORDS, VERSION) or length > _HEADER_BYTES_MAX or len(document) < length:
        return None
    if zlib.crc32(document) != crc:
        return None
    fields = json.loads(document)
    known = {field.name for field in dataclasses.fields(Header)} - {"version"}
    return Header(version=version, **{name: value for name, value in fields.items() if name in known}), start + length


def header_bytes_max() -> int:
    """Enough bytes of a segment to read any header."""
    return len(MAGIC) + _SEGMENT.size + _HEADER_BYTES_MAX


_ROWS_MAX = 2**20
"""In a request: its body has at most so many bytes."""
_VALUES_MIN = 2
"""Readers look at a row's time before they fill up what it lacks."""
_YEAR_10000 = 253_402_300_800.0
_INT64_END = 2**63
_OPTIONAL, _COLUMNS = (int, type(None)), (dict, type(None))
_VALUE_TYPES: tuple[tuple[type, ...], ...] = (
    (str,), (float, int), (int,), (str,), (str,), (bytes,), (int,), (bytes,), (int,), _OPTIONAL,
    (str,), (int,), (str,), (int,), _COLUMNS, _COLUMNS,
)  # fmt: skip
_ROW_TYPES = frozenset(
    types for count in range(_VALUES_MIN, VALUE_COUNT + 1) for types in itertools.product(*_VALUE_TYPES[:count])
)
"""All that a row may be, looked up at once: it is asked of every record."""


def is_sound(group: Group) -> bool:
    """
    Whether every value is what readers of a group take for granted.

    Groups in segments of this machine are: we wrote them. A stream may bring what anybody has put there.
    """
    return all(_is_sound(group.offset, row) for row in group.rows)


def _is_sound(offset: float, row: Sequence[Any]) -> bool:
    if tuple(map(type, row[:VALUE_COUNT])) not in _ROW_TYPES:
        return False
    values = row if len(row) >= VALUE_COUNT else [*row, *VALUE_DEFAULTS[len(row) :]]
    _, started, flags, _, _, _, status, _, service_us, cpu_us, _, row_count, _, served, keys, features = values[
        :VALUE_COUNT
    ]
    return (
        0.0 <= offset + started < _YEAR_10000
        and 0 <= row_count <= _ROWS_MAX
        and max(flags, status, service_us, cpu_us or 0, served) < _INT64_END  # MessagePack has no lower ones
        and (not keys or _are_columns(keys))
        and (not features or _are_columns(features))
    )


def _are_columns(found: Mapping[Any, Any]) -> bool:
    if not all(type(name) is str and type(column) is list for name, column in found.items()):
        return False
    try:
        json.dumps(found)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def records(header: Header, group: Group) -> list[Record]:
    """The records of a group in a segment with that header, in their order."""
    found = []
    for row in group.rows:
        known = tuple(row[:VALUE_COUNT])
        (
            request_id, started, flags, path, content_type, request, status, answer, service_us, cpu_us,
            key, row_count, output, served_count, keys, features,
        ) = known + VALUE_DEFAULTS[len(known) :]  # fmt: skip
        found.append(
            Record(
                request_id=request_id,
                at=group.offset + started,
                release=header.release,
                instance=header.instance,
                arm=SHADOW if flags & FLAG_SHADOW else PRIMARY,
                mirrored=bool(flags & FLAG_MIRRORED),
                path=path,
                content_type=content_type,
                request=request,
                status=status,
                answer=answer,
                invalid=bool(flags & FLAG_INVALID),
                shed=bool(flags & FLAG_SHED),
                service_us=service_us,
                cpu_us=cpu_us,
                key=key,
                row_count=row_count,
                output=output,
                memory_kib=group.memory_kib,
                served_count=served_count,
                dropped=group.dropped,
                cut=bool(flags & FLAG_CUT),
                keys=keys,
                features=features,
                redacted=bool(flags & FLAG_REDACTED),
            )
        )
    return found


def group_of(*found: Record) -> Group:
    """Records of one process as a group, for whoever writes segments otherwise than the model server."""
    rows: list[list[Any]] = []
    for record in found:
        flags = (
            (record.arm == SHADOW) * FLAG_SHADOW
            | record.mirrored * FLAG_MIRRORED
            | record.invalid * FLAG_INVALID
            | record.shed * FLAG_SHED
            | record.cut * FLAG_CUT
            | record.redacted * FLAG_REDACTED
        )
        row = [
            record.request_id, record.at, flags, record.path, record.content_type, record.request, record.status,
            record.answer, record.service_us, record.cpu_us, record.key, record.row_count, record.output,
            record.served_count, record.keys, record.features,
        ]  # fmt: skip
        rows.append(row)
    last = found[-1]
    return Group(offset=0.0, memory_kib=last.memory_kib, dropped=last.dropped, rows=rows)


def frame(payload: bytes, seed: int) -> bytes:
    """The payload as it is appended to a segment."""
    return _FRAME.pack(MARK, len(payload), zlib.crc32(payload, seed)) + payload


def frame_head(data: bytes) -> tuple[bytes, int, int]:
    """Mark, length and CRC that stand at the beginning of `data`, be it a frame or not."""
    mark, length, crc = _FRAME.unpack_from(data)
    return mark, length, crc


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scanned:
    payloads: list[bytes]
    stopped_at: int
    """Everything before was read; a later scan begins here."""
    damage_count: int
    """Places where something unreadable lay between good frames."""
    damage_bytes: int


def scan(data: bytes | memoryview, seed: int, *, enough: Callable[[bytes], bool] = lambda _: False) -> Scanned:
    """
    The payloads of frames in `data`, which begins at a frame's start or anywhere after it.

    Args:
        data: A piece of a segment, at least FRAME_BYTES_MAX and a frame's head long unless the segment ends before.
        seed: Header.seed.
        enough: Told of every payload; it stops after the one that this is true of.
    """
    payloads: list[bytes] = []
    place = damage_count = damage_bytes = 0
    for start, payload in frames(data, seed):
        if start > place:
            damage_count += 1
            damage_bytes += start - place
        payloads.append(payload)
        place = start + _FRAME.size + len(payload)
        if enough(payload):
            break
    return Scanned(payloads=payloads, stopped_at=place, damage_count=damage_count, damage_bytes=damage_bytes)


def frames(data: bytes | memoryview, seed: int) -> Iterator[tuple[int, bytes]]:
    """
    Where each good frame begins, and its payload; what lies between two of them is damage.

    Args:
        data: As for `scan`.
        seed: Header.seed.
    """
    view = memoryview(data)
    raw = data if isinstance(data, bytes) else bytes(data)
    place = 0
    while True:
        payload = _payload(raw, view, place, seed)
        if payload is None:
            following = _next_good(raw, view, place + 1, seed)
            if following is None:
                return
            place = following
            continue
        yield place, payload
        place += _FRAME.size + len(payload)


def _payload(raw: bytes, view: memoryview, place: int, seed: int) -> bytes | None:
    start = place + _FRAME.size
    if start > len(raw):
        return None
    mark, length, crc = _FRAME.unpack_from(raw, place)
    if mark != MARK or length > FRAME_BYTES_MAX or start + length > len(raw):
        return None
    payload = bytes(view[start : start + length])
    return payload if zlib.crc32(payload, seed) == crc else None


def _next_good(raw: bytes, view: memoryview, place: int, seed: int) -> int | None:
    found = raw.find(MARK, place)
    while found >= 0:
        if _payload(raw, view, found, seed) is not None:
            return found
        found = raw.find(MARK, found + 1)
    return None
