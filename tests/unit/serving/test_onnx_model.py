from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper
from skl2onnx import convert_sklearn
from skl2onnx.common import data_types
from sklearn import compose, linear_model, pipeline, preprocessing

from softlaunch import errors
from softlaunch.core import answers, predictions, release
from softlaunch.serving.runtimes import onnx_model

FP64, BYTES, INT64, BOOL = release.Datatype.FP64, release.Datatype.BYTES, release.Datatype.INT64, release.Datatype.BOOL
FLOAT, STRING = data_types.FloatTensorType, data_types.StringTensorType
GENERATOR = np.random.default_rng(7)


def signature(
    inputs: dict[str, release.Datatype], outputs: Any, *, nullable: tuple[str, ...] = ()
) -> release.Signature:
    columns = tuple(
        release.Column(name=name, datatype=datatype, nullable=name in nullable) for name, datatype in inputs.items()
    )
    return release.Signature(inputs=columns, outputs=outputs)


def load(place: pathlib.Path, model: Any, described: release.Signature) -> onnx_model.OnnxModel:
    path = place / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return onnx_model.OnnxModel(path, described, thread_count=1)


def answered(model: onnx_model.OnnxModel, described: release.Signature, rows: list[predictions.Row]) -> Any:
    checked = answers.check(described.outputs, model.answer(rows), len(rows))
    assert not checked.invalid
    return checked.columns


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_pipeline_with_one_input_per_feature_agrees_with_the_original(
    tmp_path: pathlib.Path, *, zipmap: bool
) -> None:
    table = pd.DataFrame({"dep hour": GENERATOR.normal(size=300), "carrier": GENERATOR.choice(["AA", "UA", ""], 300)})
    labels = np.where(table["dep hour"] + (table["carrier"] == "AA") > 0.5, "late", "ok")
    encode = preprocessing.OneHotEncoder(handle_unknown="ignore")
    columns = compose.ColumnTransformer([("c", encode, ["carrier"])], remainder="passthrough")
    original = pipeline.make_pipeline(columns, linear_model.LogisticRegression()).fit(table, labels)
    types = [("dep hour", FLOAT([None, 1])), ("carrier", STRING([None, 1]))]
    compiled = convert_sklearn(original, initial_types=types, options={id(original): {"zipmap": zipmap}})
    outputs = predictions.classifier_outputs(original.classes_)
    described = signature({"carrier": BYTES, "dep hour": FP64}, outputs, nullable=("carrier",))
    rows: list[predictions.Row] = [("AA", 0.4), ("UA", 0.4), (None, 0.4), ("new", -1.0)]
    asked = pd.DataFrame(rows, columns=["carrier", "dep hour"]).fillna({"carrier": ""})

    model = load(tmp_path, compiled, described)
    found = answered(model, described, rows)

    assert original.predict(asked).tolist() == found["label"]
    assert pytest.approx(original.predict_proba(asked)[:, 1].tolist(), abs=1e-5) == found["probability"]
    assert frozenset({"dep hour"}) == model.float32_names


@pytest.mark.parametrize("classes", [["a", "b", "c"], [3, 5, 9], [False, True]])
def test_labels_and_probabilities_of_every_kind_of_class_agree(tmp_path: pathlib.Path, classes: list[Any]) -> None:
    features = GENERATOR.normal(size=(200, 2)).astype(np.float32)
    labels = np.array(classes)[(features.sum(axis=1) > 0).astype(int) + (len(classes) == 3) * (features[:, 0] > 1)]
    original = linear_model.LogisticRegression().fit(features, labels)
    compiled = convert_sklearn(original, initial_types=[("X", FLOAT([None, 2]))], options={"zipmap": False})
    described = signature({"p": FP64, "q": FP64}, predictions.classifier_outputs(original.classes_))

    found = answered(load(tmp_path, compiled, described), described, [tuple(map(float, row)) for row in features[:20]])

    assert original.predict(features[:20]).tolist() == found["label"]
    last = described.outputs[-1].name
    assert pytest.approx(original.predict_proba(features[:20])[:, -1].tolist(), abs=1e-5) == found[last]


def graph(inputs: list[tuple[str, int, list[Any]]], outputs: list[tuple[str, int, list[Any]]], *nodes: Any) -> Any:
    made = helper.make_graph(
        [helper.make_node(*node[:3], **node[3]) for node in nodes],
        "g",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


F, D, I = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64  # noqa: E741


def test_outputs_named_as_in_the_signature_are_taken_by_name(tmp_path: pathlib.Path) -> None:
    made = graph([("x", D, [None])], [("same", D, [None]), ("minus", D, [None])],
                 ("Identity", ["x"], ["same"], {}), ("Neg", ["x"], ["minus"], {}))  # fmt: skip
    outputs = tuple(release.Column(name=name, datatype=FP64) for name in ("minus", "same"))
    described = signature({"x": FP64}, outputs)
    model = load(tmp_path, made, described)

    assert {"minus": [-1e300], "same": [1e300]} == answered(model, described, [(1e300,)])
    assert frozenset() == model.float32_names


def test_missing_numbers_reach_the_graph_as_nan(tmp_path: pathlib.Path) -> None:
    made = graph([("X", F, [None, 1])], [("b", onnx.TensorProto.BOOL, [None, 1])], ("IsNaN", ["X"], ["b"], {}))
    described = signature({"x": FP64}, (release.Column(name="b", datatype=BOOL),), nullable=("x",))

    assert {"b": [False, True]} == answered(load(tmp_path, made, described), described, [(1.0,), (None,)])


IDENTITY = ("Identity", ["x"], ["prediction"], {})


@pytest.mark.parametrize(
    ("inputs", "made", "nullable"),
    [
        ({"other": FP64}, graph([("x", F, [None])], [("prediction", F, [None])], IDENTITY), ()),
        ({"x": FP64}, graph([("x", I, [None])], [("prediction", I, [None])], IDENTITY), ()),
        ({"x": BYTES}, graph([("x", F, [None])], [("prediction", F, [None])], IDENTITY), ()),
        ({"x": INT64}, graph([("x", I, [None])], [("prediction", I, [None])], IDENTITY), ("x",)),
        ({"a": FP64, "b": FP64}, graph([("x", F, [None, 3])], [("prediction", F, [None, 3])], IDENTITY), ()),
        ({"x": FP64}, graph([("x", F, [None])], [("flag", onnx.TensorProto.BOOL, [None])],
                            ("IsNaN", ["x"], ["flag"], {})), ()),
    ],
)  # fmt: skip
def test_a_graph_that_is_not_the_signatures_is_refused(
    tmp_path: pathlib.Path, inputs: Any, made: Any, nullable: Any
) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        load(tmp_path, made, signature(inputs, predictions.regressor_outputs(), nullable=nullable))

    assert errors.Code.MODEL_MISMATCH is caught.value.code
