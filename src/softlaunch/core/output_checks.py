"""Whether the output of a batch job is good enough to be published: rows, columns, missing values, ranges, change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softlaunch.core import job_spec, training_record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its values, and which of them are missing."""

    values: np.ndarray[Any, Any]
    missing: np.ndarray[Any, Any]

    @property
    def numbers(self) -> np.ndarray[Any, Any] | None:
        """Those that are there; None where they are no numbers."""
        if self.values.dtype.kind not in "biuf":
            return None
        there: np.ndarray[Any, Any] = self.values[~self.missing].astype(np.float64)
        return there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """An output."""

    row_count: int
    columns: Mapping[str, Column]


def judge(found: Table, before: Table | None, asked: job_spec.Checks) -> tuple[training_record.Gate, ...]:
    """
    One gate for each thing that is asked.

    Args:
        found: The new output.
        before: The published one; None: nothing was published yet, and change is not judged.
        asked: What it has to fulfil.
    """
    gates = [_gate("rows", found.row_count >= asked.rows_min, f"{found.row_count}, at least {asked.rows_min}")]
    for name in asked.columns:
        there = name in found.columns
        gates.append(_gate(f"column {name}", there, "there" if there else "not in the output"))
    gates += _missing(found, asked)
    gates += [_range(found, name, least, greatest) for name, least, greatest in asked.ranges]
    gates += _changes(found, before, asked)
    return tuple(gates)


def whole(parts: Sequence[Table]) -> Table:
    """
    Tables as one, row below row.

    Args:
        parts: At least one.

    Raises:
        ValueError: they do not have the same columns.
    """
    names = list(parts[0].columns)
    for part in parts:
        if set(part.columns) != set(names):
            other = sorted(set(part.columns) ^ set(names))
            raise ValueError(f"not all of its {len(parts)} files have the column {other[0]!r:.80}")
    return Table(
        row_count=sum(part.row_count for part in parts),
        columns={
            name: Column(
                values=np.concatenate([part.columns[name].values for part in parts]),
                missing=np.concatenate([part.columns[name].missing for part in parts]),
            )
            for name in names
        },
    )


def _missing(found: Table, asked: job_spec.Checks) -> Sequence[training_record.Gate]:
    if asked.missing_percent_max is None:
        return ()
    names = [name for name in asked.columns if name in found.columns] or list(found.columns)
    shares = {name: 100 * float(np.mean(found.columns[name].missing)) if found.row_count else 0.0 for name in names}
    return [
        _gate(
            f"missing {name}",
            share <= asked.missing_percent_max,
            f"{share:.3g} %, at most {asked.missing_percent_max:g} %",
        )
        for name, share in shares.items()
    ]


def _range(found: Table, name: str, least: float, greatest: float) -> training_record.Gate:
    column = found.columns.get(name)
    numbers = column.numbers if column is not None else None
    if numbers is None:
        return _gate(f"range {name}", False, "no column of numbers")
    outside = int(np.sum(~((numbers >= least) & (numbers <= greatest))))
    return _gate(f"range {name}", outside == 0, f"{outside} of {numbers.size} outside {least:g} to {greatest:g}")


def _changes(found: Table, before: Table | None, asked: job_spec.Checks) -> Sequence[training_record.Gate]:
    if before is None:
        return ()
    gates = []
    if asked.rows_change_percent_max is not None:
        change = 100 * abs(found.row_count - before.row_count) / max(before.row_count, 1)
        detail = f"{change:.3g} % against {before.row_count}, at most {asked.rows_change_percent_max:g} %"
        gates.append(_gate("rows change", change <= asked.rows_change_percent_max, detail))
    if asked.mean_change_percent_max is not None:
        gates += [
            _mean_change(name, column, found.columns.get(name), asked.mean_change_percent_max)
            for name, column in before.columns.items()
            if column.numbers is not None
        ]
    return gates


def _mean_change(name: str, before: Column, found: Column | None, percent_max: float) -> training_record.Gate:
    old, new = before.numbers, found.numbers if found is not None else None
    assert old is not None
    old = old[np.isfinite(old)]
    new = new[np.isfinite(new)] if new is not None else np.empty(0)
    if not old.size:
        return _gate(f"mean {name}", True, "had no values before")
    if not new.size:
        return _gate(f"mean {name}", False, "has no numbers any more")
    spread, moved = float(np.std(old)), float(abs(np.mean(new) - np.mean(old)))
    percent = 100 * moved / spread if spread else (0.0 if not moved else float("inf"))
    detail = f"moved by {percent:.3g} % of its standard deviation, at most {percent_max:g} %"
    return _gate(f"mean {name}", percent <= percent_max, detail)


def _gate(name: str, passed: bool, detail: str) -> training_record.Gate:  # noqa: FBT001 - three facts of one gate
    return training_record.Gate(name=name, passed=bool(passed), detail=detail)
