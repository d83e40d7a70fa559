"""
The models of the comparison, the rows they are asked about, and our releases of them, built as users build them.

Three scikit-learn classifiers on the same made-up table. Rivals load the pickle or an ONNX file; what softlaunch serves
comes out of `softlaunch build`, once compiled and once not.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn.datasets
import sklearn.ensemble
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
from skl2onnx import to_onnx

from softlaunch.adapters.oci import registry
from softlaunch.config import home as homes
from softlaunch.wiring import builds

FEATURES = tuple(f"f{number}" for number in range(20))
ROW_COUNT = 10_000
ASKED_COUNT = 100
"""Rows that every server's answers are checked on before it is timed; timing sends them, too."""


def classifiers() -> dict[str, Any]:
    """Name to an untrained classifier, as the bars name them."""
    return {
        "logistic regression": sklearn.pipeline.make_pipeline(
            sklearn.preprocessing.StandardScaler(), sklearn.linear_model.LogisticRegression()
        ),
        "random forest, 50 trees": sklearn.ensemble.RandomForestClassifier(50, random_state=0),
        "gradient boosting, 100 iterations": sklearn.ensemble.HistGradientBoostingClassifier(
            max_iter=100, early_stopping=False, random_state=0
        ),
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """One trained classifier, in all the forms that are served."""

    name: str
    pickle: pathlib.Path
    onnx: pathlib.Path
    """What skl2onnx makes of it with its usual options: one tensor in, probabilities as a tensor out."""
    release: pathlib.Path
    """Unpacked, compiled."""
    release_uncompiled: pathlib.Path
    rows: tuple[tuple[float, ...], ...]
    expected: tuple[float, ...]
    """scikit-learn's probability of class 1, row by row."""
    notes: tuple[str, ...]
    """What the build said."""


def make(name: str, directory: pathlib.Path) -> Model:
    """Trains it, writes its files below `directory` and builds its releases."""
    features, labels = sklearn.datasets.make_classification(
        ROW_COUNT + ASKED_COUNT, len(FEATURES), n_informative=10, random_state=0
    )
    # Multiples of 1/64: exact in both float widths and short in JSON, so that every server computes with one number.
    table = pd.DataFrame((np.round(features * 64) / 64).astype(np.float32), columns=list(FEATURES))
    trained, asked = table.iloc[:ROW_COUNT], table.iloc[ROW_COUNT:].to_numpy()
    # Arrays, not tables: rivals pass arrays, and scikit-learn would warn of missing names on every call.
    classifier = classifiers()[name].fit(trained.to_numpy(), labels[:ROW_COUNT])
    directory.mkdir(parents=True)
    service = directory / "service"
    service.mkdir()
    joblib.dump(classifier, service / "model.joblib")
    trained.iloc[:1_000].assign(label=labels[:1_000]).to_parquet(service / "reference.parquet", index=False)
    graph = to_onnx(classifier, asked[:1], options={"zipmap": False})
    (directory / "model.onnx").write_bytes(graph.SerializeToString())
    release, notes = _build(service, directory, compiled=True)
    uncompiled, _ = _build(service, directory, compiled=False)
    return Model(
        name=name,
        pickle=service / "model.joblib",
        onnx=directory / "model.onnx",
        release=release,
        release_uncompiled=uncompiled,
        rows=tuple(tuple(map(float, row)) for row in asked),
        expected=tuple(map(float, classifier.predict_proba(asked)[:, 1])),
        notes=notes,
    )


def _build(service: pathlib.Path, directory: pathlib.Path, *, compiled: bool) -> tuple[pathlib.Path, tuple[str, ...]]:
    text = {
        "service": "bench",
        "model": {"path": "model.joblib", "compile": compiled, "features": list(FEATURES)},
        "reference": "reference.parquet",
        "environments": ["production"],
    }
    (service / "softlaunch.yaml").write_text(json.dumps(text))  # JSON is YAML
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "model", "--allow-empty"]):
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=service, check=True)
    home = homes.Home.locate(directory / "home")
    built = builds.build(home, service, "HEAD", progress=lambda *_: None)
    unpacked = directory / ("release" if compiled else "uncompiled")
    content = registry.OciRegistry(home.registry).pull(built.result.digest, unpacked)
    return unpacked, (f"runtime: {content.runtime}", *built.result.notes)
