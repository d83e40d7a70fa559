"""Two releases of a small repository, really built: where they came from and what is different, and nobody is up."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import flights_lab
import numpy as np
import pytest

from softlaunch.core import lineage_graph
from softlaunch.core.drift import distances, profile

pytestmark = pytest.mark.slow

YAML = """\
service: delivery
model: {python: "delivery.py:ByRows", inputs: {km: FP64, city: BYTES}}
reference: deliveries.csv
environments: [production]
"""
MODEL = """\
class ByRows:
    outputs = {"minutes": "FP64"}

    def predict(self, rows):
        return [{"minutes": 10.0 + row["km"]} for row in rows]
"""


def softlaunch(home: pathlib.Path, where: pathlib.Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "softlaunch.cli.main", *words, "--home", str(home)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=where, timeout=120)


def answered(home: pathlib.Path, where: pathlib.Path, *words: str) -> dict:
    done = softlaunch(home, where, *words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.servers
@pytest.mark.skipif(shutil.which("dot") is None, reason="not installed: graphviz")
def test_graphviz_reads_names_that_would_end_their_quotes() -> None:
    evil = 'a"]; evil -> b [label="\\'
    root = lineage_graph.Node(id="r", kind=lineage_graph.Kind.RELEASE, label="release")
    drawing = lineage_graph.Drawing(root)
    drawing.origin(lineage_graph.Node(id=evil, kind=lineage_graph.Kind.DATA, label=evil, detail="<b>\\N"), "went into")
    drawn = subprocess.run(
        ["dot", "-Tjson0"], input=lineage_graph.dot(drawing.graph()), capture_output=True, text=True, check=True
    )
    found = json.loads(drawn.stdout)

    assert {"release", f"data {evil}"} == {
        each["label"].split("\\n")[0].replace("\\\\", "\\") for each in found["objects"]
    }
    assert ["went into"] == [each["label"] for each in found["edges"]]


def deliveries(path: pathlib.Path, *, km: float, north: int) -> np.ndarray:
    """400 rows around so many kilometres; the same distances, shifted, for every call."""
    values = np.random.default_rng(5).normal(km, 2.0, size=400).round(3)
    cities = ["north"] * north + ["south"] * (400 - north)
    rows = "".join(f"{value},{city}\n" for value, city in zip(values, cities, strict=True))
    path.write_text(f"km,city\n{rows}")
    return values


def test_two_real_releases_tell_where_they_came_from_and_what_is_different(tmp_path) -> None:
    home, repository = tmp_path / "home", tmp_path / "delivery"
    repository.mkdir()
    flights_lab.git(repository, "init", "-q", "-b", "main")
    (repository / "softlaunch.yaml").write_text(YAML)
    (repository / "delivery.py").write_text(MODEL)
    before = deliveries(repository / "deliveries.csv", km=10.0, north=100)
    flights_lab.git(repository, "add", "-A")
    flights_lab.git(repository, "commit", "-q", "-m", "one")
    flights_lab.git(repository, "tag", "v1")
    first = answered(home, repository, "build")
    answered(home, repository, "key", "new")
    (repository / "delivery.py").write_text(MODEL.replace("10.0", "20.0"))
    (repository / "rates.py").write_text("RATE = 3\n")
    (repository / "deliveries.csv").unlink()
    after = deliveries(repository / "reference.csv", km=11.0, north=300)
    (repository / "softlaunch.yaml").write_text(YAML.replace("deliveries.csv", "reference.csv"))
    flights_lab.git(repository, "add", "-A")
    flights_lab.git(repository, "commit", "-q", "-m", "two")
    second = answered(home, repository, "build")

    unsigned = softlaunch(home, repository, "lineage", "v1")
    signed = answered(home, tmp_path, "lineage", "main")
    found = answered(home, tmp_path, "diff", "v1", "main", "--dir", str(repository))
    nodes = {node["kind"]: node for node in signed["nodes"]}

    # The first was built before there was a key: its data is told by the repository.
    assert "git:deliveries.csv" in unsigned.stdout
    assert "? unsigned" in unsigned.stdout
    assert "nobody answers" in unsigned.stderr
    assert (False, second["release"], second["commit"]) == (
        signed["live_known"],
        signed["release"],
        nodes["code"]["facts"]["commit"],
    )
    assert {"verified"} == {nodes[kind]["proof"] for kind in ("code", "data", "statement", "tests")}
    assert ("reference", "git:reference.csv") == (nodes["data"]["facts"]["role"], nodes["data"]["facts"]["uri"])

    assert (first["release"], second["release"], True) == (found["before"], found["after"], found["differs"])
    assert [("delivery.py", "changed", 1, 1), ("rates.py", "added", 1, 0)] == [
        (each["path"], each["kind"], each["added_lines"], each["removed_lines"]) for each in found["code"]
    ]
    assert [("reference", "git:deliveries.csv", "git:reference.csv")] == [
        (each["name"], each["before"]["uri"], each["after"]["uri"]) for each in found["data"]
    ]
    assert ["city", "km"] == [each["name"] for each in found["profile"]]
    city, km = found["profile"]
    expected = distances.kolmogorov_smirnov(*(profile.profile_numeric("km", each) for each in (before, after)))
    assert expected is not None
    assert (expected.value, expected.least) == (km["distance"], km["distance_least"])
    assert abs(city["distance"] - 0.5) < 0.1  # of the half of the rows that are counted
    assert [] == found["packages"] == found["model"] == found["signature"] == found["gates"] == found["runtime"]
