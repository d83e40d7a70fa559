from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn import linear_model

from softlaunch.core import predictions, release


def no_release(releases: Any) -> Any:
    return releases.place


def garbage_description(releases: Any) -> Any:
    directory = releases.onnx()
    (directory / "release.json").write_text("{")
    return directory


def missing_file(releases: Any) -> Any:
    directory = releases.onnx()
    (directory / "model" / "model.onnx").unlink()
    return directory


def garbage_graph(releases: Any) -> Any:
    directory = releases.onnx()
    (directory / "model" / "model.onnx").write_bytes(b"nonsense")
    return directory


def other_features(releases: Any) -> Any:
    more = [release.Column(name=name, datatype=release.Datatype.FP64) for name in "xyz"]
    return releases.onnx(inputs=more, smoke=[])


def other_smoke_rows(releases: Any) -> Any:
    return releases.onnx(smoke=[{"x": 1, "why": 2}])


def garbage_pickle(releases: Any) -> Any:
    outputs = predictions.regressor_outputs()
    directory = releases.write(release.Runtime.SKLEARN, outputs=outputs, model_file="model/model.joblib")
    (directory / "model" / "model.joblib").write_bytes(b"nonsense")
    return directory


def pickle_of_a_missing_module(releases: Any) -> Any:
    directory = garbage_pickle(releases)
    (directory / "model" / "model.joblib").write_bytes(b"cnowhere.to.be.found\nModel\n.")
    return directory


def pickle_of_another_width(releases: Any) -> Any:
    directory = garbage_pickle(releases)
    model = linear_model.LinearRegression().fit(np.eye(3), np.arange(3.0))
    joblib.dump(model, directory / "model" / "model.joblib")
    return directory


def import_error(releases: Any) -> Any:
    return releases.python("import nowhere_to_be_found\nclass Model: ...")


def syntax_error(releases: Any) -> Any:
    return releases.python("class Model(:")


def no_class(releases: Any) -> Any:
    return releases.python("class Models: ...")


def no_method(releases: Any) -> Any:
    return releases.python("class Model: ...")


def no_module(releases: Any) -> Any:
    return releases.python("", target="other.py:Model")


def constructor_raises(releases: Any) -> Any:
    return releases.python("class Model:\n    def __init__(self):\n        raise OSError('no\\nlicence')")


def every_smoke_row_raises(releases: Any) -> Any:
    return releases.python("class Model:\n    def predict(self, rows):\n        raise KeyError('gone')")


@pytest.mark.parametrize(
    ("broken", "code", "words"),
    [
        (no_release, "release-unreadable", "is not an unpacked release"),
        (garbage_description, "release-unreadable", "cannot be read"),
        (missing_file, "model-unloadable", "no file model/model.onnx"),
        (garbage_graph, "model-unloadable", "not an ONNX model"),
        (other_features, "model-mismatch", "3 features"),
        (other_smoke_rows, "model-mismatch", "'why'"),
        (garbage_pickle, "model-unloadable", "cannot be unpickled"),
        (pickle_of_a_missing_module, "model-unloadable", "needs the module 'nowhere'"),
        (pickle_of_another_width, "model-mismatch", "3 features"),
        (import_error, "model-unloadable", "'nowhere_to_be_found'"),
        (syntax_error, "model-unloadable", "SyntaxError"),
        (no_class, "model-unloadable", "Did you mean 'Models'?"),
        (no_method, "model-unloadable", "neither predict(rows) nor predict_batch(columns)"),
        (no_module, "model-unloadable", "no other.py"),
        (constructor_raises, "model-unloadable", "OSError: no licence"),
        (every_smoke_row_raises, "model-unloadable", "KeyError: 'gone'"),
    ],
)
def test_a_broken_release_ends_the_process_with_one_line_that_says_why(
    broken: Callable[[Any], Any],
    code: str,
    words: str,
    serve: Callable[..., Any],
    releases: Any,
) -> None:
    server = serve(broken(releases))
    _, said = server.process.communicate(timeout=60)

    *before, line = said.splitlines()
    assert 1 == server.process.returncode
    assert line.startswith(f"softlaunch.serving: {code}: ")
    assert words in line
    assert "Traceback" not in said
    assert len(before) <= (broken is every_smoke_row_raises)  # that one says first that the batch raised
    assert not server.socket.exists()


def test_a_model_that_answers_some_smoke_rows_is_ready(serve: Callable[..., Any], releases: Any) -> None:
    code = "class Model:\n    def predict(self, rows):\n        return [1 / row['x'] for row in rows]"
    server = serve(releases.python(code, smoke=[{"x": 0}, {"x": 1}]))

    server.wait_ready()
    with server.client() as client:
        failed = client.post("/predict", json={"x": 0})
        assert (500, True) == (failed.status_code, "ZeroDivisionError" in failed.json()["error"])
        assert 200 == client.post("/predict", json={"x": 2}).status_code


def test_a_path_too_long_for_a_socket_is_said(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.onnx(), name="s" * 100)
    _, said = server.process.communicate(timeout=60)

    assert 1 == server.process.returncode
    assert "107 are possible" in said


def test_an_onnx_server_is_ready_in_seconds(serve: Callable[..., Any], releases: Any) -> None:
    directory = releases.onnx()
    serve(directory).wait_ready()  # warms the file cache
    started = time.monotonic()
    serve(directory, name="second.sock").wait_ready()

    # Alone 0.5 s; the bar is 1 s, and ten are allowed because tests share the machine.
    assert time.monotonic() - started < 10
