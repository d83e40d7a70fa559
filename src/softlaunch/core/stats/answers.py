"""
What does a model answer? Counts of answers, and bins cut from them.

Answers are texts as the model server reports them: `n:` and a number, or `c:` and a class. Numbers are counted in cells
1 % wide on both sides of zero, so that counts of several days add up and the size stays bounded.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

_LOG_GROWTH = math.log(1.01)
_SMALLEST = 1e-9
_CELL_MAX = 4_900
"""1e-9 times 1.01^4900 is 1.5e12: everything beyond is one cell."""

_CLASSES_MAX = 32
"""Distinct classes counted; later ones are all counted as "other". Ids by mistake must not fill the record."""

_CLASS_BINS_MAX = 12
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_ATOM = 0.1
"""A single value with this share of the answers is a bin of its own: often a model has one favourite number."""

OTHER = "other"


class Bins(NamedTuple):
    """Bins of answers: numbers up to each edge (a cell) and above, or classes, and one more for everything else."""

    edges: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def bin_count(self) -> int:
        """How many there are; at least 1."""
        return (len(self.edges) + 1 if self.edges else len(self.classes)) + 1

    def bin_of(self, answer: str) -> int:
        """The bin the answer falls into; every answer falls into one."""
        cell = _cell(answer)
        if self.edges:
            return len(self.edges) + 1 if cell is None else bisect.bisect_left(self.edges, cell)
        try:
            return self.classes.index(answer)
        except ValueError:
            return len(self.classes)

    def label(self, index: int) -> str:
        """The bin for people."""
        if index == self.bin_count - 1:
            return "something else"
        if not self.edges:
            return self.classes[index].removeprefix("c:")
        if index == 0:
            return f"at most {_edge(self.edges[0]):.3g}"
        if index == len(self.edges):
            return f"above {_edge(self.edges[-1]):.3g}"
        return f"above {_edge(self.edges[index - 1]):.3g} up to {_edge(self.edges[index]):.3g}"


class AnswerCounts:
    """How often which answer was given."""

    __slots__ = ("_cells", "_classes", "_other", "count")

    def __init__(self) -> None:
        self._cells: dict[int, int] = {}
        self._classes: dict[str, int] = {}
        self._other = 0
        self.count = 0

    def add(self, answer: str) -> None:
        """Count one answer; the empty one is none."""
        if not answer:
            return
        self.count += 1
        cell = _cell(answer)
        if cell is not None:
            self._cells[cell] = self._cells.get(cell, 0) + 1
        elif answer in self._classes or len(self._classes) < _CLASSES_MAX:
            self._classes[answer] = self._classes.get(answer, 0) + 1
        else:
            self._other += 1

    def bins(self) -> Bins:
        """Bins cut at the quantiles of the numbers, or one per frequent class; what is more frequent decides."""
        number_count = sum(self._cells.values())
        if 2 * number_count > self.count:
            return Bins(self._edges(number_count), ())
        frequent = sorted(self._classes, key=lambda name: (-self._classes[name], name))
        return Bins((), tuple(frequent[:_CLASS_BINS_MAX]))

    def _edges(self, number_count: int) -> tuple[int, ...]:
        edges = set()
        seen = 0
        wanted = [probability * number_count for probability in _QUANTILES]
        for cell in sorted(self._cells):
            here = self._cells[cell]
            if any(seen < needed <= seen + here for needed in wanted):
                edges.add(cell)
            if here >= _ATOM * number_count:
                edges.update((cell - 1, cell))
            seen += here
        return tuple(sorted(edges))

    def to_json(self) -> dict[str, Any]:
        """A small JSON object; `from_json` makes equal counts of it."""
        return {
            "cells": [[cell, self._cells[cell]] for cell in sorted(self._cells)],
            "classes": [[name, count] for name, count in self._classes.items()],
            "other": self._other,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> AnswerCounts:
        """The counts `to_json` wrote."""
        counts = cls()
        counts._cells = {int(cell): int(count) for cell, count in document["cells"]}
        counts._classes = {str(name): int(count) for name, count in document["classes"]}
        counts._other = int(document["other"])
        counts.count = sum(counts._cells.values()) + sum(counts._classes.values()) + counts._other
        return counts


def _cell(answer: str) -> int | None:
    if not answer.startswith("n:"):
        return None
    try:
        number = float(answer[2:])
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    size = abs(number)
    if size <= _SMALLEST:
        return 0
    cell = min(_CELL_MAX, 1 + int(math.log(size / _SMALLEST) / _LOG_GROWTH))
    return cell if number > 0 else -cell


def _edge(cell: int) -> float:
    """The upper edge of a cell."""
    if cell == 0:
        return _SMALLEST
    if cell > 0:
        return _SMALLEST * math.exp(cell * _LOG_GROWTH)
    return -_SMALLEST * math.exp((-cell - 1) * _LOG_GROWTH)
