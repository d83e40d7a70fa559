"""
Finds where a model's answer jumps as one number moves: the split points of its trees, in the inputs' own units.

Asked: release, loader, rows (a few ordinary ones), grids (by column position: values to look between), count_max (per
column). Answers: points (by column position).

Between two neighbouring grid values with different answers a jump is bisected down to neighbouring doubles. Nothing has
to be known about the model: scaled, encoded and stacked trees are covered too; a smooth model yields harmless points.
"""

from __future__ import annotations

import importlib
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

    points: dict[str, list[float]] = {}
    for position, grid in request["grids"].items():
        try:
            points[position] = _jumps(ask, rows, int(position), grid, request["count_max"])
        except Exception:  # noqa: BLE001  # a model that raises on ordinary rows is found out by the comparison itself
            points[position] = []
    return {"points": points}


def _jumps(ask: Any, rows: list[Any], position: int, grid: list[float], count_max: int) -> list[float]:
    lows, highs, bases = [], [], []
    for row in rows:
        answers = ask([_with(row, position, value) for value in grid])
        for place in np.flatnonzero((answers[1:] != answers[:-1]).any(axis=1)).tolist():
            lows.append(grid[place])
            highs.append(grid[place + 1])
            bases.append(row)
    if not bases:
        return []
    chosen = np.unique(np.linspace(0, len(bases) - 1, min(count_max, len(bases))).astype(int)).tolist()
    low, high = np.array(lows)[chosen], np.array(highs)[chosen]
    kept = [bases[each] for each in chosen]
    left = ask([_with(row, position, value) for row, value in zip(kept, low.tolist(), strict=True)])
    for _ in range(_STEP_COUNT_MAX):
        middle = low + (high - low) / 2
        if bool(((middle <= low) | (middle >= high)).all()):
            break
        there = ask([_with(row, position, value) for row, value in zip(kept, middle.tolist(), strict=True)])
        same = (there == left).all(axis=1)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return sorted(set(low.tolist()))


def _with(row: Any, position: int, value: float) -> Any:
    return (*row[:position], value, *row[position + 1 :])


if __name__ == "__main__":
    exchange.run(find)
