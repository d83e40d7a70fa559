"""
How far two profiles of one feature lie apart, each a number between 0 and 1.

Profiles are counts, not rows: where the bins of one are cut is not where those of the other are, so a distance is known
within bounds only. `value` spreads the rows of a bin evenly over it; `least` is what no way to spread them falls below,
and is equal to `value` where the bins are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from softlaunch.core.drift import profile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distance:
    value: float
    least: float


def kolmogorov_smirnov(one: profile.NumericProfile, other: profile.NumericProfile) -> Distance | None:
    """
    The greatest difference between the shares of values up to x, over all x.

    D = max |F(x) - G(x)| over the edges, minima and maxima of both, from the left and from the right of each. F is
    exact at its own edges, 0 below its minimum, 1 from its maximum on, and linear in between.

    Returns:
        None where one of both has no counted value: nothing is known of it.
    """
    if not all(sum(found.counts) and found.minimum is not None and found.maximum is not None for found in (one, other)):
        return None
    points = np.unique([*_ends(one), *one.edges, *_ends(other), *other.edges])
    value = least = 0.0
    for right in (False, True):
        first, second = _shares(one, points, right=right), _shares(other, points, right=right)
        value = max(value, float(np.abs(first.even - second.even).max()))
        least = max(least, float(np.maximum(first.low - second.high, second.low - first.high).max()))
    return Distance(value=min(value, 1.0), least=min(max(least, 0.0), 1.0))


def total_variation(one: profile.CategoryProfile, other: profile.CategoryProfile) -> Distance | None:
    """
    Half the sum of the differences of all categories' shares: the share of rows that are to be changed to make one the
    other.

    For `value` a category that one profile does not name has no rows there, and what is named in neither is one
    category. `least` adds up, on each side, all whose rows are not known on both: a category that is not named may be
    among the other rows, where there are any.

    Returns:
        None where one of both has no counted value.
    """
    first, second = _by_name(one), _by_name(other)
    first_total, second_total = sum(first.values()) + one.other_count, sum(second.values()) + other.other_count
    if not first_total or not second_total:
        return None
    named = sorted(first.keys() | second.keys())
    apart = {name: abs(first.get(name, 0) / first_total - second.get(name, 0) / second_total) for name in named}
    rest = abs(one.other_count / first_total - other.other_count / second_total)
    sides = ((first, one), (second, other))
    both = [name for name in named if all(name in tally or not found.other_count for tally, found in sides)]
    first_rest = 1 - sum(first.get(name, 0) for name in both) / first_total
    second_rest = 1 - sum(second.get(name, 0) for name in both) / second_total
    value = (sum(apart.values()) + rest) / 2
    least = (sum(apart[name] for name in both) + abs(first_rest - second_rest)) / 2
    return Distance(value=min(value, 1.0), least=min(least, value, 1.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shares:
    """Of values up to each point: with rows spread evenly over their bins, at least, and at most."""

    even: profile.Array
    low: profile.Array
    high: profile.Array


def _ends(found: profile.NumericProfile) -> tuple[float, float]:
    assert found.minimum is not None, "counted values have a least one"
    assert found.maximum is not None
    return found.minimum, found.maximum


def _shares(found: profile.NumericProfile, points: profile.Array, *, right: bool) -> _Shares:
    """Shares of values up to each point, the point itself included only from the right."""
    minimum, maximum = _ends(found)
    total = sum(found.counts)
    below: profile.Array = np.concatenate([[0.0], np.cumsum(found.counts) / total])
    edges: profile.Array = np.asarray(found.edges, dtype=np.float64)
    # Bin i lies between below[i] and below[i + 1]; a point on an edge is known exactly from the right.
    bins = np.searchsorted(edges, points, side="left")
    exact = np.isin(points, edges) if len(edges) else np.zeros(len(points), dtype=bool)
    low, high = below[bins], below[bins + 1]
    if right:
        low = np.where(exact, high, low)
    under = points < minimum if right else points <= minimum
    over = points >= maximum if right else points > maximum
    low, high = np.where(under, 0.0, np.where(over, 1.0, low)), np.where(under, 0.0, np.where(over, 1.0, high))
    even = np.where(under, 0.0, np.where(over, 1.0, np.interp(points, *_known(found, below))))
    return _Shares(even=np.clip(even, low, high), low=low, high=high)


def _known(found: profile.NumericProfile, below: profile.Array) -> tuple[Any, Any]:
    """Where the share is known: at the edges, and at both ends unless they are edges themselves."""
    minimum, maximum = _ends(found)
    places, shares = list(found.edges), list(below[1:-1])
    if not places or minimum < places[0]:
        places, shares = [minimum, *places], [0.0, *shares]
    if maximum > places[-1]:
        places, shares = [*places, maximum], [*shares, 1.0]
    return places, shares


def _by_name(found: profile.CategoryProfile) -> dict[str, int]:
    return dict(zip(found.categories, found.counts, strict=True))


GROUP_COUNT = 20
"""Of bins, for PSI and JS: over hundreds of bins both measure how few rows there are. Common practice is 10 to 20."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted:
    """How far two samples lie apart that were counted in the same bins."""

    psi: float
    psi_by_chance: float
    """About what PSI is for two equal samples of these sizes: (groups - 1) (1/n + 1/m)."""
    js: float
    """Jensen-Shannon divergence in bits, 0 to 1."""
    ks: float | None
    """Kolmogorov-Smirnov distance at the edges of all bins, never above that of the rows; None: bins have no order."""


def between_counts(one: Sequence[int], other: Sequence[int], *, ordered: bool) -> Counted | None:
    """
    Distances of two samples from their counts.

    Args:
        one: Counts of a sample; the other's are of the same bins.
        ordered: Bins of numbers, from the least to the greatest; neighbours are joined to GROUP_COUNT for PSI and JS.

    Returns:
        None where a sample is empty: nothing is known.

    Source:
        PSI as in Siddiqi (2006), with half a row added to each group, so that an empty one does not make it infinite;
        its mean for equal samples is that of a chi-square, Yurdakul (2018).
    """
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if not first.sum() or not second.sum():
        return None
    ks = None
    if ordered:
        apart = np.cumsum(first) / first.sum() - np.cumsum(second) / second.sum()
        ks = min(float(np.abs(apart).max()), 1.0)
        starts = np.unique(np.arange(GROUP_COUNT) * len(first) // GROUP_COUNT)
        first, second = np.add.reduceat(first, starts), np.add.reduceat(second, starts)
    used = (first > 0) | (second > 0)
    first, second = first[used], second[used]
    n, m, groups = first.sum(), second.sum(), len(first)
    p, q = (first + 0.5) / (n + 0.5 * groups), (second + 0.5) / (m + 0.5 * groups)
    psi = float(((p - q) * np.log(p / q)).sum())
    p, q = first / n, second / m
    middle = (p + q) / 2
    js = sum(float((share[share > 0] * np.log2(share[share > 0] / middle[share > 0])).sum()) / 2 for share in (p, q))
    return Counted(
        psi=max(psi, 0.0), psi_by_chance=float((groups - 1) * (1 / n + 1 / m)), js=min(max(js, 0.0), 1.0), ks=ks
    )
