"""scikit-learn to ONNX, kept only when both answer alike."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from softlaunch.controller.pipeline import answering, assemble, rows, workshop
from softlaunch.core import release
from softlaunch.core.quality import parity
from softlaunch.ports import python_env, tables

REFERENCE_ROW_COUNT_MAX = 20_000
"""A guess: half a minute for a slow model; evenly spaced over the file."""
_GRID_COUNT = 65
"""A guess: quantiles of a feature between which split points are looked for."""
_POINT_COUNT_MAX = 24
_BASE_COUNT = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    draft: answering.Draft | None
    """The compiled release's draft; None: the original is served."""
    note: str
    """Which form is served and why, one sentence; the same for the same release."""
    gate: release.GateResult | None = None


def compiled(
    original: answering.Draft,
    content: release.ReleaseContent,
    *,
    reference: tables.Table | None,
    shop: workshop.Workshop,
    interpreter: python_env.Interpreter,
    scratch: pathlib.Path,
) -> Verdict:
    """
    The compiled form and how it compares with the original, served as the model server serves each.

    Args:
        original: The draft that serves the pickle.
        content: Its description.
    """
    if reference is None:
        return _kept("there is no reference whose rows could be compared")
    if interpreter.compile_problem is not None:
        return _kept(interpreter.compile_problem)
    assert content.model_file is not None
    directory = scratch / "compiled"
    (directory / "model").mkdir(parents=True)
    said = shop.workbench.tool(
        "compile_sklearn",
        {
            "path": str(original.directory / content.model_file),
            "code": str(original.directory / assemble.CODE),
            "inputs": [{"name": each.name, "datatype": each.datatype.value} for each in content.signature.inputs],
            "onnx": str(directory / assemble.ONNX_FILE),
        },
        python=interpreter.python,
    )
    if said["problem"] is not None:
        return _kept(f"it does not convert ({said['problem']:.200})")
    assemble.describe(directory, assemble.as_onnx(content))
    draft = answering.Draft(directory=directory, python=shop.serving_python, signature=content.signature)
    cases = _cases(original, reference, shop, scratch)
    found = [case.row for case in cases]
    left = answering.ask(original, found, shop, scratch).answered
    right = answering.ask(draft, found, shop, scratch).answered
    difference = parity.disagreement(content.signature.outputs, cases, left, right)
    if difference is not None:
        return _kept(f"compiled, {difference}")
    return Verdict(
        draft=draft,
        # No number of rows here: how many split points are found may differ between processors, the digest must not.
        note="Served as ONNX: it answers like the scikit-learn model"
        " (on the reference, missing and extreme values, unseen categories, split points).",
        gate=release.GateResult(name="compiled_parity", passed=True, value=0.0, threshold="<= 0 rows differ"),
    )


def _cases(
    original: answering.Draft, reference: tables.Table, shop: workshop.Workshop, scratch: pathlib.Path
) -> list[parity.Case]:
    inputs = original.signature.inputs
    places = parity.spaced_places(reference.row_count, REFERENCE_ROW_COUNT_MAX)
    ordinary = parity.ordinary(rows.of_table(reference, inputs, places, what="The reference"), places)
    return [*ordinary, *parity.constructed(inputs, ordinary, _split_points(original, ordinary, shop, scratch))]


def _split_points(
    original: answering.Draft, ordinary: Sequence[parity.Case], shop: workshop.Workshop, scratch: pathlib.Path
) -> dict[int, list[float]]:
    grids = {}
    for position, column in enumerate(original.signature.inputs):
        if column.datatype in (release.Datatype.FP32, release.Datatype.FP64):
            seen = sorted({case.row[position] for case in ordinary if case.row[position] is not None})
            if len(seen) > 1:
                grids[str(position)] = parity.spaced(seen, _GRID_COUNT)
    if not grids:
        return {}
    path = scratch / "ordinary.npz"
    rows.write(path, original.signature.inputs, [case.row for case in parity.spaced(ordinary, _BASE_COUNT)])
    said = shop.workbench.tool(
        "split_points",
        {
            "release": str(original.directory),
            "loader": shop.loader,
            "rows": str(path),
            "grids": grids,
            "count_max": _POINT_COUNT_MAX,
        },
        python=original.python,
    )
    return {int(position): points for position, points in said["points"].items()}


def _kept(why: str) -> Verdict:
    return Verdict(draft=None, note=f"Served by scikit-learn itself: {why}.")
