"""
PyTorch programs: exported (.pt2) and TorchScript (.pt).

A program with one input takes a tensor of shape [N, F] with the signature's features in their order, unless that input
is called like a feature; else it takes one tensor per feature, by name, of shape [N] or [N, 1]. Missing values are NaN.
What it returns (a tensor, several, or tensors by name) is laid out like the outputs of an ONNX graph.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from softlaunch.core import predictions, release
from softlaunch.serving.runtimes import graph_outputs, model

_TYPES = {torch.bool: "tensor(bool)", torch.float64: "tensor(double)"}
_TRIED_ROW_COUNT = 2


class _Input(NamedTuple):
    name: str
    dtype: Any
    column: bool
    """One feature as [N, 1]; else [N]."""
    width: int | None
    """Features of a matrix [N, F]; None when the program does not say."""


class TorchModel:
    """See model.Model."""

    platform = "pytorch"
    cost = None

    def __init__(self, path: pathlib.Path, signature: release.Signature, *, thread_count: int) -> None:
        """
        Raises:
            ConfigError: the file is no such program, or not the one the signature describes.
        """
        torch.set_num_threads(thread_count)
        with contextlib.suppress(RuntimeError):  # may be said once in a process only
            torch.set_num_interop_threads(1)
        self._signature = signature
        self._program, inputs = _loaded(path)
        names = [column.name for column in signature.inputs]
        for column in signature.inputs:
            if column.datatype is release.Datatype.BYTES:
                raise model.mismatch(f"Feature {column.name!r} is {column.datatype}; PyTorch programs take numbers.")
        self._matrix = inputs[0] if len(inputs) == 1 and inputs[0].name not in names else None
        if self._matrix is not None and self._matrix.width not in (None, len(names)):
            raise model.mismatch(f"The program takes {self._matrix.width} features, the signature has {len(names)}.")
        if self._matrix is None:
            odd = sorted({each.name for each in inputs} ^ set(names))
            if odd:
                raise model.mismatch(f"The program's inputs and the signature's features differ in {odd!r:.300}.")
        self._feeds = [(names.index(each.name), each) for each in inputs] if self._matrix is None else []
        by_name = dict.fromkeys(names, self._matrix.dtype) if self._matrix else {n.name: n.dtype for n in inputs}
        self.float32_names = frozenset(name for name, dtype in by_name.items() if dtype is torch.float32)
        self._fetch = graph_outputs.fetched(self._tried(), signature)

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """See model.Model.answer."""
        returned = self._called(rows)
        found = {role: _array(returned[source]) for role, source in self._fetch.items()}
        if graph_outputs.ROLES.isdisjoint(found):
            return found
        return predictions.answer_columns(self._signature.outputs, **found)

    def _called(self, rows: Sequence[predictions.Row]) -> dict[str, Any]:
        if self._matrix is not None:
            fed = [torch.from_numpy(np.array(rows, dtype=np.float64)).to(self._matrix.dtype)]
        else:
            columns = list(zip(*rows, strict=True))
            fed = [_fed(each, columns[place]) for place, each in self._feeds]
        with torch.inference_mode():
            return _by_name(self._program(*fed))

    def _tried(self) -> list[graph_outputs.Node]:
        """The outputs, as zeros make the program show them."""
        try:
            returned = self._called([(0,) * len(self._signature.inputs)] * _TRIED_ROW_COUNT)
        except Exception as error:  # torch raises whatever its operators meet
            raise model.unloadable(
                f"The program fails on {_TRIED_ROW_COUNT} rows of zeros ({model.one_line(error)}).",
                remedy="Export it for any number of rows: dynamic_shapes={'x': {0: torch.export.Dim('rows')}}.",
            ) from error
        return [
            graph_outputs.Node(
                name, _TYPES.get(each.dtype, "tensor(float)" if each.is_floating_point() else "tensor(int64)")
            )
            for name, each in returned.items()
        ]


def load(found: model.Loading) -> TorchModel:
    """See unpacked.load_model."""
    return TorchModel(found.needed_path, found.content.signature, thread_count=found.thread_count)


def _loaded(path: pathlib.Path) -> tuple[Any, list[_Input]]:
    try:
        return _exported(path) if path.suffix == ".pt2" else _scripted(path)
    except Exception as error:  # torch raises zip, runtime, value and attribute errors alike
        raise model.unloadable(
            f"{path.name} is not a program that PyTorch {torch.__version__} loads ({model.one_line(error)}).",
            remedy="Write .pt2 with torch.export.save, .pt with torch.jit.save, under the version that the requirements"
            " pin; a state_dict alone is no program.",
        ) from error


def _exported(path: pathlib.Path) -> tuple[Any, list[_Input]]:
    program = torch.export.load(str(path))
    seen = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    inputs = []
    for name in program.graph_signature.user_inputs:
        shape, dtype = list(seen[name].shape), seen[name].dtype
        width = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None
        inputs.append(_Input(str(name), dtype, len(shape) == 2, width))
    return program.module(), inputs


def _scripted(path: pathlib.Path) -> tuple[Any, list[_Input]]:
    program = torch.jit.load(str(path), map_location="cpu")
    program.eval()
    floats = next((each.dtype for each in program.parameters() if each.is_floating_point()), torch.float32)
    named = [each.name for each in program.forward.schema.arguments[1:]]
    return program, [_Input(name, floats, column=False, width=None) for name in named]


def _fed(found: _Input, values: Sequence[Any]) -> Any:
    column = torch.tensor([float("nan") if value is None else value for value in values], dtype=found.dtype)
    return column.reshape(-1, 1) if found.column else column


def _by_name(returned: Any) -> dict[str, Any]:
    if isinstance(returned, Mapping):
        return {str(name): each for name, each in returned.items()}
    if isinstance(returned, tuple | list):
        return {f"output_{number}": each for number, each in enumerate(returned)}
    return {"output": returned}


def _array(found: Any) -> np.ndarray[Any, Any]:
    plain = found.detach()
    return np.asarray((plain.double() if plain.is_floating_point() else plain).numpy())
