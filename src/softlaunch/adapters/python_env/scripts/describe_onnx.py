"""
Tells what an ONNX graph takes and answers, by running one row of zeros through it.

Asked: path. Answers: inputs (name, type, shape), outputs (name, type, width, classes).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softlaunch.adapters.python_env.scripts import exchange

_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    import onnxruntime  # noqa: PLC0415  # only this tool needs it

    try:
        session = onnxruntime.InferenceSession(request["path"], providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise exchange.unreadable(
            request["path"],
            f"onnxruntime {onnxruntime.__version__} refuses it ({exchange.one_line(error)})",
            "Export the model again, with an opset this onnxruntime supports.",
        ) from error
    inputs = session.get_inputs()
    try:
        answers = session.run(None, {node.name: _zeros(node) for node in inputs})
    except Exception as error:  # as above
        raise exchange.unreadable(
            request["path"],
            f"one row of zeros makes it fail ({exchange.one_line(error)})",
            "Export it with a first dimension of any size, one row per prediction.",
        ) from error
    outputs = session.get_outputs()
    return {
        "inputs": [
            {
                "name": node.name,
                "type": node.type,
                "shape": [each if isinstance(each, int) else None for each in node.shape],
            }
            for node in inputs
        ],
        "outputs": [
            {"name": node.name, "type": node.type, **_form(answer)}
            for node, answer in zip(outputs, answers, strict=True)
        ],
    }


def _zeros(node: Any) -> Any:
    shape = [1, *(each if isinstance(each, int) else 1 for each in node.shape[1:])]
    if node.type == "tensor(string)":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=_DTYPES.get(node.type, np.float32))


def _form(answer: Any) -> dict[str, Any]:
    if isinstance(answer, np.ndarray):
        return {"width": 1 if answer.ndim < 2 else int(np.prod(answer.shape[1:])), "classes": None}
    return {"width": len(answer[0]), "classes": list(answer[0])}


if __name__ == "__main__":
    exchange.run(describe)
