"""
Finds where a model's answer jumps as one number moves: the split points of its trees, in the inputs' own units.

Asked: release, loader, rows (a few ordinary ones), grids (by column position: values to look between), count_max (per
column), tree_count_max (likewise, of points read from trees). Answers: points (by column position).

XGBoost's and LightGBM's own files say where they split: their points are read from the trees. Of other models nothing
has to be known, for they are searched:

between two neighbouring grid values with different answers a jump is bisected down to neighbouring doubles. Scaled,
encoded and stacked trees are covered too; a smooth model yields harmless points.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
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
    path = unpacked.directory / (unpacked.content.model_file or "")
    if unpacked.content.runtime is release.Runtime.XGBOOST:
        return _chosen(_xgboost_thresholds(str(path)), request)
    if unpacked.content.runtime is release.Runtime.LIGHTGBM:
        return _chosen(_lightgbm_thresholds(str(path)), request)
    if not request["grids"]:
        return {"points": {}}
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


def _chosen(thresholds: dict[int, set[float]], request: dict[str, Any]) -> dict[str, Any]:
    """At most `tree_count_max` per column, evenly spaced among the distinct ones."""
    points = {}
    for position, found in thresholds.items():
        values = sorted(found)
        places = np.unique(np.linspace(0, len(values) - 1, min(request["tree_count_max"], len(values))).astype(int))
        points[str(position)] = [values[place] for place in places]
    return {"points": points}


def _xgboost_thresholds(path: str) -> dict[int, set[float]]:
    from softlaunch.adapters.python_env.scripts import describe_xgboost  # noqa: PLC0415  # where it is one

    booster = describe_xgboost.load(path)
    booster.feature_names = None
    found: dict[int, set[float]] = {}
    for text in booster.get_dump(dump_format="json"):
        pending = [json.loads(text)]
        while pending:
            node = pending.pop()
            pending += node.get("children", [])
            if "split" in node:
                # Written with nine digits, which is enough to give the float32 back.
                found.setdefault(int(node["split"][1:]), set()).add(float(np.float32(node["split_condition"])))
    return found


def _lightgbm_thresholds(path: str) -> dict[int, set[float]]:
    from softlaunch.adapters.python_env.scripts import describe_lightgbm  # noqa: PLC0415  # where it is one

    found: dict[int, set[float]] = {}
    for tree in describe_lightgbm.load(path).dump_model()["tree_info"]:
        pending = [tree["tree_structure"]]
        while pending:
            node = pending.pop()
            if "split_feature" not in node:
                continue
            pending += [node["left_child"], node["right_child"]]
            known = found.setdefault(node["split_feature"], set())
            if node["decision_type"] == "==":  # categories, which LightGBM makes whole numbers of
                codes = [int(each) for each in node["threshold"].split("||")]
                known |= {code + part for code in codes for part in (0.0, 0.5)} | {max(codes) + 1.0, -2.0}
            else:
                known.add(float(node["threshold"]))
    return found


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
