"""
How a graph's outputs become a release's: by the signature's names when the graph has them all, else by role.

Shared by the runtimes of graphs (ONNX, PyTorch, text). Roles are those of predictions.answer_columns: the first output
of whole numbers or text holds labels, the first of floats probabilities or values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from softlaunch.core import predictions, release
from softlaunch.serving.runtimes import model

FLOAT_TYPES = frozenset({"tensor(float)", "tensor(double)"})
LABEL_TYPES = frozenset({"tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)"})
ROLES = frozenset({"labels", "probabilities", "values"})


class Node(NamedTuple):
    """An output of a graph: its name and onnxruntime's word for its type."""

    name: str
    type: str


def fetched(nodes: Sequence[Node], signature: release.Signature) -> dict[str, str]:
    """
    Output to fetch by the signature's name, or by role.

    Raises:
        ConfigError: the signature promises what the graph does not have.
    """
    names = {node.name for node in nodes}
    wanted = [column.name for column in signature.outputs]
    if names.issuperset(wanted):
        return {name: name for name in wanted}
    label = next((node.name for node in nodes if node.type in LABEL_TYPES), None)
    numbers = next((node.name for node in nodes if node.type in FLOAT_TYPES or node.type.startswith("seq(map(")), None)
    roles: dict[str, str] = {}
    for name in wanted:
        role, source = _role(name, label, numbers)
        if source is None:
            has = ", ".join(f"{node.name!r} ({node.type})" for node in nodes)
            raise model.mismatch(f"The signature promises output {name!r}, the graph only has {has}.")
        roles[role] = source
    return roles


def _role(name: str, label: str | None, numbers: str | None) -> tuple[str, str | None]:
    if name == predictions.LABEL:
        return "labels", label
    if name == predictions.PROBABILITY or name.startswith(f"{predictions.PROBABILITY}_"):
        return "probabilities", numbers
    if name == predictions.PREDICTION or name.startswith(f"{predictions.PREDICTION}_"):
        return "values", numbers
    return name, None
