"""Writes model.onnx: the logistic regression of a churn model, one graph input per feature."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = {"months": -0.06, "calls": 0.45, "price": 0.03}
BIAS = -0.8


def constant(name, value):
    return numpy_helper.from_array(np.array(value, dtype=np.float32), name)


columns = list(WEIGHTS)
nodes = [
    helper.make_node("Concat", columns, ["rows"], axis=1),
    helper.make_node("MatMul", ["rows", "weights"], ["weighted"]),
    helper.make_node("Add", ["weighted", "bias"], ["logit"]),
    helper.make_node("Sigmoid", ["logit"], ["churn"]),
]
graph = helper.make_graph(
    nodes,
    "churn",
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in columns],
    [helper.make_tensor_value_info("churn", TensorProto.FLOAT, [None, 1])],
    [constant("weights", [[weight] for weight in WEIGHTS.values()]), constant("bias", [BIAS])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model)
onnx.save(model, "model.onnx")
