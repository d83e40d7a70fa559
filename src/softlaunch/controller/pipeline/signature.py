"""
A release's signature: which features a model takes and what it answers.

Inputs come from `model.inputs`, else from the reference's columns, else from what the model itself says. The order is
the model's own when it knows its features by name.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.controller.pipeline import rows, workshop
from softlaunch.core import model_files, predictions, release, spec
from softlaunch.core.quality import parity
from softlaunch.ports import tables

_PROBE_ROW_COUNT = 50
_GRAPH_DATATYPES = {
    "tensor(string)": release.Datatype.BYTES,
    "tensor(bool)": release.Datatype.BOOL,
    "tensor(int64)": release.Datatype.INT64,
    "tensor(int32)": release.Datatype.INT64,
}
_LABEL_TYPES = frozenset({"tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    runtime: release.Runtime
    """Of the model as obtained; a compiled one is ONNX."""
    signature: release.Signature
    classes: tuple[Any, ...] | None = None
    """Of a classifier, in its order; None when it is none or does not say."""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tables:
    """What is known about the data; None where softlaunch.yaml names none."""

    reference: tables.Table | None
    holdout: tables.Table | None
    reference_sha256: str = ""
    """Of its file; empty: there is none."""

    @property
    def known(self) -> tables.Table | None:
        """The one that tells columns and their kinds: the reference, else the holdout."""
        return self.reference or self.holdout


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the model says of its own inputs."""

    names: tuple[str, ...] | None = None
    count: int | None = None
    datatypes: Mapping[str, release.Datatype] = dataclasses.field(default_factory=dict)


def describe(
    service: spec.ServiceSpec,
    shop: workshop.Workshop,
    found: Tables,
    *,
    model_file: pathlib.Path | None,
    python: pathlib.Path,
    code: pathlib.Path,
    scratch: pathlib.Path,
) -> Described:
    """
    The model's runtime, signature and classes.

    Raises:
        ConfigError: it cannot be read, or nothing says what it takes or answers.
    """
    target = service.model.python_target
    if target is not None:
        return _python(service, shop, found, target, model_file=model_file, python=python, code=code, scratch=scratch)
    assert model_file is not None
    runtime = runtime_of(model_file)
    if runtime is release.Runtime.ONNX:
        return _onnx(service, shop, found, model_file)
    # describe_RUNTIME of adapters/python_env/scripts, in the release's own environment; all answer alike.
    expected = _expected(service, found)
    said = shop.workbench.tool(
        f"describe_{runtime}",
        {
            "path": str(model_file),
            "code": str(code),
            "count": len(expected) if expected is not None else None,
            "name": expected[0] if expected is not None else None,
        },
        python=python,
    )
    names = tuple(said["feature_names"]) if said["feature_names"] is not None else None
    asked = _Asked(
        names=names,
        count=said["feature_count"],
        datatypes={
            **{name: release.Datatype(datatype) for name, datatype in said.get("datatypes", {}).items()},
            **dict.fromkeys(said["text_features"], release.Datatype.BYTES),
        },
    )
    inputs, notes = _inputs(service, found, asked)
    classes = tuple(said["classes"]) if said["classes"] is not None else None
    if said.get("outputs") is not None:  # a program rather than an estimator: what it answers has names of its own
        outputs, classes = _graph_outputs(said["outputs"])
    elif classes is not None:
        outputs = predictions.classifier_outputs(classes, probabilities=said["probabilities"])
    else:
        outputs = predictions.regressor_outputs(said["target_count"])
    signature = release.Signature(inputs=inputs, outputs=outputs)
    return Described(runtime=runtime, signature=signature, classes=classes, notes=notes)


def _expected(service: spec.ServiceSpec, found: Tables) -> tuple[str, ...] | None:
    """Features according to softlaunch.yaml or the data; None when neither says."""
    if service.model.features is not None or service.model.inputs is not None:
        return service.model.features or tuple(service.model.inputs or ())
    return _chosen(service, found.known, _Asked()) if found.known is not None else None


def runtime_of(model_file: pathlib.Path) -> release.Runtime:
    """
    What serves a model file or directory.

    Raises:
        ConfigError: nothing here does.
    """
    names = frozenset(found.name for found in model_file.iterdir()) if model_file.is_dir() else frozenset()
    runtime = model_files.runtime_of(model_file, names=names)
    if runtime is None:
        raise errors.ConfigError(
            f"{model_file.name} is of no kind that is served.",
            remedy=f"A model is a file {', '.join(model_files.RUNTIME_BY_SUFFIX)}, or a directory with"
            f" {' or '.join(model_files.RUNTIME_BY_MARKER)}.",
            code=errors.Code.MODEL_UNREADABLE,
        )
    return runtime


def _onnx(service: spec.ServiceSpec, shop: workshop.Workshop, found: Tables, model_file: pathlib.Path) -> Described:
    said = shop.workbench.tool("describe_onnx", {"path": str(model_file)}, python=shop.serving_python)
    nodes = said["inputs"]
    matrix = len(nodes) == 1 and len(nodes[0]["shape"]) == 2 and nodes[0]["shape"][1] != 1
    if matrix:
        asked = _Asked(count=nodes[0]["shape"][1])
    else:
        datatypes = {node["name"]: _GRAPH_DATATYPES.get(node["type"], release.Datatype.FP64) for node in nodes}
        asked = _Asked(names=tuple(datatypes), count=len(nodes), datatypes=datatypes)
    inputs, notes = _inputs(service, found, asked)
    outputs, classes = _graph_outputs(said["outputs"])
    signature = release.Signature(inputs=inputs, outputs=outputs)
    return Described(runtime=release.Runtime.ONNX, signature=signature, classes=classes, notes=notes)


def _graph_outputs(nodes: Sequence[Mapping[str, Any]]) -> tuple[tuple[release.Column, ...], tuple[Any, ...] | None]:
    label = next((node for node in nodes if node["type"] in _LABEL_TYPES), None)
    numbers = [node for node in nodes if node["type"] not in _LABEL_TYPES]
    if label is not None:
        width = max(2, numbers[0]["width"]) if numbers else 2
        named = numbers[0]["classes"] if numbers else None
        text = label["type"] == "tensor(string)"
        classes = tuple(named) if named else tuple(str(each) if text else each for each in range(width))
        known = named is not None or not text
        outputs = predictions.classifier_outputs(classes, probabilities=bool(numbers))
        return outputs, classes if known else None
    if len(numbers) > 1 and all(node["width"] == 1 for node in numbers):
        return tuple(release.Column(name=node["name"], datatype=release.Datatype.FP64) for node in numbers), None
    return predictions.regressor_outputs(numbers[0]["width"]), None


def _python(
    service: spec.ServiceSpec,
    shop: workshop.Workshop,
    found: Tables,
    target: str,
    *,
    model_file: pathlib.Path | None,
    python: pathlib.Path,
    code: pathlib.Path,
    scratch: pathlib.Path,
) -> Described:
    inputs, notes = _inputs(service, found, _Asked())
    asked = None
    if found.known is not None:
        places = parity.spaced_places(found.known.row_count, _PROBE_ROW_COUNT)
        asked = scratch / "probe.npz"
        rows.write(asked, inputs, rows.of_table(found.known, inputs, places, what="The reference"))
    said = shop.workbench.tool(
        "describe_python",
        {
            "target": target,
            "code": str(code),
            "path": str(model_file) if model_file is not None else None,
            "names": [column.name for column in inputs],
            "rows": str(asked) if asked is not None else None,
        },
        python=python,
    )
    outputs = tuple(
        release.Column(name=name, datatype=release.Datatype(datatype)) for name, datatype in said["outputs"].items()
    )
    signature = release.Signature(inputs=inputs, outputs=outputs)
    return Described(runtime=release.Runtime.PYTHON, signature=signature, notes=notes)


def _inputs(
    service: spec.ServiceSpec, found: Tables, asked: _Asked
) -> tuple[tuple[release.Column, ...], tuple[str, ...]]:
    model, known = service.model, found.known
    notes: tuple[str, ...] = ()
    if model.inputs is not None:
        datatypes = {name: release.Datatype(text) for name, text in model.inputs.items()}
        names = model.features or tuple(datatypes)
    elif known is not None:
        datatypes = {column.name: column.datatype for column in known.columns}
        names = model.features or _chosen(service, known, asked)
    elif asked.names is not None or asked.count is not None:
        names = model.features or asked.names or tuple(f"x{number}" for number in range(asked.count or 0))
        datatypes = {name: asked.datatypes.get(name, release.Datatype.FP64) for name in names}
        notes = ("Input kinds are guessed from the model: there is no reference and no `model.inputs`.",)
    else:
        raise errors.ConfigError(
            "Nothing says which features the model takes.",
            remedy="Add `model.inputs` or a `reference` to softlaunch.yaml.",
            code=errors.Code.SIGNATURE_UNKNOWN,
        )
    names = _in_models_order(names, asked)
    absent = [name for name in names if name not in datatypes]
    if absent:
        there = ", ".join(repr(name) for name in datatypes)
        raise rows.columns_error(
            f"The model needs {', '.join(repr(name) for name in absent)}, which the data does not have;"
            f" it has {there:.400}."
        )
    return tuple(_column(name, datatypes[name], found) for name in names), notes


def _chosen(service: spec.ServiceSpec, known: tables.Table, asked: _Asked) -> tuple[str, ...]:
    if asked.names is not None:
        return asked.names
    quality = service.tests.quality if service.tests is not None else None
    label = quality.label if quality is not None else None
    return tuple(column.name for column in known.columns if column.name != label)


def _in_models_order(names: Sequence[str], asked: _Asked) -> tuple[str, ...]:
    if asked.names is not None:
        if set(asked.names) != set(names):
            odd = ", ".join(repr(name) for name in sorted(set(asked.names) ^ set(names)))
            raise rows.columns_error(f"The model's own features and those asked for differ in {odd:.400}.")
        return asked.names
    if asked.count is not None and asked.count != len(names):
        listed = ", ".join(repr(name) for name in names)
        raise rows.columns_error(f"The model takes {asked.count} features, there are {len(names)}: {listed:.400}.")
    return tuple(names)


def _column(name: str, datatype: release.Datatype, found: Tables) -> release.Column:
    known = [table.column(name) for table in (found.reference, found.holdout) if table is not None]
    return release.Column(
        name=name, datatype=datatype, nullable=any(column.nullable for column in known if column is not None)
    )
