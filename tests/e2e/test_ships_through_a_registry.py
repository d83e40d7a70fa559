"""Shipped by one machine, launched by another: through Debian's docker-registry, digest and evidence checked there."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import sys
from collections.abc import Iterator

import bring_lab
import flights_lab
import httpx
import image_lab
import process_lab
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "contract"))

import distribution_lab

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="not installed: docker-registry"),
]
MODEL = """
class Tips:
    outputs = {"tip": "FP64"}

    def predict(self, rows):
        return [{"tip": row["bill"] * 0.1} for row in rows]
"""
SERVICE = """
service: tips
model: {python: tips.py:Tips, inputs: {bill: FP64}}
environments:
  production: {strategy: {recreate: {watch: 0s}}, evidence: {require: signed}}
"""


@dataclasses.dataclass(kw_only=True)
class Machines:
    host: str
    storage: pathlib.Path
    first: bring_lab.Service
    second: process_lab.ProcessLab

    def blob(self, digest: str) -> pathlib.Path:
        name = digest.removeprefix("sha256:")
        return self.storage / "docker" / "registry" / "v2" / "blobs" / "sha256" / name[:2] / name / "data"


@pytest.fixture(scope="module")
def machines(tmp_path_factory) -> Iterator[Machines]:
    place = tmp_path_factory.mktemp("registry")
    with (
        image_lab.registry(place) as host,
        process_lab.laboratory() as machine,
        process_lab.laboratory() as second,
    ):
        repository = machine.directory / "tips"
        repository.mkdir()
        flights_lab.git(repository, "init", "-q", "-b", "main")
        first = bring_lab.Service(machine=dataclasses.replace(machine, directory=repository), name="tips")
        first.write("softlaunch.yaml", f"{SERVICE}registry: {host}/team/tips\n")
        first.write("tips.py", MODEL)
        first.commit()
        assert 0 == first.machine.command("key", "new", "--name", "ci").code
        (second.directory / "softlaunch.yaml").write_text(SERVICE)
        yield Machines(host=host, storage=place / "registry", first=first, second=second)


def test_a_registry_that_is_away_leaves_the_environment_as_it_was_and_shipping_again_sends(machines) -> None:
    first = machines.first
    closed = distribution_lab.Distribution()
    closed.password = "ana:s3cret"
    with distribution_lab.served(closed) as asks_who_it_is:
        for host, told in (("127.0.0.1:1", "cannot be reached"), (asks_who_it_is, "refuses")):
            first.write("softlaunch.yaml", f"{SERVICE}registry: {host}/team/tips\n")
            first.commit()

            failed = first.machine.command("ship", "main", timeout=bring_lab.BUILD_SECONDS_MAX)

            assert 4 == failed.code  # no fault of the commit: who follows the branch tries again
            assert ("unavailable", "image-registry") == tuple(failed.document[key] for key in ("outcome", "code"))
            assert told in failed.document["error"]
            assert ("push", "failed") == tuple(failed.document["steps"][-1][key] for key in ("name", "state"))
    assert [] == first.machine.client.get("/v1/rollouts", limit=10)

    first.write("softlaunch.yaml", f"{SERVICE}registry: {machines.host}/team/tips\n")
    first.commit()
    shipped = first.machine.command("ship", "main", timeout=bring_lab.BUILD_SECONDS_MAX)
    again = first.machine.command("ship", "main")

    assert ("promoted", "unchanged") == (shipped.document["outcome"], again.document["outcome"])
    names = [step["name"] for step in shipped.document["steps"]]
    assert names.index("sign") < names.index("push") < names.index("launch production")
    pushes = [next(step for step in each.document["steps"] if step["name"] == "push") for each in (shipped, again)]
    assert [False, True] == [step["cached"] for step in pushes]
    assert f"{machines.host}/team/tips@{shipped.document['release']}" in pushes[0]["detail"]


def test_another_machine_launches_the_same_bytes_by_digest_once_it_trusts_who_signed_them(machines) -> None:
    first, second = machines.first.machine, machines.second
    digest = first.client.get("/v1/status")["services"][0]["stable"]
    reference = f"{machines.host}/team/tips@{digest}"

    refused = second.command("deploy", reference, "--env", "production", "--wait", "ended")
    assert (2, "unsigned") == (refused.code, refused.document["code"])
    assert [] == second.client.get("/v1/rollouts", limit=10)

    (second.home.root / "keys").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(first.home.root / "keys" / "ci.pub", second.home.root / "keys" / "ci.pub")
    launched = second.command("deploy", reference, "--env", "production", "--wait", "ended")

    assert (0, digest) == (launched.code, launched.document["candidate"]), launched.out + launched.err
    answered = httpx.post(
        f"http://127.0.0.1:{second.port}/predict",
        json={"rows": [{"bill": 50.0}]},
        headers={"host": "tips.localhost"},
        trust_env=False,
    )
    assert [{"tip": 5.0}] == answered.json()["predictions"]
    again = second.command("deploy", digest)
    assert "unchanged" == again.document["outcome"]


def test_a_blob_that_was_changed_in_the_registry_is_refused_before_anything_of_it_runs(machines) -> None:
    first, second = machines.first, machines.second
    first.write("tips.py", MODEL.replace("0.1", "0.2"))
    shipped = first.built()
    pushed = first.machine.command("registry", "push", "main").document  # where softlaunch.yaml says
    reference = f"{machines.host}/team/tips@{shipped['release']}"
    assert reference == pushed["reference"]
    manifest = httpx.get(
        f"http://{machines.host}/v2/team/tips/manifests/{shipped['release']}",
        headers={"accept": "application/vnd.oci.image.manifest.v1+json"},
    ).json()
    blob = machines.blob(manifest["layers"][-1]["digest"])
    whole = blob.read_bytes()
    blob.write_bytes(whole.replace(b"0.2", b"0.9"))
    before = second.client.get("/v1/rollouts", limit=10)

    refused = second.command("deploy", reference, "--env", "production", "--wait", "ended")

    assert (4, "image-registry") == (refused.code, refused.document["code"])
    assert "other bytes" in refused.document["error"]
    assert before == second.client.get("/v1/rollouts", limit=10)
    assert shipped["release"] not in json.dumps(second.command("registry", "list").document)
    blob.write_bytes(whole)
    launched = second.command("deploy", reference, "--env", "production", "--wait", "no")
    assert (0, shipped["release"]) == (launched.code, launched.document["candidate"])
