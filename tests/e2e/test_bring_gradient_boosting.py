"""The examples of XGBoost, LightGBM and a pipeline with texts, run as a user would; two scikit-learns at once."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import flights_lab
import httpx
import process_lab
import pytest

pytestmark = pytest.mark.slow

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "serving"
BUILD_SECONDS_MAX = 300.0
WEATHER = {"temp": 71.1, "wind_speed": 12.7, "wind_gust": None, "visib": 10}


@pytest.fixture(scope="module")
def machine() -> Iterator[process_lab.ProcessLab]:
    with process_lab.laboratory() as found:
        yield found


def commit(repository: pathlib.Path) -> None:
    if not (repository / ".git").exists():
        flights_lab.git(repository, "init", "-q", "-b", "main")
    flights_lab.git(repository, "add", "-A")
    flights_lab.git(repository, "commit", "-q", "-m", "next")


def in_folder(machine: process_lab.ProcessLab, repository: pathlib.Path) -> process_lab.ProcessLab:
    return dataclasses.replace(machine, directory=repository)


def launched(machine: process_lab.ProcessLab, name: str) -> tuple[dict[str, Any], str]:
    """The example, built and live: what the build said, and where it answers."""
    repository = machine.directory / name
    shutil.copytree(EXAMPLES / name, repository, ignore=shutil.ignore_patterns("model.*", "__pycache__"))
    commit(repository)
    here = in_folder(machine, repository)
    built = here.command("build", timeout=BUILD_SECONDS_MAX)
    assert 0 == built.code, built.out + built.err
    deployed = here.command("deploy", "--wait", "ended", timeout=BUILD_SECONDS_MAX)
    assert "promoted" == deployed.document["outcome"], deployed.out + deployed.err
    service = deployed.document["service"]
    return built.document, f"http://127.0.0.1:{machine.port}/{service}/predict"


def ask(url: str, *rows: dict[str, Any]) -> httpx.Response:
    return httpx.post(url, json={"rows": rows}, timeout=10.0, trust_env=False)


def test_an_xgboost_file_is_compiled_launched_and_asked(machine) -> None:
    report, url = launched(machine, "xgboost")

    notes = " ".join(report["notes"])
    assert "answers like the XGBoost model" in notes
    assert "largest difference" in notes
    assert "times faster" in notes
    answer = ask(url, {"hour": 18, "minute": 30, "weekday": 4, "distance": 1400, **WEATHER})
    assert 200 == answer.status_code, answer.text
    (found,) = answer.json()["predictions"]
    assert int(found["probability"] > 0.5) == found["label"]
    refused = ask(url, {"hour": 18, "minute": 30, "weekday": 4, "distance": None, **WEATHER})
    assert (422, True) == (refused.status_code, "distance" in refused.text)


def test_a_lightgbm_file_is_compiled_launched_and_asked(machine) -> None:
    report, url = launched(machine, "lightgbm")

    assert "answers like the LightGBM model" in " ".join(report["notes"])
    near, far = (
        {"hour": 18, "weekday": 4, "distance": miles, "temp": 71.1, "wind_speed": None, "visib": 10}
        for miles in (200, 2500)
    )
    answer = ask(url, near, far)
    assert 200 == answer.status_code, answer.text
    minutes = [each["prediction"] for each in answer.json()["predictions"]]
    assert 20 < minutes[0] < 80
    assert 250 < minutes[1] < 450


def test_a_pipeline_that_takes_texts_is_compiled_launched_and_asked(machine) -> None:
    report, url = launched(machine, "sklearn_text")

    notes = " ".join(report["notes"])
    assert "answers like the scikit-learn model" in notes
    assert "sklearn.compose._column_transformer.ColumnTransformer" in notes
    row = {"carrier": "UA", "origin": "EWR", "dest": "IAH", "hour": 18, "distance": 1400, "temp": None}
    answer = ask(url, row, {**row, "carrier": "never seen"}, {**row, "hour": 5})
    assert 200 == answer.status_code, answer.text
    evening, _, morning = (each["probability"] for each in answer.json()["predictions"])
    assert morning < evening


VERSIONED = {
    "softlaunch.yaml": """
service: versions
model: {python: served.py:Model, path: model.joblib, train: python train.py, inputs: {x: FP64}}
reference: rows.csv
environments:
  production:
    strategy:
      canary:
        {key: x-user-id, steps: [50%, 100%], step_attempts_min: 40, acceptable: 20%, guardrails: [errors], watch: 0s}
""",
    "rows.csv": "x\n" + "".join(f"{number}.5\n" for number in range(40)),
    "train.py": """
import joblib
from sklearn.linear_model import LogisticRegression
joblib.dump(LogisticRegression().fit([[n] for n in range(40)], [n > 20 for n in range(40)]), "model.joblib")
""",
    "served.py": """
import joblib, sklearn

class Model:
    def __init__(self, path):
        self.model = joblib.load(path)

    def predict(self, rows):
        found = self.model.predict_proba([[row["x"]] for row in rows])[:, 1]
        return [{"late": float(each), "version": sklearn.__version__} for each in found]
""",
}
OLD = "joblib==1.4.2\nnumpy==2.1.3\nscikit-learn==1.5.2\n"
NEW = "joblib==1.6.0\nnumpy==2.4.6\nscikit-learn==1.7.2\n"


@contextlib.contextmanager
def users(url: str) -> Iterator[list[tuple[str, str]]]:
    """People who ask all the time: which release answered, and with which scikit-learn; every one is answered."""
    seen: list[tuple[str, str]] = []
    wrong: list[str] = []
    over = threading.Event()

    def run() -> None:
        number = 0
        with httpx.Client(timeout=10.0, trust_env=False) as client:
            while not over.is_set():
                number += 1
                answer = client.post(url, json={"rows": [{"x": 30.0}]}, headers={"x-user-id": f"u{number * 769 % 997}"})
                if answer.status_code != 200:
                    wrong.append(answer.text)
                    continue
                document = json.loads(answer.content)
                seen.append((document["release"], document["predictions"][0]["version"]))

    asking = threading.Thread(target=run)
    asking.start()
    try:
        yield seen
    finally:
        over.set()
        asking.join()
    assert [] == wrong


def test_stable_and_candidate_answer_side_by_side_with_two_versions_of_scikit_learn(machine) -> None:
    repository = machine.directory / "versions"
    repository.mkdir()
    for name, text in VERSIONED.items():
        (repository / name).write_text(text.lstrip())
    here = in_folder(machine, repository)
    url = f"http://127.0.0.1:{machine.port}/versions/predict"
    (repository / "requirements.lock").write_text(OLD)
    commit(repository)
    first = here.command("deploy", "--wait", "ended", timeout=BUILD_SECONDS_MAX)
    assert "promoted" == first.document["outcome"], first.out + first.err

    (repository / "requirements.lock").write_text(NEW)
    commit(repository)
    with users(url) as seen:
        second = here.command("deploy", "--wait", "ended", timeout=BUILD_SECONDS_MAX)

    assert "promoted" == second.document["outcome"], second.out + second.err
    assert {"1.5.2", "1.7.2"} == {version for _, version in seen}
    assert 2 == len(set(seen)), "one release, one version"
    versions = [version for _, version in seen]
    assert "1.5.2" in versions[versions.index("1.7.2") :], "both at the same time"
    assert "1.7.2" == ask(url, {"x": 30.0}).json()["predictions"][0]["version"]
