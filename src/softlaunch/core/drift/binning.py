"""
Into which bins live values of one column are counted; the same for every batch, hour, arm and machine.

    the reference has the column    its quantile bins (joined evenly to at most 512), or its top categories and one bin
                                    for all others
    numbers without a reference     four bins an octave around zero, the same for every column
    text without a reference        256 bins by hash: what differs in distribution differs there too
    bools without a reference       false, true

A binning is named by the digest of what it is, reference counts included: only counts of one digest are ever added up.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from softlaunch import errors
from softlaunch.core import release
from softlaunch.core.drift import profile, sketch

BIN_COUNT_MAX = 512
"""With counts of up to 2**48 rows and its sketch a column stays under 4,096 bytes; KS loses at most 1/512."""
HASH_BIN_COUNT = 256
DIGEST_BYTES = 8
_OCTAVE = (1.0, 1.189207115002721, 1.4142135623730951, 1.6817928305074290)
"""2 ** (k / 4), written out: a library's power function may differ in its last bit."""
_OCTAVES = range(-30, 34)


class Kind(enum.StrEnum):
    NUMERIC = "numeric"
    CATEGORIES = "categories"
    HASHED = "hashed"


class Counted(NamedTuple):
    """Values of one column, counted."""

    counts: profile.Array
    missing_count: int
    infinite_count: int
    minimum: float | None
    maximum: float | None
    registers: profile.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Binning:
    kind: Kind
    single: bool = False
    """Values are rounded to float32 first, as the table and the model have them."""
    edges: tuple[float, ...] = ()
    """Rising; bin i holds edges[i-1] < value <= edges[i], the first and last bins are open."""
    categories: tuple[str, ...] = ()
    """One bin each, and a last one for all others."""
    reference_counts: tuple[int, ...] = ()
    """Rows of the reference in the same bins; empty: there is no reference."""
    reference_missing_count: int = 0
    reference_row_count: int = 0

    @property
    def bin_count(self) -> int:
        if self.kind is Kind.HASHED:
            return HASH_BIN_COUNT
        return len(self.edges if self.kind is Kind.NUMERIC else self.categories) + 1

    def document(self) -> bytes:
        """Canonical JSON, for whoever reads the counts later."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode()

    @functools.cached_property
    def digest(self) -> bytes:
        """Names what it is."""
        return hashlib.blake2b(self.document(), digest_size=DIGEST_BYTES).digest()

    @functools.cached_property
    def _sorted_edges(self) -> profile.Array:
        return np.asarray(self.edges, dtype=np.float64)

    @functools.cached_property
    def _places(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.categories)}

    def values(self, column: Sequence[Any]) -> profile.Array:
        """A column's values in the form that `count` takes; float64, NaN where missing, or objects for text."""
        if self.kind is not Kind.NUMERIC:
            found = np.empty(len(column), dtype=object)
            found[:] = column
            return found
        try:
            values = np.array(column, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            values = np.array([_number(value) for value in column], dtype=np.float64)
        if self.single:
            with np.errstate(over="ignore"):  # beyond float32 is infinite there
                values = values.astype(np.float32).astype(np.float64)
        return values

    def count(self, values: profile.Array) -> Counted:
        """
        Counts of values.

        Args:
            values: From `values`, or a selection of them.
        """
        if self.kind is Kind.NUMERIC:
            return self._count_numbers(values)
        tally: collections.Counter[Any] = collections.Counter(values.tolist())
        missing_count = tally.pop(None, 0)
        names = [_text(value) for value in tally]
        hashes = sketch.hash_texts(names)
        rows = np.fromiter(tally.values(), dtype=np.int64, count=len(names))
        if self.kind is Kind.HASHED:
            bins = (hashes & np.uint64(HASH_BIN_COUNT - 1)).astype(np.intp)
        else:
            find, other = self._places.get, len(self.categories)
            bins = np.fromiter((find(name, other) for name in names), dtype=np.intp, count=len(names))
        counts = np.zeros(self.bin_count, dtype=np.int64)
        np.add.at(counts, bins, rows)
        registers = sketch.empty()
        sketch.add(registers, hashes)
        return Counted(counts, missing_count, 0, None, None, registers)

    def _count_numbers(self, values: profile.Array) -> Counted:
        registers = sketch.empty()
        known = values[np.isfinite(values)]
        missing_count = int(np.isnan(values).sum())
        if not len(known):
            counts = np.zeros(self.bin_count, dtype=np.int64)
            return Counted(counts, missing_count, len(values) - missing_count, None, None, registers)
        bins = np.searchsorted(self._sorted_edges, known, side="left")
        sketch.add(registers, sketch.hash_numbers(known))
        return Counted(
            counts=np.bincount(bins, minlength=self.bin_count).astype(np.int64),
            missing_count=missing_count,
            infinite_count=len(values) - missing_count - len(known),
            minimum=float(known.min()) + 0.0,  # -0.0 becomes 0.0: which of both is the least would depend on order
            maximum=float(known.max()) + 0.0,
            registers=registers,
        )


def of_column(
    datatype: release.Datatype, reference: profile.ColumnProfile | None, *, reference_row_count: int = 0
) -> Binning:
    """
    How values of a column are counted.

    Args:
        datatype: As the release's signature has it.
        reference: The column's profile in the release; None, or of the other kind: bins are the general ones.
        reference_row_count: Rows of the reference, of which its missing values are a share.
    """
    is_text = datatype is release.Datatype.BYTES
    single = datatype is release.Datatype.FP32
    if isinstance(reference, profile.NumericProfile) and not is_text:
        edges, counts = _joined(reference)
        if single:
            # Edges of a reference in float64 would part equal values that the model sees in float32.
            with np.errstate(over="ignore"):
                rounded = np.asarray(edges, dtype=np.float64).astype(np.float32).astype(np.float64)
            edges = tuple(np.clip(rounded, -_FLOAT32_MAX, _FLOAT32_MAX).tolist())
        return Binning(
            kind=Kind.NUMERIC, single=single, edges=edges, reference_counts=counts,
            reference_missing_count=reference.missing_count, reference_row_count=reference_row_count,
        )  # fmt: skip
    if isinstance(reference, profile.CategoryProfile) and (is_text or datatype is release.Datatype.BOOL):
        return Binning(
            kind=Kind.CATEGORIES, categories=reference.categories,
            reference_counts=(*reference.counts, reference.other_count),
            reference_missing_count=reference.missing_count, reference_row_count=reference_row_count,
        )  # fmt: skip
    if is_text:
        return Binning(kind=Kind.HASHED)
    if datatype is release.Datatype.BOOL:
        return Binning(kind=Kind.CATEGORIES, categories=("false", "true"))
    return Binning(kind=Kind.NUMERIC, single=single, edges=_general_edges())


def load(raw: bytes) -> Binning:
    """
    What `Binning.document` wrote.

    Raises:
        UnavailableError: not such a document.
    """
    try:
        found = json.loads(raw)
        kind = Kind(found.pop("kind"))
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
        }
        return Binning(kind=kind, **fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.UnavailableError(
            f"The bins of a live profile cannot be read: {error}.",
            remedy="Read it with the version of softlaunch that wrote it.",
            code=errors.Code.LOG_UNAVAILABLE,
        ) from error


_FLOAT32_MAX = float(np.finfo(np.float32).max)


def _joined(reference: profile.NumericProfile) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Neighbouring bins, joined by integer arithmetic until there are few enough."""
    count = len(reference.counts)
    if count <= BIN_COUNT_MAX:
        return reference.edges, reference.counts
    starts = [place * count // BIN_COUNT_MAX for place in range(BIN_COUNT_MAX)]
    counts = np.add.reduceat(np.asarray(reference.counts, dtype=np.int64), starts)
    return tuple(reference.edges[start - 1] for start in starts[1:]), tuple(counts.tolist())


@functools.cache
def _general_edges() -> tuple[float, ...]:
    """0, and 2 ** -30 to 2 ** 33.5 on both sides, four an octave: 512 bins."""
    positive = sorted(float(np.ldexp(part, octave)) for octave in _OCTAVES for part in _OCTAVE)[
        : BIN_COUNT_MAX // 2 - 1
    ]
    return (*(-edge for edge in reversed(positive)), 0.0, *positive)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
