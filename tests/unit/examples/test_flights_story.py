"""The example's releases fit together, and each bad one has the bug it is there for."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import subprocess
import sys
import types

import pytest

from softlaunch.config import service_file
from softlaunch.core import spec
from softlaunch.testing import http_answers

FLIGHTS = pathlib.Path(__file__).parents[3] / "examples" / "flights"


def load_story() -> types.ModuleType:
    found = importlib.util.spec_from_file_location("flights_story", FLIGHTS / "story.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["flights_story"] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


story = load_story()

SCORE = """
import itertools, json, sys
import numpy as np, pandas as pd
import prepare, train, features, joblib
joined = prepare.join(*prepare.read(__import__("pathlib").Path(sys.argv[1])))
live = joined[joined["month"].between(7, 12)].sample(2000, random_state=1)
prepare.write(*prepare.read(__import__("pathlib").Path(sys.argv[1])), __import__("pathlib").Path("data"))
train.main()
import delay
predictor = delay.Predictor("model.joblib")
raised = missing = 0
for _, row in live[features.FEATURES].iterrows():
    columns = {name: np.array([row[name]]) for name in features.FEATURES}
    try:
        missing += bool(np.isnan(predictor.predict_batch(columns)["probability"][0]))
    except KeyError:
        raised += 1
holdout = predictor.predict_batch(pd.read_parquet("data/holdout.parquet"))["probability"]
print(json.dumps({"raised": raised / 2000, "missing": missing / 2000, "holdout": int(np.isnan(holdout).sum())}))
"""


def lay_out(tag: str, directory: pathlib.Path) -> pathlib.Path:
    chapter = next(each for each in story.CHAPTERS if each.tag == tag)
    story._lay_out(directory, chapter)
    return directory


def answer(body: bytes) -> http_answers.Answer:
    return http_answers.Answer(200, {}, body)


@pytest.mark.parametrize("tag", [each.tag for each in story.CHAPTERS])
def test_the_service_file_of_every_release_is_accepted(tag: str, tmp_path: pathlib.Path) -> None:
    found = service_file.parse_bytes((lay_out(tag, tmp_path) / "softlaunch.yaml").read_bytes())

    production = found.environment("production")
    assert production is not None
    assert spec.GUARDRAILS_DEFAULT == production.strategy.guardrails
    assert (tag == "v4") is bool(production.env)
    assert (tag in ("v3", "v4", "v5")) is (found.model.python_target is not None)


def test_a_release_leaves_nothing_behind_in_the_next_one(tmp_path: pathlib.Path) -> None:
    lay_out("v4", tmp_path)

    assert not (lay_out("v2", tmp_path) / "ground_stops.py").exists()


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        (b'{"predictions": [{"label": 0, "probability": 0.2}], "release": "abc"}', True),
        (b'{"predictions": [{"label": 0, "probability": 1.2}]}', False),
        (b'{"predictions": [{"label": 0, "probability": NaN}]}', False),
        (b'{"predictions": [{"label": 0, "probability": null}]}', False),
        (b'{"predictions": []}', False),
        (b'{"prediction": {}}', False),
        (b"[]", False),
        (b"oops", False),
    ],
)
def test_a_traveller_wants_one_probability(body: bytes, *, valid: bool) -> None:
    assert valid is story.valid(answer(body))


def test_a_missing_reading_is_null_in_a_request() -> None:
    assert json.dumps([story.plain(each) for each in ("UA", float("nan"), 7.0, 59.37)]) == '["UA", null, 7, 59.37]'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tag", "raised", "missing"), [("v3", (0.1, 0.3), (0, 0)), ("v4", (0, 0), (0, 0)), ("v5", (0, 0), (0.05, 0.2))]
)
def test_a_bad_release_fails_on_live_flights_and_not_on_held_out_ones(
    tag: str, raised: tuple[float, float], missing: tuple[float, float], tmp_path: pathlib.Path
) -> None:
    directory = lay_out(tag, tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(story.raw())], cwd=directory, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert raised[0] <= found["raised"] <= raised[1]
    assert missing[0] <= found["missing"] <= missing[1]
    assert found["holdout"] == 0
