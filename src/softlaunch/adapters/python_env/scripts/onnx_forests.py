"""
Forests of classification trees that count votes exactly.

skl2onnx divides every leaf by the number of trees, and onnxruntime adds the quotients up in float32, in an order that
depends on the batch: where half of the trees say one class, the sum is a little more or less than half and the label is
anyone's. scikit-learn answers the first class. Trees grown to the end, scikit-learn's default, have such rows in
numbers. Here leaves keep their whole votes, whose sums are exact, and are divided after the label was chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_FORESTS = ("RandomForestClassifier", "ExtraTreesClassifier")


def count_votes(graph_model: Any, model: Any) -> None:
    """Rewrites the graph of a scikit-learn model, or of a pipeline, that ends in a forest; others stay as they are."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    nodes = [node for node in graph_model.graph.node if node.op_type == "TreeEnsembleClassifier"]
    if type(last).__name__ not in _FORESTS or len(nodes) != 1:
        return
    node, trees = nodes[0], len(last.estimators_)
    attributes = {each.name: each for each in node.attribute}
    weights = attributes["class_weights"].floats
    whole = (np.array(weights, dtype=np.float64) * trees).astype(np.float32)
    # What the converter divided comes back with a last bit of noise, which sums would keep.
    near = np.round(whole)
    whole = np.where(np.abs(whole - near) < 1e-6, near, whole)
    del weights[:]
    weights.extend(whole.tolist())
    _divide_after(graph_model.graph, node, attributes, trees)


def _divide_after(graph: Any, node: Any, attributes: dict[str, Any], trees: int) -> None:
    from onnx import helper, numpy_helper  # noqa: PLC0415  # only in environments that can compile

    label, probabilities = node.output
    node.output[0], node.output[1] = "forest_label", "forest_scores"
    texts = attributes.get("classlabels_strings")
    classes = np.array(texts.strings if texts is not None else attributes["classlabels_int64s"].ints)
    classes = np.array([each.decode() for each in classes], dtype=object) if texts is not None else classes
    # Of two classes only the second has weights; onnxruntime makes 1 - votes the first's score.
    single = len(classes) == 2 and len(set(attributes["class_ids"].ints)) == 1
    offset = [trees - 1.0, 0.0] if single else [0.0] * len(classes)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([offset], dtype=np.float32), "forest_offset"),
            numpy_helper.from_array(np.array([trees], dtype=np.float32), "forest_trees"),
            numpy_helper.from_array(classes, "forest_classes"),
        ]
    )
    made = [
        helper.make_node("Add", ["forest_scores", "forest_offset"], ["forest_votes"]),
        helper.make_node("Div", ["forest_votes", "forest_trees"], [probabilities]),
        helper.make_node("ArgMax", ["forest_votes"], ["forest_first"], axis=1, keepdims=0, select_last_index=0),
        helper.make_node("Gather", ["forest_classes", "forest_first"], [label]),
    ]
    # Whatever follows the trees must follow these, too.
    place = list(graph.node).index(node) + 1
    for number, each in enumerate(made):
        graph.node.insert(place + number, each)
