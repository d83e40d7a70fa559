from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from softlaunch.adapters.python_env.scripts import onnx_forests

FEATURES, LABELS = make_classification(600, 6, n_informative=4, flip_y=0.4, random_state=0)
FEATURES = FEATURES.astype(np.float32)
TREES = 50


def converted(model):
    graph = to_onnx(model, FEATURES[:1], options={"zipmap": False})
    onnx_forests.count_votes(graph, model)
    onnx.checker.check_model(graph, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def asked():
    return np.random.default_rng(0).normal(0, 2, (2_000, FEATURES.shape[1])).astype(np.float32)


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS + 3, np.array(["no", "yes"])[LABELS], (FEATURES[:, 0] > 0) * 2 + LABELS],
    ids=["two", "other numbers", "texts", "four"],
)
@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
def test_a_tie_goes_to_the_first_class_alone_and_in_a_batch(kind, labels) -> None:
    model = kind(TREES, random_state=0).fit(FEATURES, labels)
    session, rows = converted(model), asked()
    probabilities, expected = model.predict_proba(rows), model.predict(rows)
    top = np.sort(probabilities, axis=1)
    ties = np.flatnonzero(top[:, -1] == top[:, -2])

    together, shares = session.run(None, {"X": rows})
    alone = [session.run(None, {"X": rows[place : place + 1]})[0][0] for place in ties]

    assert len(ties) > 5
    assert expected.tolist() == list(together)
    assert expected[ties].tolist() == alone
    np.testing.assert_allclose(shares, probabilities, atol=1e-6)


def test_a_pipeline_that_ends_in_a_forest_counts_votes_too() -> None:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(TREES, max_depth=3, random_state=0))
    model.fit(FEATURES, LABELS)
    session, rows = converted(model), FEATURES[:200]

    label, shares = session.run(None, {"X": rows})

    assert model.predict(rows).tolist() == label.tolist()
    np.testing.assert_allclose(shares, model.predict_proba(rows), atol=1e-6)
