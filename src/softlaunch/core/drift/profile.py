"""
Profiles: exact counts of reference rows in bins cut at the reference's own quantiles.

Bins are cut on one half of the rows and counted on the other, because counting the rows that cut the edges biases every
test that compares counts later. Which half a row belongs to depends on its position only, through a fixed mixing
function, so that the same file always gives the same profile, byte for byte. Counts in fixed bins merge exactly, and
one wild value cannot stretch a bin: equal-width bins would let a single 1e5 hide any shift.

Missing values, and numbers that are not finite, are counted apart and belong to no bin.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from softlaunch import errors
from softlaunch.core import release

SCHEMA_VERSION = 1
BIN_COUNT_MAX = 2_048
"""The Kolmogorov-Smirnov distance over this many quantile bins is within 1.4e-4 of the exact one."""
ROWS_PER_BIN_MIN = 10
"""A guess: fewer rows than this on average and a bin's count says little."""
CATEGORY_COUNT_MAX = 256
"""A guess: rarer categories are counted together as other."""

Array: TypeAlias = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumericProfile:
    name: str
    missing_count: int
    distinct_count: int
    minimum: float | None
    maximum: float | None
    edges: tuple[float, ...]
    """Strictly rising; bin i holds edges[i-1] < value <= edges[i], the first and last bins are open."""
    counts: tuple[int, ...]
    """One more than edges; rows of the counting half."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CategoryProfile:
    name: str
    missing_count: int
    distinct_count: int
    categories: tuple[str, ...]
    """The most frequent of the cutting half, most frequent first."""
    counts: tuple[int, ...]
    """Rows of the counting half, one per category."""
    other_count: int


ColumnProfile: TypeAlias = NumericProfile | CategoryProfile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    row_count: int
    """All rows; missing and distinct count among these."""
    columns: tuple[ColumnProfile, ...]


def counting_half(row_count: int) -> Array:
    """True for the rows that are counted, False for those that cut the edges; bool, shape [row_count]."""
    # SplitMix64 (Steele, Lea and Flood, 2014) of the position: taking turns would follow any period in the file.
    mixed = np.arange(1, row_count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    half: Array = ((mixed ^ (mixed >> np.uint64(31))) & np.uint64(1)).astype(bool)
    return half


def profile_numeric(name: str, values: Array) -> NumericProfile:
    """
    Profile of a numeric column.

    Args:
        values: Numbers, shape [N]; NaN where missing.
    """
    values = values.astype(np.float64, copy=False)
    there = np.isfinite(values)
    counted = counting_half(len(values))
    cutting = np.sort(values[there & ~counted])
    bin_count = min(BIN_COUNT_MAX, max(2, len(cutting) // ROWS_PER_BIN_MIN))
    edges: Array = np.empty(0)
    if len(cutting):
        # Ranks in integers: quantiles that are values of the file, without an interpolation to round.
        ranks = -(-np.arange(1, bin_count) * len(cutting) // bin_count) - 1
        edges = np.unique(cutting[ranks]) + 0.0  # -0.0 becomes 0.0
    counts = np.bincount(np.searchsorted(edges, values[there & counted], side="left"), minlength=len(edges) + 1)
    known = values[there]
    return NumericProfile(
        name=name,
        missing_count=int(len(values) - there.sum()),
        distinct_count=len(np.unique(known)),
        minimum=float(known.min()) if len(known) else None,
        maximum=float(known.max()) if len(known) else None,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def profile_categories(name: str, values: Sequence[str | None]) -> CategoryProfile:
    """Profile of a column of text; None where missing. Equally frequent categories stand in the order of their text."""
    counted = counting_half(len(values))
    cutting: dict[str, int] = {}
    counting: dict[str, int] = {}
    missing_count = 0
    for value, half in zip(values, counted.tolist(), strict=True):
        if value is None:
            missing_count += 1
            continue
        tally = counting if half else cutting
        tally[value] = tally.get(value, 0) + 1
    chosen = sorted(cutting, key=lambda each: (-cutting[each], each))[:CATEGORY_COUNT_MAX]
    return CategoryProfile(
        name=name,
        missing_count=missing_count,
        distinct_count=len(cutting.keys() | counting.keys()),
        categories=tuple(chosen),
        counts=tuple(counting.get(each, 0) for each in chosen),
        other_count=sum(counting.values()) - sum(counting.get(each, 0) for each in chosen),
    )


def profile_column(column: release.Column, values: Array) -> ColumnProfile:
    """The profile of a feature: numeric for numbers, categories for text and bools."""
    if column.datatype is release.Datatype.BYTES:
        return profile_categories(column.name, values.tolist())
    if column.datatype is release.Datatype.BOOL:
        return profile_categories(column.name, [_truth(each) for each in values.tolist()])
    return profile_numeric(column.name, values)


def dump(profile: Profile) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, one final newline."""
    kinds = {NumericProfile: "numeric", CategoryProfile: "categories"}
    columns = [{"kind": kinds[type(column)], **dataclasses.asdict(column)} for column in profile.columns]
    document = {"schema": SCHEMA_VERSION, "row_count": profile.row_count, "columns": columns}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode(errors="surrogatepass") + b"\n"


def load(raw: bytes) -> Profile:
    """
    The profile that `dump` wrote.

    Raises:
        ConfigError: not such a document, or written by a newer softlaunch.
    """
    try:
        document = json.loads(raw.decode(errors="surrogatepass"))
        if document["schema"] != SCHEMA_VERSION:
            raise ValueError(f"schema is {document['schema']!r}, this softlaunch reads {SCHEMA_VERSION}")  # noqa: TRY301  # one path for every way a document can be wrong
        return Profile(row_count=document["row_count"], columns=tuple(_loaded(each) for each in document["columns"]))
    except (KeyError, TypeError, ValueError) as error:
        raise errors.ConfigError(
            f"The release's profile cannot be read: {error}.",
            remedy="Build the release again with this version of softlaunch.",
            code=errors.Code.RELEASE_UNREADABLE,
        ) from error


def _loaded(found: dict[str, Any]) -> ColumnProfile:
    kind = found.pop("kind")
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    if kind == "numeric":
        return NumericProfile(**fields)
    if kind == "categories":
        return CategoryProfile(**fields)
    raise ValueError(f"unknown kind of column {kind!r}")


def _truth(value: Any) -> str | None:
    if value is None or value != value:  # noqa: PLR0124  # NaN is the value unlike itself
        return None
    return "true" if value else "false"
