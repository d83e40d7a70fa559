"""
Answers rows with a release directory exactly as the model server would, and times single rows.

Asked: release, loader (module with read and load_model), rows, timed_row_count. Answers: columns (by output), failed
(row to reason), latency_ms_p50 and latency_ms_p99.
"""

from __future__ import annotations

import importlib
import pathlib
import time
from typing import Any

import numpy as np

from softlaunch.adapters.python_env.scripts import exchange
from softlaunch.core import answers, predictions

_CHUNK = 4_096
_FAILED_ALONE_MAX = 500
"""A guess: by then the reason is known, and the rows left of a failing chunk are counted as failed untried."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    loader = importlib.import_module(request["loader"])
    unpacked = loader.read(pathlib.Path(request["release"]), pathlib.Path("build"))
    rows = exchange.read_rows(request["rows"])
    model = loader.load_model(unpacked, thread_count=1)
    asked = _Asked(model, unpacked.content.signature.outputs)
    for start in range(0, len(rows), _CHUNK):
        asked.take(rows[start : start + _CHUNK], start)
    columns = {
        column.name: [asked.columns[column.name].get(row) for row in range(len(rows))] for column in asked.outputs
    }
    seconds = _seconds(model, rows[: request["timed_row_count"]])
    return {
        "columns": columns,
        "failed": asked.failed,
        "latency_ms_p50": _quantile_ms(seconds, 0.5),
        "latency_ms_p99": _quantile_ms(seconds, 0.99),
    }


class _Asked:
    """Collects answers; a chunk that fails is halved until the rows at fault stand alone."""

    def __init__(self, model: Any, outputs: Any) -> None:
        self._model = model
        self.outputs = outputs
        self.columns: dict[str, dict[int, Any]] = {column.name: {} for column in outputs}
        self.failed: dict[int, str] = {}

    def take(self, rows: list[predictions.Row], start: int) -> None:
        try:
            checked = answers.check(self.outputs, self._model.answer(rows), len(rows))
        except Exception as error:  # noqa: BLE001  # the model's own: anything can come out
            if len(rows) == 1 or len(self.failed) >= _FAILED_ALONE_MAX:
                self.failed |= dict.fromkeys(range(start, start + len(rows)), f"it raises {exchange.one_line(error)}")
                return
            middle = len(rows) // 2
            self.take(rows[:middle], start)
            self.take(rows[middle:], start + middle)
            return
        self.failed |= {start + row: found.message for row, found in checked.invalid.items()}
        for name, values in checked.columns.items():
            self.columns[name] |= {start + row: value for row, value in enumerate(values) if row not in checked.invalid}


def _seconds(model: Any, rows: list[predictions.Row]) -> list[float]:
    seconds = []
    for number, row in enumerate([*rows[:10], *rows]):  # the first ten only warm it up
        started = time.perf_counter()
        try:
            model.answer([row])
        except Exception:  # noqa: S112, BLE001  # counted as failed above; a time without an answer is none
            continue
        if number >= 10:
            seconds.append(time.perf_counter() - started)
    return seconds


def _quantile_ms(seconds: list[float], share: float) -> float | None:
    return float(np.quantile(seconds, share, method="inverted_cdf")) * 1_000 if seconds else None


if __name__ == "__main__":
    exchange.run(answer)
