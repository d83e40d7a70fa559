"""
ONNX models through onnxruntime.

The graph decides how rows go in: one tensor per feature (named like it, or as skl2onnx spells that name; shape [N] or
[N, 1]), or a single float tensor of shape [N, F] in the signature's order. Missing values are NaN in floats and the
empty string in text.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from softlaunch.core import predictions, release
from softlaunch.serving.runtimes import graph_outputs, model

_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_DTYPES: dict[str, Any] = {
    **_FLOATS,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": object,
}
_NUMBERS = frozenset({release.Datatype.BOOL, release.Datatype.INT64, release.Datatype.FP32, release.Datatype.FP64})
_FITTING: Mapping[str, frozenset[release.Datatype]] = {
    **dict.fromkeys(_FLOATS, _NUMBERS),
    "tensor(int64)": frozenset({release.Datatype.BOOL, release.Datatype.INT64}),
    "tensor(int32)": frozenset({release.Datatype.BOOL}),
    "tensor(bool)": frozenset({release.Datatype.BOOL}),
    "tensor(string)": frozenset({release.Datatype.BYTES}),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Feed:
    """One graph input fed from one feature."""

    name: str
    position: int
    """Of the feature in the row."""
    dtype: Any
    flat: bool
    """Shape [N]; else [N, 1]."""


class OnnxModel:
    """See model.Model."""

    platform = "onnx_onnxv1"
    cost = None
    calls_anywhere = True

    def __init__(self, path: pathlib.Path, signature: release.Signature, *, thread_count: int) -> None:
        """
        Raises:
            ConfigError: the file is not an ONNX model, or not the one the signature describes.
        """
        self._signature = signature
        self._session = session(path, thread_count)
        inputs = self._session.get_inputs()
        names = [column.name for column in signature.inputs]
        self._matrix = inputs[0] if len(inputs) == 1 and _takes_matrix(inputs[0], names) else None
        by_type: dict[str, str]
        if self._matrix is None:
            self._feeds = tuple(_feed(node, signature) for node in inputs)
            by_type = {names[feed.position]: node.type for feed, node in zip(self._feeds, inputs, strict=True)}
        else:
            _check_matrix(self._matrix, signature)
            self._matrix_dtype = _DTYPES[self._matrix.type]
            by_type = dict.fromkeys(names, self._matrix.type)
        self.float32_names = frozenset(name for name, found in by_type.items() if found == "tensor(float)")
        nodes = [graph_outputs.Node(node.name, node.type) for node in self._session.get_outputs()]
        self._fetch = graph_outputs.fetched(nodes, signature)
        self._names = list(self._fetch.values())
        self._roles = list(self._fetch)
        self._has_roles = not graph_outputs.ROLES.isdisjoint(self._roles)
        self._layout = predictions.AnswerLayout(signature.outputs)

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """See model.Model.answer."""
        if self._matrix is not None:
            fed = {self._matrix.name: np.array(rows, dtype=self._matrix_dtype)}
        else:
            columns = list(zip(*rows, strict=True))
            fed = {feed.name: _fed(feed, columns[feed.position]) for feed in self._feeds}
        found = dict(zip(self._roles, self._session.run(self._names, fed), strict=True))
        if not self._has_roles:
            return found
        return self._layout.columns(**{role: array(value, self._signature) for role, value in found.items()})


def load(found: model.Loading) -> OnnxModel:
    """See unpacked.load_model."""
    return OnnxModel(found.needed_path, found.content.signature, thread_count=found.thread_count)


def compiled_name(feature: str) -> str:
    """
    What skl2onnx calls a feature in the graph: it knows names of letters, digits and "_" (and "+") only.

    Source:
        skl2onnx 1.20, common/_topology.py, Topology._generate_unique_name.
    """
    name = re.sub(r"[^\w+]", "_", feature)
    return f"_{name}" if name[:1].isdigit() else name


def session(path: pathlib.Path, thread_count: int) -> Any:
    """
    The session in which onnxruntime runs a graph.

    Raises:
        ConfigError: the file is none.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count
    options.inter_op_num_threads = 1
    # A spinning pool burns a core between calls; the arena keeps the largest batch's memory forever.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise model.unloadable(
            f"{path.name} is not an ONNX model that onnxruntime {onnxruntime.__version__} loads"
            f" ({model.one_line(error)}).",
            remedy="Check that the file is whole and its opset is supported, then build the release again.",
        ) from error


def _takes_matrix(node: Any, names: Sequence[str]) -> bool:
    """A sole input that is called like a feature is that feature and nothing else."""
    return node.name not in names and node.name not in map(compiled_name, names)


def _check_matrix(node: Any, signature: release.Signature) -> None:
    width = node.shape[1] if len(node.shape) == 2 else None
    if node.type not in _DTYPES or len(node.shape) != 2 or (isinstance(width, int) and width != len(signature.inputs)):
        raise model.mismatch(
            f"The graph's only input {node.name!r} is {node.type} of shape {node.shape}, the signature has"
            f" {len(signature.inputs)} features.",
        )
    for column in signature.inputs:
        _check_type(node, column)


def _feed(node: Any, signature: release.Signature) -> _Feed:
    names = [column.name for column in signature.inputs]
    fitting = [position for position, name in enumerate(names) if name == node.name] or [
        position for position, name in enumerate(names) if compiled_name(name) == node.name
    ]
    if len(fitting) == 1:
        _check_type(node, signature.inputs[fitting[0]])
        return _Feed(name=node.name, position=fitting[0], dtype=_DTYPES[node.type], flat=len(node.shape) == 1)
    known = ", ".join(repr(name) for name in names)
    raise model.mismatch(f"The graph's input {node.name!r} is no feature of the signature ({known}).")


def _check_type(node: Any, column: release.Column) -> None:
    if column.datatype not in _FITTING.get(node.type, frozenset()):
        raise model.mismatch(f"Feature {column.name!r} is {column.datatype}, the graph's input is {node.type}.")
    if column.nullable and node.type not in _FLOATS and node.type != "tensor(string)":
        raise model.mismatch(f"Feature {column.name!r} may be missing, but the graph's {node.type} cannot say so.")


def _fed(feed: _Feed, values: Sequence[Any]) -> np.ndarray[Any, Any]:
    if feed.dtype is object:
        values = ["" if value is None else value for value in values]
    column = np.array(values, dtype=feed.dtype)
    return column if feed.flat else column.reshape(-1, 1)


def array(value: Any, signature: release.Signature) -> np.ndarray[Any, Any]:
    """An output of a graph as one array."""
    if isinstance(value, np.ndarray):
        return value
    # ZipMap: one mapping of class to probability per row, in the order of the classes.
    width = sum(column.name.startswith(predictions.PROBABILITY) for column in signature.outputs)
    rows = [list(each.values()) for each in value]
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1 if rows else width)
