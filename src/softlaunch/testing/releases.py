"""Releases made on the spot, for experiments and tests that are not about building."""

from __future__ import annotations

import json
import pathlib

from softlaunch.core import predictions, release, release_json

SERVICE = "demo"
GOOD = """
class Predictor:
    def predict(self, rows):
        return [{"label": 1, "probability": 0.5} for _ in rows]
"""
"""Three numbers in, a label and its probability out."""
SMOKE_ROW = {"x0": 1.0, "x1": 0.5, "x2": 0.1}
LIVE_ROW = {"x0": -1.0, "x1": 0.25, "x2": 0.5}
"""x0 is positive in smoke rows and negative in live traffic: planted faults look at its sign."""


def faulty(statement: str) -> str:
    """A predictor that is good until a live row comes, and then executes `statement`."""
    return f"""
import os, time
class Predictor:
    def predict(self, rows):
        if any(row["x0"] < 0 for row in rows):
            {statement}
        return [{{"label": 1, "probability": 0.5}} for _ in rows]
"""


def write(directory: pathlib.Path, *, name: str, source: str = GOOD) -> pathlib.Path:
    """
    Writes an unpacked release around a class `Predictor`; returns its directory, ready for Registry.push.

    Args:
        directory: Made; must not exist.
        name: Goes into the code, so that another name is another digest.
        source: Python that defines the class.
    """
    (directory / "code").mkdir(parents=True)
    (directory / "code" / "model.py").write_text(f"# {name}\n{source}")
    (directory / "smoke.json").write_text(json.dumps([SMOKE_ROW]))
    content = release.ReleaseContent(
        service=SERVICE,
        runtime=release.Runtime.PYTHON,
        model_file=None,
        python_target="model.py:Predictor",
        signature=release.Signature(
            inputs=tuple(release.Column(name=feature, datatype=release.Datatype.FP64) for feature in SMOKE_ROW),
            outputs=predictions.classifier_outputs((0, 1)),
        ),
        lock_file=None,
        profile_file=None,
        smoke_file="smoke.json",
    )
    (directory / "release.json").write_bytes(release_json.dump_content(content))
    return directory
