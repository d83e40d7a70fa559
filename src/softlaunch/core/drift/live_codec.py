"""
Live profiles as bytes: canonical (equal profiles are equal bytes), at most 4,096 a column beside its name.

    "SLP1"  rows  feature rows  answer rows  columns
    each column, in the order of (part, name, bins):
        part (1 byte)  name (length, UTF-8)  digest of its bins (8 bytes)
        missing  infinite  has values (1 byte)  [minimum  maximum (float64)]  bins  counts...  registers (768 bytes)

Whole numbers are LEB128: seven bits a byte, the lowest first. Floats are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from softlaunch import errors
from softlaunch.core.drift import binning, live_profile, sketch

MAGIC = b"SLP1"
COLUMN_BYTES_MAX = 4_096
_PARTS = (live_profile.FEATURES, live_profile.ANSWER)
_MORE = 0x80
_WIDTH_MAX = 9
"""Bytes of a count: 63 bits."""
_BOUNDS = struct.Struct("<dd")


def encode(profile: live_profile.LiveProfile) -> bytes:
    """The bytes of a profile."""
    found = bytearray(MAGIC)
    for number in (profile.row_count, profile.feature_row_count, profile.answer_row_count, len(profile.columns)):
        _put(found, number)
    for key in sorted(profile.columns, key=lambda each: (_PARTS.index(each.part), each.name, each.binning)):
        name = key.name.encode(errors="surrogatepass")
        found.append(_PARTS.index(key.part))
        _put(found, len(name))
        found += name
        found += key.binning
        found += encode_column(profile.columns[key])
    return bytes(found)


def encode_column(column: live_profile.Column) -> bytes:
    """The part of one column, without its name and the digest of its bins."""
    found = bytearray()
    _put(found, column.missing_count)
    _put(found, column.infinite_count)
    if column.minimum is None or column.maximum is None:
        found.append(0)
    else:
        found.append(1)
        found += _BOUNDS.pack(column.minimum, column.maximum)
    _put(found, len(column.counts))
    found += _numbers(column.counts)
    found += column.registers
    return bytes(found)


def decode(raw: bytes) -> live_profile.LiveProfile:
    """
    What `encode` wrote.

    Raises:
        UnavailableError: damaged, or written by a newer softlaunch.
    """
    reader = _Reader(raw)
    try:
        if reader.take(len(MAGIC)) != MAGIC:
            raise ValueError(f"it begins with {raw[:4]!r}")  # noqa: TRY301  # one path for every way to be wrong
        rows, feature_rows, answer_rows, column_count = (reader.number() for _ in range(4))
        columns = dict(reader.column() for _ in range(column_count))
        if reader.place != len(raw):
            raise ValueError(f"{len(raw) - reader.place} bytes follow its end")  # noqa: TRY301
        return live_profile.LiveProfile(
            row_count=rows, feature_row_count=feature_rows, answer_row_count=answer_rows, columns=columns
        )
    except (IndexError, ValueError, struct.error, errors.InvariantError) as error:
        raise errors.UnavailableError(
            f"A live profile cannot be read: {error}.",
            remedy="If a newer softlaunch wrote it, read it with that one; otherwise it is damaged.",
            code=errors.Code.LOG_UNAVAILABLE,
        ) from error


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.place = 0

    def take(self, count: int) -> bytes:
        found = self._raw[self.place : self.place + count]
        if len(found) != count:
            raise ValueError(f"it ends at byte {len(self._raw)}")
        self.place += count
        return found

    def number(self) -> int:
        found = shift = 0
        while True:
            byte = self._raw[self.place]
            self.place += 1
            found |= (byte & ~_MORE) << shift
            if byte < _MORE:
                return found
            shift += 7

    def numbers(self, count: int) -> tuple[int, ...]:
        if not count:
            return ()
        found = np.frombuffer(self._raw[self.place : self.place + count * _WIDTH_MAX], dtype=np.uint8)
        ends = np.flatnonzero(found < _MORE)[:count]
        if len(ends) != count:
            raise ValueError(f"it ends at byte {len(self._raw)}")
        starts = np.concatenate([[0], ends[:-1] + 1])
        if int((ends - starts).max()) >= _WIDTH_MAX:
            raise ValueError("a count is too large")
        found = found[: int(ends[-1]) + 1]
        shifts = 7 * (np.arange(len(found)) - np.repeat(starts, ends - starts + 1))
        parts = (found & np.uint8(_MORE - 1)).astype(np.int64) << shifts
        self.place += len(found)
        return tuple(np.add.reduceat(parts, starts).tolist())

    def column(self) -> tuple[live_profile.ColumnKey, live_profile.Column]:
        part = _PARTS[self.take(1)[0]]
        name = self.take(self.number()).decode(errors="surrogatepass")
        key = live_profile.ColumnKey(part=part, name=name, binning=self.take(binning.DIGEST_BYTES))
        missing_count, infinite_count = self.number(), self.number()
        minimum = maximum = None
        if self.take(1) != b"\0":
            minimum, maximum = _BOUNDS.unpack(self.take(_BOUNDS.size))
        counts = self.numbers(self.number())
        column = live_profile.Column(
            counts=counts,
            missing_count=missing_count,
            infinite_count=infinite_count,
            minimum=minimum,
            maximum=maximum,
            registers=self.take(sketch.PACKED_BYTES),
        )
        return key, column


def _numbers(numbers: Sequence[int]) -> bytes:
    """As `_put` each of them: a batch has some 6,000 counts."""
    shifted = np.asarray(numbers, dtype=np.int64)[:, None] >> (7 * np.arange(_WIDTH_MAX))
    there = shifted > 0
    there[:, 0] = True
    found = shifted & (_MORE - 1)
    found[:, :-1] |= there[:, 1:] * _MORE
    return found[there].astype(np.uint8).tobytes()


def _put(into: bytearray, number: int) -> None:
    while number >= _MORE:
        into.append((number & ~_MORE & 0xFF) | _MORE)
        number >>= 7
    into.append(number)
