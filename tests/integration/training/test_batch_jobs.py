"""Batch jobs by the real command line: what is published is old or new, and whole."""

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

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 20.0
PUBLISH = """\
import itertools, pathlib, sys
from softlaunch.controller import jobs
root, link = map(pathlib.Path, sys.argv[1:])
job = jobs.Job(name="s", command=("true",), directory=".", publish=str(link), keep=2)
found = jobs.Jobs(root)
with found.held("s"):
    for number in itertools.count():
        made = root / f"made-{number:06}"
        made.mkdir()
        (made / "o").write_text(str(number % 10) * 100_000)
        found.keep(job, made.name, made)
        found.publish(job, made.name)
        found.prune(job)
"""
BATCH = """\
import os, pathlib, sys, time
count, top = int(sys.argv[1]), float(sys.argv[2])
folder = pathlib.Path(os.environ["SOFTLAUNCH_OUTPUT"])
with open(folder / "scores.csv", "w") as stream:
    stream.write("id,score\\n")
    for row in range(count):
        stream.write(f"{row},{top * row / count}\\n")
    stream.flush()
    if len(sys.argv) > 3:
        pathlib.Path(sys.argv[3]).write_text(str(os.getpid()))
        time.sleep(60)
"""
CHECKS = ("--publish", "scores", "--output", "scores.csv", "--range", "score:0:1", "--rows-change-percent-max", "20")


class Lab:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.home = folder / "work", folder / "home"
        self.folder.mkdir()
        (self.folder / "batch.py").write_text(BATCH)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "softlaunch.cli.main", "job", *words],
            cwd=self.folder,
            env={**os.environ, "SOFTLAUNCH_HOME": str(self.home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def job(self, *words: str, code: int = 0):
        head = words[: words.index("--")] if "--" in words else words
        process = self.begin(*head, "--json", *words[len(head) :])
        out, _ = process.communicate(timeout=60)
        assert code == process.returncode, out
        return json.loads(out)

    def batch(self, count: int, top: float = 1.0, code: int = 0):
        return self.job("run", "s", *CHECKS, "--", sys.executable, "batch.py", str(count), str(top), code=code)

    @property
    def row_count(self) -> int:
        return len((self.folder / "scores" / "scores.csv").read_text().splitlines()) - 1


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab(tmp_path)


def test_an_output_that_fails_a_gate_is_not_published_and_a_good_one_can_be_restored(lab) -> None:
    first = lab.batch(100)
    assert 100 == lab.row_count
    bad = lab.batch(100, top=3.0, code=1)
    assert ("gates_failed", None) == (bad["outcome"], bad["published"])
    assert ["range score"] == [gate["name"] for gate in bad["gates"] if not gate["passed"]]
    assert 100 == lab.row_count
    lab.batch(50, code=1)  # half of the rows are gone
    second = lab.batch(110)
    assert 110 == lab.row_count

    assert {"job": "s", "published": first["run"]} == lab.job("restore", "s")
    assert 100 == lab.row_count
    assert second["run"] == lab.job("restore", "s", "--to", second["run"])["published"]
    assert lab.job("run", "s")["published"] == str(lab.folder / "scores")  # what is good is what is repeated
    assert 110 == lab.row_count
    shown = lab.job("show", "s")
    assert [first["run"], second["run"]] == sorted(shown["good"])[:2]


FILE = """\
service: churn
jobs:
  s:
    command: {python} batch.py 100 $TOP
    outputs:
      scores.csv: {{ranges: {{score: [0, 1]}}}}
      parts/*.csv: {{rows_min: 4, columns: [day]}}
      done.txt:
    publish: out/scores
    timeout: {timeout}
    env: {{TOP: $TOP}}
    secrets: {{PASSWORD: $SECRET_ENOUGH}}
"""
BATCH_OF_FILE = """\
import os, pathlib, time
folder = pathlib.Path(os.environ["SOFTLAUNCH_OUTPUT"])
(folder / "scores.csv").write_text(f"id,score\\n1,{os.environ['TOP']}\\n")
(folder / "parts").mkdir()
for number in range(2):
    (folder / "parts" / f"{number}.csv").write_text("a,day\\n1,2026-11-23\\n2,2026-11-24\\n")
(folder / "done.txt").write_text("good")
print("the password is", os.environ["PASSWORD"], flush=True)
time.sleep(float(os.environ.get("NAP", "0")))
"""


def test_a_job_of_softlaunch_yaml_needs_no_options_and_keeps_its_secrets(lab, monkeypatch) -> None:
    def written(timeout: str, name: str = "s") -> None:
        text = (
            FILE.format(python=sys.executable, timeout=timeout).replace(" 100 $TOP", "").replace("  s:", f"  {name}:")
        )
        (lab.folder / "softlaunch.yaml").write_text(text)

    (lab.folder / "batch.py").write_text(BATCH_OF_FILE)
    written("1h")
    assert "secret-unreadable" == lab.job("run", "s", code=2)["code"]
    monkeypatch.setenv("SECRET_ENOUGH", "hunter22hunter")
    monkeypatch.setenv("TOP", "0.5")
    assert [("s", None)] == [(each["name"], each["published"]) for each in lab.job("run")]
    first = lab.job("run", "s")

    assert str(lab.folder / "out" / "scores") == first["published"]
    assert {"scores.csv: range score", "parts/*.csv: rows", "parts/*.csv: column day", "done.txt: output"} <= {
        gate["name"] for gate in first["gates"]
    }
    assert "good" == (lab.folder / "out" / "scores" / "done.txt").read_text()
    kept = b"".join(path.read_bytes() for path in lab.home.rglob("*") if path.is_file())
    assert b"hunter22hunter" not in kept
    assert b"the password is [secret]" in kept
    lab.job("run", "s", "--rows-min", "5", code=1)  # options go before the file
    monkeypatch.setenv("TOP", "3")
    assert ["scores.csv: range score"] == [
        gate["name"] for gate in lab.job("run", "s", code=1)["gates"] if not gate["passed"]
    ]
    said = lab.job("run", "z", code=2)
    assert ("no-job", "Jobs there are: s.") == (said["code"], said["remedy"][:18])
    monkeypatch.setenv("NAP", "60")
    written("1s")
    stopped = lab.job("run", "s", code=128 + signal.SIGTERM)
    assert ("failed", ["stopped: it had not ended after 1s"]) == (stopped["outcome"], stopped["notes"])
    written("1s", name="t")
    assert "no-job" == lab.job("run", "s", code=2)["code"]  # what is not in its file any more is not repeated
    assert first["run"] in lab.job("list")[1]["good"]


def test_a_place_that_is_taken_is_refused_before_anything_runs(lab) -> None:
    (lab.folder / "scores").mkdir()

    assert "job-publish" == lab.batch(10, code=2)["code"]
    assert not (lab.home / "training").exists()


def test_one_run_of_a_job_at_a_time_and_a_killed_one_leaves_what_was_published(lab) -> None:
    lab.batch(100)
    process = lab.begin("run", "s", *CHECKS, "--", sys.executable, "batch.py", "110", "1", "half")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ((lab.folder / "half").is_file() and (lab.folder / "half").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        assert "job-runs" == lab.batch(100, code=3)["code"]
        assert "job-runs" == lab.job("restore", "s", code=3)["code"]
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)
        assert 100 == lab.row_count
        lab.batch(105)
        assert 105 == lab.row_count
    finally:
        os.kill(int((lab.folder / "half").read_text()), signal.SIGKILL)


def test_a_reader_sees_whole_outputs_while_the_publisher_is_killed(tmp_path) -> None:
    link = tmp_path / "link"
    for turn in range(2):
        root = tmp_path / f"jobs{turn}"
        link.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", PUBLISH, str(root), str(link)])
        deadline, seen = time.monotonic() + DEADLINE_SECONDS, set()
        while len(seen) < 3 and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):  # not yet; or two were published between resolving and opening
                seen.add((link / "o").read_text())
        process.kill()
        process.wait()
        seen.add((link / "o").read_text())

        assert len(seen) >= 3
        assert {(1, 100_000)} == {(len(set(text)), len(text)) for text in seen}
