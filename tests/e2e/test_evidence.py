"""An environment that asks for signed evidence takes a signed release, and no other, at launch and at every start."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import bring_lab
import flights_lab
import process_lab
import psutil
import pytest

pytestmark = pytest.mark.slow

SERVICE = """\
service: tips
model: {python: tips.py:Model, inputs: {bill: FP64}}
environments:
  production: {evidence: {require: signed}, strategy: recreate, replicas: 2}
"""
MODEL = """\
class Model:
    outputs = {"tip": "FP64"}

    def predict(self, rows):
        return [{"tip": row["bill"] * SHARE} for row in rows]
"""
STARTED_SECONDS_MAX = 30.0


@pytest.fixture
def tips(tmp_path) -> Iterator[bring_lab.Service]:
    with process_lab.laboratory() as machine:
        repository = machine.directory / "tips"
        repository.mkdir()
        flights_lab.git(repository, "init", "-q", "-b", "main")
        found = bring_lab.Service(
            machine=process_lab.ProcessLab(
                home=machine.home, port=machine.port, variables=machine.variables, directory=repository
            ),
            name="tips",
        )
        found.write("softlaunch.yaml", SERVICE)
        found.write("tips.py", MODEL.replace("SHARE", "0.1"))
        yield found


def details(machine: process_lab.ProcessLab) -> str:
    return json.dumps(machine.command("status").document)


def test_what_is_not_signed_is_refused_at_launch_and_before_a_model_is_loaded(tips) -> None:
    machine = tips.machine
    tips.commit()
    refused = machine.command("deploy", "--wait", "ended", timeout=bring_lab.BUILD_SECONDS_MAX)
    assert (2, "unsigned") == (refused.code, json.loads(refused.out)["code"])

    assert 0 == machine.command("key", "new").code
    tips.deploy()  # built before: signed now
    assert [{"tip": 5.0}] == tips.answers({"bill": 50.0})
    verified = machine.command("verify", "main")
    assert (0, True) == (verified.code, verified.document["verified"])

    told = machine.command("lineage", "main").document
    assert ["live"] == [node["detail"] for node in told["nodes"] if node["kind"] == "place"]
    # The commit of the refused launch was built before there was a key, and is of the same content.
    assert ["unsigned", "verified"] == [node["proof"] for node in told["nodes"] if node["kind"] == "code"]
    assert {"verified"} == {node["proof"] for node in told["nodes"] if node["kind"] in ("statement", "tests")}

    # Somebody takes a statement out of the registry, and a replica dies.
    index = machine.home.registry / "index.json"
    whole = index.read_bytes()
    document = json.loads(whole)
    document["manifests"] = [
        each for each in document["manifests"] if "/metrics/" not in str(each.get("annotations", ""))
    ]
    assert len(json.loads(whole)["manifests"]) == len(document["manifests"]) + 1
    index.write_text(json.dumps(document))
    refused = machine.command("verify", "main")
    assert (1, False) == (refused.code, refused.document["verified"])
    serving = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "softlaunch.serving" in " ".join(process.info["cmdline"] or ())
        and str(machine.home.root) in " ".join(process.info["cmdline"] or ())
    ]
    serving[0].kill()
    give_up = time.monotonic() + STARTED_SECONDS_MAX
    log = machine.home.logs / "control-plane.log"
    while "may not run there" not in log.read_text() and "may not run there" not in details(machine):
        assert time.monotonic() < give_up, log.read_text()[-2_000:]
        time.sleep(0.1)
    assert [{"tip": 5.0}] == tips.answers({"bill": 50.0})  # the other replica is what it was

    index.write_bytes(whole)
    assert 0 == machine.command("verify", "main").code
