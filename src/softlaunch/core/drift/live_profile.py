"""
Live profiles: what one release was asked and answered in one hour on one arm, counted in fixed bins.

Every part of a profile is a sum, a maximum or a minimum of whole numbers or of floats that are compared, never added.
So profiles merge exactly: however the rows are split into batches, hours, arms or machines, and in whatever order the
parts are merged, the bytes are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from softlaunch import errors
from softlaunch.core.drift import binning, sketch

FEATURES, ANSWER = "features", "answer"
HOUR_SECONDS = 3_600
UNKNOWN_ARM = ""
"""Where the gateway's log does not tell."""
ROWS_MAX = 1 << 48
"""9,000 years at a thousand rows a second; more would not fit 4,096 bytes a column."""


@dataclasses.dataclass(frozen=True, order=True, kw_only=True)
class Key:
    """What a live profile is of, within a service."""

    environment: str
    release: str
    """First twelve digits of its digest."""
    arm: str
    hour: int
    """Whole hours since 1970, UTC: of the answers themselves, however late they were moved."""


class ColumnKey(NamedTuple):
    part: str
    """FEATURES or ANSWER."""
    name: str
    binning: bytes
    """Digest: columns of different bins are never added up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """Values of one feature or output."""

    counts: tuple[int, ...]
    missing_count: int
    """Null, absent or NaN."""
    infinite_count: int
    """In no bin."""
    minimum: float | None
    """Of finite numbers; None where there are none, and of text."""
    maximum: float | None
    registers: bytes
    """sketch.pack."""

    @property
    def value_count(self) -> int:
        """Values in bins."""
        return sum(self.counts)

    @property
    def distinct_count(self) -> float:
        """An estimate, see sketch; infinite and missing values are none of them."""
        return sketch.estimate(sketch.unpack(self.registers))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiveProfile:
    row_count: int = 0
    """Rows of the log."""
    feature_row_count: int = 0
    """Those whose features are known; missing values are among these."""
    answer_row_count: int = 0
    columns: Mapping[ColumnKey, Column] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= max(self.feature_row_count, self.answer_row_count) <= self.row_count <= ROWS_MAX:
            raise errors.InvariantError(f"A live profile of {self.row_count} rows cannot be.")


def counted(found: binning.Counted) -> Column:
    """A column of what was just counted."""
    return Column(
        counts=tuple(found.counts.tolist()),
        missing_count=found.missing_count,
        infinite_count=found.infinite_count,
        minimum=found.minimum,
        maximum=found.maximum,
        registers=sketch.pack(found.registers),
    )


def merge(profiles: Iterable[LiveProfile]) -> LiveProfile:
    """The profile of all rows together; of no profile, the empty one."""
    row_count = feature_row_count = answer_row_count = 0
    columns: dict[ColumnKey, list[Column]] = {}
    for each in profiles:
        row_count += each.row_count
        feature_row_count += each.feature_row_count
        answer_row_count += each.answer_row_count
        for key, column in each.columns.items():
            columns.setdefault(key, []).append(column)
    return LiveProfile(
        row_count=row_count,
        feature_row_count=feature_row_count,
        answer_row_count=answer_row_count,
        columns={key: found[0] if len(found) == 1 else _merged(found) for key, found in columns.items()},
    )


def _merged(columns: Sequence[Column]) -> Column:
    registers = np.stack([sketch.unpack(each.registers) for each in columns])
    counts: Any = np.sum([each.counts for each in columns], axis=0, dtype=np.int64)
    return Column(
        counts=tuple(counts.tolist()),
        missing_count=sum(each.missing_count for each in columns),
        infinite_count=sum(each.infinite_count for each in columns),
        minimum=min((each.minimum for each in columns if each.minimum is not None), default=None),
        maximum=max((each.maximum for each in columns if each.maximum is not None), default=None),
        registers=sketch.pack(registers.max(axis=0)),
    )
