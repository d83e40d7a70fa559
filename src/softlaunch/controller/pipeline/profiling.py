"""What the reference leaves in a release: its profile, and rows to try a server with."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from softlaunch import errors
from softlaunch.controller.pipeline import answering, assemble, rows, workshop
from softlaunch.core.drift import profile
from softlaunch.core.quality import parity
from softlaunch.ports import tables

SMOKE_ROW_COUNT = 50
_TRIED_ROW_COUNT = 200
"""A guess: so many are tried to find fifty that the model answers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profiled:
    profile_file: str | None = None
    smoke_file: str | None = None
    failed_count: int = 0
    tried_count: int = 0


def add(
    directory: pathlib.Path,
    draft: answering.Draft,
    reference: tables.Table | None,
    *,
    shop: workshop.Workshop,
    scratch: pathlib.Path,
) -> Profiled:
    """
    Writes profile.json and smoke.json into the release directory; nothing without a reference.

    Raises:
        ConfigError: the model answers none of the reference's rows.
    """
    if reference is None:
        return Profiled()
    inputs = draft.signature.inputs
    columns = []
    for column in inputs:
        found = reference.column(column.name)
        assert found is not None
        values = found.values
        if values.dtype != object and values.dtype.kind == "f":
            values = np.where(found.missing, np.nan, values)
        columns.append(profile.profile_column(dataclasses.replace(column, datatype=found.datatype), values))
    assemble.write(
        directory / assemble.PROFILE,
        profile.dump(profile.Profile(row_count=reference.row_count, columns=tuple(columns))),
    )
    tried = rows.of_table(
        reference, inputs, parity.spaced_places(reference.row_count, _TRIED_ROW_COUNT), what="The reference"
    )
    failed = answering.ask(draft, tried, shop, scratch).answered.failed
    answered = [row for number, row in enumerate(tried) if number not in failed]
    if not answered:
        raise errors.ConfigError(
            f"The model fails on every row of the reference: {failed[0]}",
            remedy="Check that the reference has the columns, kinds and values the model was trained on.",
            code=errors.Code.MODEL_UNREADABLE,
        )
    assemble.write(directory / assemble.SMOKE, rows.as_json(inputs, parity.spaced(answered, SMOKE_ROW_COUNT)))
    return Profiled(
        profile_file=assemble.PROFILE,
        smoke_file=assemble.SMOKE,
        failed_count=len(failed),
        tried_count=len(tried),
    )
