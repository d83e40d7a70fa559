"""Models to ONNX, kept only when both answer alike."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

from softlaunch.controller.pipeline import answering, assemble, compiled_before, rows, signature, workshop
from softlaunch.core import release
from softlaunch.core.quality import parity
from softlaunch.ports import python_env, tables

REFERENCE_ROW_COUNT_MAX = 20_000
"""A guess: half a minute for a slow model; evenly spaced over the file."""
_GRID_COUNT = 65
"""A guess: quantiles of a feature between which split points are looked for."""
_POINT_COUNT_MAX = 24
_TREE_POINT_COUNT_MAX = 200
"""A guess: split points per column that are tried when they can be read from the trees instead of searched for."""
_BASE_COUNT = 3
_TIMED_ROW_COUNT = 50
"""A guess: a slow forest then takes a second; their median moves by a few percent from run to run."""
LIBRARIES: Mapping[release.Runtime, str] = {
    release.Runtime.SKLEARN: "scikit-learn",
    release.Runtime.XGBOOST: "XGBoost",
    release.Runtime.LIGHTGBM: "LightGBM",
}
"""What compiles: compile_RUNTIME of adapters/python_env/scripts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    draft: answering.Draft | None
    """The compiled release's draft; None: the original is served."""
    note: str
    """Which form is served and why, one sentence; the same for the same release."""
    gate: release.GateResult | None = None
    measured: tuple[str, ...] = ()
    """Sentences for the build's report that may differ from run to run, so that no digest may know them."""
    known: bool = False
    """The same model was compiled before."""


def compiled(
    original: answering.Draft,
    content: release.ReleaseContent,
    *,
    found: signature.Tables,
    shop: workshop.Workshop,
    interpreter: python_env.Interpreter,
    scratch: pathlib.Path,
) -> Verdict:
    """
    The compiled form and how it compares with the original, served as the model server serves each.

    Args:
        original: The draft that serves the pickle.
        content: Its description.
        found: With the reference, whose rows both are asked.
    """
    reference = found.reference
    if reference is None:
        return _kept(content.runtime, "there is no reference whose rows could be compared")
    if interpreter.compile_problem is not None:
        return _kept(content.runtime, interpreter.compile_problem)
    directory = scratch / "compiled"
    (directory / "model").mkdir(parents=True)
    draft = answering.Draft(directory=directory, python=shop.serving_python, signature=content.signature)
    assemble.describe(directory, assemble.as_onnx(content))
    name = compiled_before.key(original.directory, content, found.reference_sha256)
    kept = compiled_before.load(shop.cache, name)
    if kept is not None:
        if kept.model is not None:
            shutil.copyfile(kept.model, directory / assemble.ONNX_FILE)
        return _verdict(draft, kept, known=True)
    kept, own_code = _compared(original, draft, content, reference=reference, shop=shop, python=interpreter.python)
    if not own_code:
        compiled_before.save(shop.cache, name, kept)
    return _verdict(draft, kept, known=False)


def _verdict(draft: answering.Draft, kept: compiled_before.Kept, *, known: bool) -> Verdict:
    return Verdict(
        draft=draft if kept.compared else None,
        note=kept.note,
        gate=(
            release.GateResult(name="compiled_parity", passed=True, value=0.0, threshold="<= 0 rows differ")
            if kept.compared
            else None
        ),
        measured=kept.measured,
        known=known,
    )


def _compared(
    original: answering.Draft,
    draft: answering.Draft,
    content: release.ReleaseContent,
    *,
    reference: tables.Table,
    shop: workshop.Workshop,
    python: pathlib.Path,
) -> tuple[compiled_before.Kept, bool]:
    """What came of it, and whether the service's own code had a part in it."""
    assert content.model_file is not None
    scratch = draft.directory.parent
    onnx = draft.directory / assemble.ONNX_FILE
    ordinary = _ordinary(original, reference)
    said = shop.workbench.tool(
        f"compile_{content.runtime}",
        {
            "path": str(original.directory / content.model_file),
            "code": str(original.directory / assemble.CODE),
            "inputs": [{"name": each.name, "datatype": each.datatype.value} for each in content.signature.inputs],
            "onnx": str(onnx),
            "float32": _is_float32(ordinary, content.signature.inputs),
        },
        python=python,
    )
    own_code = bool(said.get("own_code", False))  # native files of boosters need none
    if said["problem"] is not None:
        why = _why(content.runtime, f"it does not convert ({said['problem']:.200})")
        return compiled_before.Kept(note=why, measured=(), compared=False), own_code
    points = _split_points(original, ordinary, shop, scratch)
    cases = [*ordinary, *parity.constructed(content.signature.inputs, ordinary, points)]
    rows_asked = [case.row for case in cases]
    left = answering.ask(original, rows_asked, shop, scratch, timed_row_count=_TIMED_ROW_COUNT)
    right = answering.ask(draft, rows_asked, shop, scratch, timed_row_count=_TIMED_ROW_COUNT)
    compared = parity.compare(content.signature.inputs, content.signature.outputs, cases, left.answered, right.answered)
    measured = tuple(_measured(compared, left, right))
    if compared.disagreement is not None:
        why = _why(content.runtime, f"compiled, {compared.disagreement}")
        return compiled_before.Kept(note=why, measured=measured, compared=False), own_code
    # No number of rows here: how many split points are found may differ between processors, the digest must not.
    note = (
        f"Served as ONNX: it answers like the {LIBRARIES[content.runtime]} model"
        " (on the reference, missing and extreme values, unseen categories, split points)."
    )
    return compiled_before.Kept(note=note, measured=measured, compared=True, model=onnx), own_code


def _measured(compared: parity.Compared, left: answering.Answers, right: answering.Answers) -> Iterator[str]:
    if compared.largest_where:
        yield (
            f"Compiled and original were compared on {compared.row_count} rows; their largest difference is"
            f" {compared.largest:.2g} ({compared.largest_where})."
        )
    slow, fast = left.latency_ms_p50, right.latency_ms_p50
    if slow is not None and fast is not None and fast > 0:
        ratio = f"{slow / fast:.3g} times faster" if slow >= fast else f"{fast / slow:.3g} times slower"
        yield f"One row takes the original {slow:.3g} ms and the compiled model {fast:.3g} ms (p50): {ratio}."


def _ordinary(original: answering.Draft, reference: tables.Table) -> list[parity.Case]:
    places = parity.spaced_places(reference.row_count, REFERENCE_ROW_COUNT_MAX)
    found = rows.of_table(reference, original.signature.inputs, places, what="The reference")
    return parity.ordinary(found, places)


def _is_float32(ordinary: Sequence[parity.Case], inputs: Sequence[release.Column]) -> bool:
    """Whether all numbers of the reference are float32 numbers: thresholds are then rounded so that none is misled."""
    numbers = [
        case.row[position]
        for position, column in enumerate(inputs)
        if column.datatype in (release.Datatype.FP32, release.Datatype.FP64)
        for case in ordinary
        if case.row[position] is not None
    ]
    return parity.is_float32(numbers)


def _split_points(
    original: answering.Draft, ordinary: Sequence[parity.Case], shop: workshop.Workshop, scratch: pathlib.Path
) -> dict[int, list[float]]:
    inputs = original.signature.inputs
    grids: dict[str, list[float]] = {}
    numeric = (release.Datatype.FP32, release.Datatype.FP64, release.Datatype.INT64)
    for position, column in enumerate(original.signature.inputs):
        if column.datatype in (release.Datatype.FP32, release.Datatype.FP64):
            seen = sorted({case.row[position] for case in ordinary if case.row[position] is not None})
            if len(seen) > 1:
                grids[str(position)] = parity.spaced(seen, _GRID_COUNT)
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
            "tree_count_max": _TREE_POINT_COUNT_MAX,
        },
        python=original.python,
    )
    found = {int(position): points for position, points in said["points"].items()}
    return {position: points for position, points in found.items() if inputs[position].datatype in numeric}


def _kept(runtime: release.Runtime, why: str) -> Verdict:
    return Verdict(draft=None, note=_why(runtime, why))


def _why(runtime: release.Runtime, why: str) -> str:
    return f"Served by {LIBRARIES[runtime]} itself: {why}."
