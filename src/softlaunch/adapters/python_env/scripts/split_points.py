"""
Finds where a model's answer jumps as one number moves: the split points of its trees, in the inputs' own units.

Asked: release, loader, rows (a few ordinary ones), grids (by column position: values to look between), count_max (per
column). Answers: points (by column position).

Between two neighbouring grid values with different answers a jump is bisected down to neighbouring doubles. Nothing has
to be known about the model: scaled, encoded and stacked trees are covered too; a smooth model yields harmless points.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pathlib
from typing import Any

import numpy as np

from softlaunch.adapters.python_env.scripts import exchange
from softlaunch.core import release

_STEP_COUNT_MAX = 70
"""Bisecting any interval of doubles down to neighbours takes at most 64 steps plus rounding."""


def find(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    loader = importlib.import_module(request["loader"])
    unpacked = loader.read(pathlib.Path(request["release"]), pathlib.Path("build"))
    rows = exchange.read_rows(request["rows"])
    model = loader.load_model(unpacked, thread_count=1)
    outputs = [
        column.name for column in unpacked.content.signature.outputs if column.datatype is not release.Datatype.BYTES
    ]

    def ask(asked: list[Any]) -> Any:
        found = model.answer(asked)
        return np.column_stack([np.asarray(found[name], dtype=np.float64).reshape(len(asked)) for name in outputs])

    grids = {int(position): grid for position, grid in request["grids"].items()}
    try:
        brackets = _brackets(ask, rows, grids, request["count_max"])
        points = _bisected(ask, brackets)
    except Exception:  # noqa: BLE001  # a model that raises on ordinary rows is found out by the comparison itself
        return {"points": {}}
    return {"points": {str(position): sorted(found) for position, found in points.items()}}


@dataclasses.dataclass(frozen=True)
class _Bracket:
    row: Any
    position: int
    low: float
    high: float

    def with_value(self, value: float) -> Any:
        return (*self.row[: self.position], value, *self.row[self.position + 1 :])


def _brackets(ask: Any, rows: list[Any], grids: dict[int, list[float]], count_max: int) -> list[_Bracket]:
    """Neighbouring grid values with different answers, at most `count_max` per column."""
    sought = [
        _Bracket(row, position, low, high)
        for position, grid in grids.items()
        for row in rows
        for low, high in itertools.pairwise(grid)
    ]
    lows = ask([each.with_value(each.low) for each in sought])
    highs = ask([each.with_value(each.high) for each in sought])
    differ = (lows != highs).any(axis=1).tolist()
    chosen: list[_Bracket] = []
    for position in grids:
        found = [each for each, jumps in zip(sought, differ, strict=True) if jumps and each.position == position]
        places = np.unique(np.linspace(0, len(found) - 1, min(count_max, len(found))).astype(int)) if found else ()
        chosen += [found[place] for place in places]
    return chosen


def _bisected(ask: Any, brackets: list[_Bracket]) -> dict[int, set[float]]:
    """By column: the last double before each jump. All brackets are halved together, one call a step."""
    if not brackets:
        return {}
    low = np.array([each.low for each in brackets])
    high = np.array([each.high for each in brackets])
    left = ask([each.with_value(each.low) for each in brackets])
    for _ in range(_STEP_COUNT_MAX):
        middle = low + (high - low) / 2
        if bool(((middle <= low) | (middle >= high)).all()):
            break
        there = ask([each.with_value(value) for each, value in zip(brackets, middle.tolist(), strict=True)])
        same = (there == left).all(axis=1)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    points: dict[int, set[float]] = {}
    for each, value in zip(brackets, low.tolist(), strict=True):
        points.setdefault(each.position, set()).add(value)
    return points


if __name__ == "__main__":
    exchange.run(find)
