"""
Tells what a text model answers, by asking it with a short text.

Asked: path, name (of the feature that softlaunch.yaml or the reference calls for; None when neither says). Answers as
describe_sklearn does, and outputs as describe_onnx does.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from softlaunch.adapters.python_env.scripts import exchange

_FEEDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
_FEATURE = "text"


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    path = pathlib.Path(request["path"])
    session, tokenizer = _loaded(path)
    inputs = [node.name for node in session.get_inputs()]
    odd = sorted(set(inputs) - set(_FEEDS))
    if odd:
        raise exchange.unreadable(
            str(path), f"its graph takes {odd!r:.200}", f"Export it with the inputs {', '.join(_FEEDS)}, or fewer."
        )
    encoded = tokenizer.encode("A short text.")
    fed = {name: np.array([getattr(encoded, _FEEDS[name])] * 2, dtype=np.int64) for name in inputs}
    try:
        answered = session.run(None, fed)
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise exchange.unreadable(
            str(path),
            f"a short text makes it fail ({exchange.one_line(error)})",
            "Export it with batch and sequence as dynamic axes, int64 inputs, and the tokenizer it was trained with.",
        ) from error
    nodes = []
    for node, each in zip(session.get_outputs(), answered, strict=True):
        if len(each) != 2:
            raise exchange.unreadable(
                str(path), f"for two texts its output {node.name!r} has {len(each)} rows", "Return one row per text."
            )
        width = 1 if np.ndim(each) < 2 else int(np.prod(np.shape(each)[1:]))
        nodes.append({"name": node.name, "type": node.type, "width": width, "classes": None})
    name = request["name"] or _FEATURE
    return {
        "kind": "program",
        "classes": None,
        "probabilities": False,
        "feature_names": [name],
        "feature_count": 1,
        "target_count": 1,
        "text_features": [name],
        "type": "text",
        "outputs": nodes,
    }


def _loaded(path: pathlib.Path) -> tuple[Any, Any]:
    if not (path / "model.onnx").is_file():
        raise exchange.unreadable(str(path), "there is no model.onnx in it", "Put it beside tokenizer.json.")
    try:
        import onnxruntime  # noqa: PLC0415  # only in environments of text models
        import tokenizers  # noqa: PLC0415
    except ImportError as error:
        raise exchange.unreadable(
            str(path),
            f"the service's environment lacks a package ({exchange.one_line(error)})",
            "Add tokenizers and onnxruntime to the service's requirements.lock.",
        ) from error
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
        return onnxruntime.InferenceSession(str(path / "model.onnx"), providers=["CPUExecutionProvider"]), tokenizer
    except Exception as error:  # both raise Exception itself
        raise exchange.unreadable(
            str(path),
            f"tokenizer.json or model.onnx cannot be loaded ({exchange.one_line(error)})",
            "Write both again under the versions that the lock file pins.",
        ) from error


if __name__ == "__main__":
    exchange.run(describe)
