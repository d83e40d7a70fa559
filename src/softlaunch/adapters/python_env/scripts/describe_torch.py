"""
Tells what a PyTorch program takes and answers, by running zeros through it.

Asked: path, count (features according to softlaunch.yaml or the reference; None when neither says). Answers as
describe_sklearn does, and outputs as describe_onnx does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softlaunch.adapters.python_env.scripts import exchange

_ROW_COUNT = 2
_ANY_ROWS = "Export it for any number of rows: dynamic_shapes={'x': {0: torch.export.Dim('rows')}}."


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    path = request["path"]
    try:
        import torch  # noqa: PLC0415  # only in environments of PyTorch programs
    except ImportError as error:
        raise exchange.unreadable(
            path,
            f"the service's environment has no torch ({exchange.one_line(error)})",
            "Add torch to the service's requirements.lock.",
        ) from error
    try:
        program, shapes = _exported(torch, path) if path.endswith(".pt2") else _scripted(torch, path)
    except Exception as error:  # torch raises zip, runtime, value and attribute errors alike
        raise exchange.unreadable(
            path,
            f"PyTorch {torch.__version__} refuses it ({exchange.one_line(error)})",
            "Write .pt2 with torch.export.save, .pt with torch.jit.save; a state_dict alone is no program.",
        ) from error
    matrix = len(shapes) == 1
    count = _width(shapes) or request["count"] if matrix else len(shapes)
    fed = [torch.zeros(_shape(shape, count if matrix else 1), dtype=dtype) for shape, dtype in shapes.values()]
    try:
        with torch.inference_mode():
            returned = program(*fed)
    except Exception as error:  # as above
        known = "" if count is not None else " Say with `model.inputs` how many features it takes."
        raise exchange.unreadable(
            path, f"{_ROW_COUNT} rows of zeros make it fail ({exchange.one_line(error)})", _ANY_ROWS + known
        ) from error
    return {
        "kind": "program",
        "classes": None,
        "probabilities": False,
        "feature_names": None if matrix else list(shapes),
        "feature_count": count,
        "target_count": 1,
        "text_features": [],
        "type": "PyTorch",
        "outputs": _outputs(path, returned),
    }


def _exported(torch: Any, path: str) -> tuple[Any, dict[str, tuple[list[Any] | None, Any]]]:
    program = torch.export.load(path)
    seen = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    return program.module(), {
        str(name): ([each if isinstance(each, int) else None for each in seen[name].shape], seen[name].dtype)
        for name in program.graph_signature.user_inputs
    }


def _scripted(torch: Any, path: str) -> tuple[Any, dict[str, tuple[list[Any] | None, Any]]]:
    program = torch.jit.load(path, map_location="cpu")
    program.eval()
    dtype = next((each.dtype for each in program.parameters() if each.is_floating_point()), torch.float32)
    return program, {each.name: (None, dtype) for each in program.forward.schema.arguments[1:]}


def _width(shapes: dict[str, tuple[list[Any] | None, Any]]) -> int | None:
    shape = next(iter(shapes.values()))[0]
    return shape[1] if shape is not None and len(shape) == 2 else None


def _shape(shape: list[Any] | None, count: int | None) -> list[int]:
    if shape is None:
        return [_ROW_COUNT] if count in (None, 1) else [_ROW_COUNT, int(count or 1)]
    return [_ROW_COUNT, *(each if each is not None else count or 1 for each in shape[1:])]


def _outputs(path: str, returned: Any) -> list[dict[str, Any]]:
    if isinstance(returned, Mapping):
        named = {str(name): each for name, each in returned.items()}
    elif isinstance(returned, tuple | list):
        named = {f"output_{number}": each for number, each in enumerate(returned)}
    else:
        named = {"output": returned}
    nodes = []
    for name, each in named.items():
        if not hasattr(each, "shape") or each.ndim == 0 or each.shape[0] != _ROW_COUNT:
            what = f"shape {list(each.shape)}" if hasattr(each, "shape") else f"a {type(each).__name__}"
            raise exchange.unreadable(
                path, f"for {_ROW_COUNT} rows its output {name!r} is {what}", f"Return one answer per row. {_ANY_ROWS}"
            )
        kind = "tensor(float)" if each.is_floating_point() else "tensor(int64)"
        if str(each.dtype) == "torch.bool":
            kind = "tensor(bool)"
        nodes.append({"name": name, "type": kind, "width": each[0].numel(), "classes": None})
    return nodes


if __name__ == "__main__":
    exchange.run(describe)
