from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Any

import httpx
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import compose, linear_model, pipeline, preprocessing

from softlaunch.core import predictions, release


def test_an_onnx_release_is_served_by_rows_and_by_tensors(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.onnx()).wait_ready()

    assert 0o600 == stat.S_IMODE(server.socket.stat().st_mode)
    with server.client() as client:
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/toy", "/v2/models/toy/ready"):
            answer = client.get(path)
            assert 200 == answer.status_code, path
            assert "a" * 12 == answer.headers["x-softlaunch-release"]
        assert "token" == client.get("/v2/health/ready").headers["x-softlaunch-instance"]
        assert {"prediction": {"prediction": 21.0}, "release": "a" * 12} == client.post(
            "/predict", json={"x": 1, "y": 2}
        ).json()
        rows = {"rows": [{"x": 1, "y": 2}, {"x": 3, "y": 0}]}
        assert [21.0, 3.0] == [row["prediction"] for row in client.post("/predict", json=rows).json()["predictions"]]
        tensor = {"name": "X", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 0]}
        answer = client.post(f"/v2/models/toy/versions/{'a' * 12}/infer", json={"inputs": [tensor]})
        assert [21.0, 3.0] == answer.json()["outputs"][0]["data"]


def test_bad_requests_are_refused_and_the_server_lives_on(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.onnx()).wait_ready()
    requests = [
        (422, b'{"x":"a"}'),
        (422, b'{"x":NaN}'),
        (422, b'{"x":1e300}'),  # infinite in the graph's float32
        (422, b"[]"),
        (422, b'{"X":1}'),
        (400, b"not json"),
        (400, b"[" * 10_000 + b"]" * 10_000),
        (413, b" " * 20_000_000),
    ]

    with server.client() as client:
        for status, body in requests:
            answer = client.post("/predict", content=body)
            assert status == answer.status_code, body[:50]
            assert "error" in answer.json()
        assert 413 == client.post("/predict", content=iter([b" " * 1_000_000] * 20)).status_code
        # y is missing: the graph answers NaN, which is marked invalid and never leaves.
        invalid = client.post("/predict", json={"x": 1})
        assert (500, "1") == (invalid.status_code, invalid.headers["x-softlaunch-invalid"])
        assert 200 == client.post("/predict", json={"x": 1, "y": 1}).status_code


def test_a_pipeline_fitted_on_a_table_gets_a_table(serve: Callable[..., Any], releases: Any) -> None:
    generator = np.random.default_rng(1)
    table = pd.DataFrame({"x": generator.normal(size=300), "carrier": generator.choice(["AA", "UA"], size=300)})
    table.loc[:20, "carrier"] = None
    labels = np.where(table["x"] + (table["carrier"] == "AA") > 0.5, "late", "on time")
    encode = preprocessing.OneHotEncoder(handle_unknown="ignore")
    columns = compose.ColumnTransformer([("carrier", encode, ["carrier"])], remainder="passthrough")
    model = pipeline.make_pipeline(columns, linear_model.LogisticRegression()).fit(table, labels)
    inputs = (
        release.Column(name="carrier", datatype=release.Datatype.BYTES, nullable=True),
        release.Column(name="x", datatype=release.Datatype.FP64),
    )
    outputs = predictions.classifier_outputs(model.classes_)
    rows = [{"x": 0.4, "carrier": "AA"}, {"x": 0.4, "carrier": "UA"}, {"x": 0.4, "carrier": None}]
    directory = releases.write(
        release.Runtime.SKLEARN, inputs=inputs, outputs=outputs, model_file="model/model.joblib", smoke=rows
    )
    joblib.dump(model, directory / "model" / "model.joblib")
    asked = pd.DataFrame(rows)

    server = serve(directory).wait_ready()
    with server.client() as client:
        answered = client.post("/predict", json=rows).json()["predictions"]

    assert model.predict(asked).tolist() == [row["label"] for row in answered]
    assert pytest.approx(model.predict_proba(asked)[:, 1].tolist()) == [row["probability"] for row in answered]


def test_a_regressor_fitted_on_an_array_gets_an_array(serve: Callable[..., Any], releases: Any) -> None:
    model = linear_model.LinearRegression().fit(np.array([[0.0, 0], [1, 0], [0, 1]]), np.array([0.0, 1.0, 10.0]))
    directory = releases.write(
        release.Runtime.SKLEARN, outputs=predictions.regressor_outputs(), model_file="model/model.joblib"
    )
    joblib.dump(model, directory / "model" / "model.joblib")

    server = serve(directory).wait_ready()
    with server.client() as client:
        answer = client.post("/predict", json={"x": 1, "y": 2}).json()

    assert pytest.approx(21.0) == answer["prediction"]["prediction"]


ROWS_MODEL = """
    import pathlib, sqlite3, threading
    import neighbour

    class Model:
        def __init__(self, path):
            self.offset = float(pathlib.Path(path).read_text())
            self.names = sqlite3.connect(":memory:")    # refuses to be used from another thread

        def predict(self, rows):
            assert pathlib.Path("served.py").exists()    # the release's code is the working directory
            self.names.execute("select 1")
            return [neighbour.total(row) + self.offset for row in rows]
"""
BATCH_MODEL = """
    class Model:
        def predict_batch(self, columns):
            return {"prediction": columns["x"] + 10 * columns["y"]}
"""


def test_a_python_class_is_constructed_and_asked_row_by_row(serve: Callable[..., Any], releases: Any) -> None:
    directory = releases.python(ROWS_MODEL, model_file="model/offset.txt")
    (directory / "model" / "offset.txt").write_text("0.5")
    (directory / "code" / "neighbour.py").write_text("def total(row):\n    return row['x'] + 10 * row['y']\n")

    server = serve(directory).wait_ready()
    with server.client() as client:
        answer = client.post("/predict", json=[{"x": 1, "y": 2}]).json()

    assert [{"prediction": 21.5}] == answer["predictions"]


def test_a_python_class_may_be_asked_by_columns(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.python(BATCH_MODEL)).wait_ready()

    with server.client() as client:
        assert 21.0 == client.post("/predict", json={"x": 1, "y": 2}).json()["prediction"]["prediction"]
        assert isinstance(client.get("/v2/models/toy").json()["platform"], str)
        assert 404 == client.get("/v2/models/other").status_code
        assert httpx.codes.METHOD_NOT_ALLOWED == client.get("/predict").status_code
