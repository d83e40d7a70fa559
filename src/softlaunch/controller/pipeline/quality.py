"""Quality gates on the holdout, and the latency of single rows, both of the form that will be served."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from softlaunch import errors
from softlaunch.controller.pipeline import answering, rows, signature, workshop
from softlaunch.core import release, spec
from softlaunch.core.quality import gates, metrics
from softlaunch.ports import tables

TIMED_ROW_COUNT = 300
"""A guess: three rows lie above the 99th percentile."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    gates: tuple[release.GateResult, ...] = ()
    latency_ms_p99: float | None = None


def judge(
    tests: spec.TestsSpec | None,
    draft: answering.Draft,
    *,
    described: signature.Described,
    found: signature.Tables,
    shop: workshop.Workshop,
    scratch: pathlib.Path,
) -> Judged:
    """
    Results of all gates, every one of them passed.

    Raises:
        ConfigError: a gate is not passed or has no value; the holdout lacks columns or labels; the model fails on it.
    """
    quality = tests.quality if tests is not None else None
    limit = tests.latency_ms_p99_max if tests is not None else None
    table = found.holdout or found.reference
    if table is None or (quality is None and limit is None):
        return Judged()
    all_rows = rows.of_table(table, draft.signature.inputs, None, what="The holdout")
    timed = TIMED_ROW_COUNT if limit is not None else 0
    asked = all_rows if quality is not None else all_rows[:timed]
    answers = answering.ask(draft, asked, shop, scratch, timed_row_count=timed)
    results: tuple[release.GateResult, ...] = ()
    if quality is not None:
        results = _gates(quality, answers, draft, described, table)
    if limit is not None:
        _check_latency(answers.latency_ms_p99, limit)
    return Judged(gates=results, latency_ms_p99=answers.latency_ms_p99)


def _gates(
    quality: spec.QualitySpec,
    answers: answering.Answers,
    draft: answering.Draft,
    described: signature.Described,
    table: tables.Table,
) -> tuple[release.GateResult, ...]:
    failed = answers.answered.failed
    if failed:
        row = min(failed)
        raise errors.ConfigError(
            f"The model fails on {len(failed)} of {table.row_count} holdout rows, first on row {row}: {failed[row]}",
            remedy="Mend the model; in production these would be failed requests.",
            code=errors.Code.QUALITY_UNMET,
        )
    try:
        judged = gates.answers_of(
            {name: np.array(values) for name, values in answers.answered.columns.items()},
            draft.signature.outputs,
            label=quality.label,
            truth=_truth(table, quality.label),
            classes=described.classes,
        )
        results = [(gate, gates.judge(gate, judged)) for gate in quality.gates]
    except metrics.UndefinedError as error:
        raise errors.ConfigError(
            f"The quality on {quality.data} has no value: {error}.",
            remedy="Choose metrics that fit the model, and a holdout with labels of every kind.",
            code=errors.Code.QUALITY_UNDEFINED,
        ) from error
    unmet = [result for _, result in results if not result.passed]
    if unmet:
        said = "; ".join(f"{each.name} is {each.value:g}, required is {each.threshold}" for each in unmet)
        raise errors.ConfigError(
            f"The quality on {quality.data} is not reached: {said}.",
            remedy="Improve the model, or lower the threshold in softlaunch.yaml where others can see it.",
            code=errors.Code.QUALITY_UNMET,
        )
    return tuple(result for _, result in results)


def _truth(table: tables.Table, label: str) -> metrics.Array:
    column = table.column(label)
    if column is None:
        there = ", ".join(repr(each.name) for each in table.columns)
        raise rows.columns_error(f"The holdout has no label column {label!r}; it has {there:.400}.")
    missing = int(column.missing.sum())
    if missing:
        raise rows.columns_error(f"{missing} rows of the holdout have no label {label!r}.")
    return column.values


def _check_latency(found: float | None, limit: float) -> None:
    if found is None:
        raise errors.ConfigError(
            "The latency has no value: the model answered none of the rows.",
            remedy="Mend the model.",
            code=errors.Code.LATENCY_UNMET,
        )
    if found > limit:
        raise errors.ConfigError(
            f"One row takes {found:.3g} ms at the 99th percentile, latency_ms_p99_max is {limit:g}.",
            remedy="Make the model smaller or faster; measured in the server's process, without HTTP.",
            code=errors.Code.LATENCY_UNMET,
        )


def missing_data(tests: spec.TestsSpec | None, found: signature.Tables) -> Sequence[str]:
    """Gates that could not be judged, one sentence each."""
    if tests is not None and tests.latency_ms_p99_max is not None and found.known is None:
        return ("latency_ms_p99_max is not checked: there are no rows to ask the model with.",)
    return ()
