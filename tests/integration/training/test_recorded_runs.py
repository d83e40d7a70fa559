"""Real commands, recorded by the real command line."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

DEADLINE_SECONDS = 20.0
TRAIN = """\
import json, os, pathlib, sys, time
for step in range(3):
    print(f"epoch {step} loss={1 / (step + 1):.2f} secret={os.environ.get('MY_TOKEN', '')}")
    with open(os.environ["SOFTLAUNCH_METRICS"], "a") as stream:
        stream.write(json.dumps({"step": step, "kept_share": 0.5}) + "\\n")
pathlib.Path(os.environ["SOFTLAUNCH_PARAMS"]).write_text('{"depth": 3}')
pathlib.Path("model.bin").write_text("model")
pathlib.Path("there.txt").read_text()
print("to stderr", file=sys.stderr)
"""
WAIT = """\
import pathlib, signal, sys, time
def stop(number, frame):
    pathlib.Path("told").write_text(str(number))
    sys.exit(7)
signal.signal(signal.SIGINT, stop)
print("loss=0.5")
pathlib.Path("ready").write_text(str(__import__("os").getpid()))
time.sleep(60)
"""
SERVICE = """\
service: tumours
model: model.joblib
reference: reference.csv
environments:
  production: {strategy: recreate}
"""
LEARN = """\
import joblib, sys
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rows, malignant = load_breast_cancer(return_X_y=True, as_frame=True)
rows = rows.iloc[:, :4].rename(columns=lambda name: name.replace(" ", "_"))
model = make_pipeline(StandardScaler(), LogisticRegression(C=float(sys.argv[2]))).fit(rows, malignant)
print(f"accuracy: {model.score(rows, malignant):.3f}")
joblib.dump(model, "model.joblib")
rows.to_csv("reference.csv", index=False)
"""

FOLDER_SERVICE = """\
service: bills
model: {python: own.py:Tip, path: parts, inputs: {bill: FP64}}
environments: [production]
"""
OWN = """\
import pathlib
class Tip:
    outputs = {"tip": "FP64"}
    def __init__(self, path):
        self.rate = float((pathlib.Path(path) / "deep" / "rate.txt").read_text())
    def predict(self, rows):
        return [self.rate * row["bill"] for row in rows]
"""
LEARN_FOLDER = """\
import pathlib
pathlib.Path("parts/deep").mkdir(parents=True)
pathlib.Path("parts/deep/rate.txt").write_text("0.15")
pathlib.Path("parts/MLmodel").write_text("flavors: {}\\nrun_id: 0123456789abcdef0123456789abcdef\\n")
print("mae: 0.25")
"""
MLFLOW_META = """\
run_name: night
start_time: 1763900000000
end_time: 1763900060000
status: 3
"""


class Lab:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.home = folder / "home"
        self.variables = {**os.environ, "SOFTLAUNCH_HOME": str(self.home)}

    def begin(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "softlaunch.cli.main", *words],
            cwd=self.folder,
            env={**self.variables, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, code: int = 0, **variables: str) -> str:
        process = self.begin(*words, **variables)
        out, err = process.communicate(timeout=300)
        assert code == process.returncode, out + err
        return out

    def document(self, *words: str, code: int = 0, **variables: str):
        return json.loads(self.run(*words, code=code, **variables))

    def commit(self, message: str) -> None:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*identity, "commit", "-q", "-m", message)):
            subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True)

    def wait_for(self, name: str) -> str:
        path, deadline = self.folder / name, time.monotonic() + DEADLINE_SECONDS
        while not (path.is_file() and path.read_text()):
            assert time.monotonic() < deadline, name
            time.sleep(0.02)
        return path.read_text()


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab(tmp_path)


def test_a_run_leaves_its_metrics_parameters_output_and_files(lab) -> None:
    (lab.folder / "train.py").write_text(TRAIN)
    (lab.folder / "there.txt").write_text("there")
    command = (sys.executable, "train.py", "--lr", "0.1", "--password", "hunter2")
    out = lab.run("run", "--name", "night", "--param", "data=2026", "--", *command, MY_TOKEN="s3cr3t-value")
    found = lab.document("runs", "show", "night", "--json")

    assert "epoch 2 loss=0.33" in out
    assert ("succeeded", 0) == (found["outcome"], found["exit_code"])
    assert {"data": "2026", "depth": "3", "lr": "0.1", "password": "[secret]"} == found["parameters"]
    metrics = {each["name"]: (each["last"], each["step"], each["count"]) for each in found["metrics"]}
    assert {"loss": (0.33, 2, 3), "kept_share": (0.5, 2, 3)} == metrics
    assert ["model.bin"] == [each["path"] for each in found["files"]]
    assert found["resources"]["cpu_seconds"] > 0
    assert found["resources"]["ram_bytes_max"] > 1_000_000
    folder = pathlib.Path(found["record"])
    log = (folder / "output.log").read_text()
    assert "to stderr" in log
    kept = "".join(path.read_text() for path in folder.iterdir())
    assert [] == [secret for secret in ("s3cr3t-value", "hunter2") if secret in kept]


def test_the_exit_code_is_the_command_s(lab) -> None:
    found = lab.document("run", "--json", "--", "sh", "-c", "echo said; exit 9", code=9)
    missing = lab.document("run", "--json", "--", "no-such-program-anywhere", code=2)
    killed = lab.document("run", "--json", "--", "sh", "-c", "kill -9 $$", code=137)

    assert ("failed", 9) == (found["outcome"], found["exit_code"])
    assert "training-command" == missing["code"]
    assert "failed" == killed["outcome"]
    assert ["failed"] * 3 == [each["outcome"] for each in lab.document("runs", "list", "--json")]


def test_ctrl_c_goes_to_the_command_and_the_run_is_recorded(lab) -> None:
    (lab.folder / "wait.py").write_text(WAIT)
    process = lab.begin("run", "--", sys.executable, "wait.py")
    lab.wait_for("ready")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_SECONDS)

    assert 7 == process.returncode
    assert str(int(signal.SIGINT)) == lab.wait_for("told")
    assert ["failed"] == [each["outcome"] for each in lab.document("runs", "list", "--json")]


def test_a_run_whose_recorder_was_killed_is_interrupted_and_not_before(lab) -> None:
    (lab.folder / "wait.py").write_text(WAIT)
    process = lab.begin("run", "--", sys.executable, "wait.py")
    pid = int(lab.wait_for("ready"))
    try:
        assert ["running"] == [each["outcome"] for each in lab.document("runs", "list", "--json")]
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)
        assert ["interrupted"] == [each["outcome"] for each in lab.document("runs", "list", "--json")]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_release_is_tied_to_the_run_that_made_its_model_and_keeps_its_digest(lab) -> None:
    (lab.folder / "learn.py").write_text(LEARN)
    (lab.folder / "softlaunch.yaml").write_text(SERVICE)
    run = lab.document("run", "--json", "--", sys.executable, "learn.py", "--C", "0.5")
    assert run["metrics"][0]["name"] == "accuracy"
    assert run["metrics"][0]["last"] > 0.85
    lab.commit("model")
    lab.run("key", "new")
    release = lab.document("build", "--json")["release"]

    (use,) = lab.document("runs", "show", run["run"], "--json")["releases"]
    assert (release, "tumours") == (use["release"], use["service"])
    verified = lab.document("verify", release, "--json")
    (said,) = [each["predicate"] for each in verified["statements"] if each["kind"] == "training"]
    assert (run["run"], run["digest"]) == (said["run"], said["digest"]["sha256"])
    assert {"C": "0.5"} == said["record"]["parameters"]

    elsewhere = lab.document("build", "--json", SOFTLAUNCH_HOME=str(lab.folder.parent / "elsewhere"))
    assert release == elsewhere["release"]


@pytest.mark.slow
def test_a_model_folder_is_tied_by_its_digest_or_by_the_mlflow_run_it_names(lab) -> None:
    for name, text in (("own.py", OWN), ("learn.py", LEARN_FOLDER), ("softlaunch.yaml", FOLDER_SERVICE)):
        (lab.folder / name).write_text(text)
    run = lab.document("run", "--json", "--", sys.executable, "learn.py")
    lab.commit("as it was made")
    lab.run("key", "new")
    release = lab.document("build", "--json")["release"]

    (use,) = lab.document("runs", "show", run["run"], "--json")["releases"]
    assert (release, "digest") == (use["release"], use["by"])
    assert "its model is parts/" in lab.run("runs", "show", run["run"])
    (said,) = [
        each["predicate"]
        for each in lab.document("verify", release, "--json")["statements"]
        if each["kind"] == "training"
    ]
    assert {"sha256": use["sha256"], "path": "parts/", "tied_by": "digest"} == said["model"]

    (lab.folder / "parts" / "deep" / "rate.txt").write_text("0.2")  # nobody recorded that
    lab.commit("by hand")
    alone = lab.document("build", "--json")["release"]
    assert [release] == [each["release"] for each in lab.document("runs", "show", run["run"], "--json")["releases"]]
    mlflow = "mlflow:0123456789abcdef0123456789abcdef"
    assert "no-training-run" == lab.document("runs", "show", mlflow, "--json", code=2)["code"]
    store = lab.folder.parent / "mlruns" / "0" / mlflow.partition(":")[2]
    (store / "metrics").mkdir(parents=True)
    (store / "meta.yaml").write_text(MLFLOW_META)
    (store / "metrics" / "mae").write_text("1763900000000 0.2 0\n")
    assert alone == lab.document("build", "--json", MLFLOW_TRACKING_URI=str(store.parents[1]))["release"]
    found = lab.document("runs", "show", mlflow, "--json")
    assert [(alone, "mlflow run id")] == [(each["release"], each["by"]) for each in found["releases"]]
    assert 0.2 == found["metrics"][0]["last"]


@pytest.mark.slow
def test_training_by_a_build_is_recorded_and_tied(lab) -> None:
    service = FOLDER_SERVICE.replace("path: parts,", "path: parts, train: python learn.py --rate 0.15,")
    for name, text in (("own.py", OWN), ("learn.py", LEARN_FOLDER), ("softlaunch.yaml", service)):
        (lab.folder / name).write_text(text)
    lab.commit("trained by the build")
    release = lab.document("build", "--json")["release"]

    (found,) = lab.document("runs", "list", "--json")
    assert ("succeeded", ["python", "learn.py", "--rate", "0.15"]) == (found["outcome"], found["command"])
    assert [release] == [each["release"] for each in found["releases"]]
    assert ({"rate": "0.15"}, ["mae"]) == (found["parameters"], [each["name"] for each in found["metrics"]])
    assert found["code"]["commit"]
    assert found["resources"]["cpu_seconds"] > 0
    (lab.folder / "README.md").write_text("more")
    (lab.folder / "learn.py").write_text(LEARN_FOLDER + "raise SystemExit('no more data')\n")
    lab.commit("a training that fails")
    said = lab.document("build", "--json", code=2)
    assert ("train-failed", True) == (said["code"], "no more data" in said["error"])
    assert ["failed", "succeeded"] == [each["outcome"] for each in lab.document("runs", "list", "--json")]
