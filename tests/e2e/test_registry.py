"""Releases and their evidence through Debian's docker-registry, from one home into another."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import httpx
import image_lab
import pytest

from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.testing import releases

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="not installed: docker-registry"),
]


def softlaunch(home: pathlib.Path, *words: str) -> dict:
    command = [sys.executable, "-m", "softlaunch.cli.main", *words, "--home", str(home), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: not verified, an answer too
    return json.loads(done.stdout)


def test_evidence_travels_with_its_release_where_there_is_no_referrers_api(tmp_path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    directory = releases.write(tmp_path / "release", name="demo")
    (directory / "model").mkdir(exist_ok=True)
    (directory / "model" / "weights.bin").write_bytes(bytes(40 << 20))  # more than one part of an upload
    digest = oci_registry.OciRegistry(here / "registry").push(directory).value
    here.chmod(0o700)
    (here / "registry").chmod(0o700)
    report = tmp_path / "junit.xml"
    report.write_text("<testsuite/>")
    softlaunch(here, "key", "new", "--name", "ci")
    softlaunch(here, "attest", digest, "--junit", str(report), "--key", "ci")
    (there / "keys").mkdir(parents=True, mode=0o700)
    there.chmod(0o700)
    shutil.copy(here / "keys" / "ci.pub", there / "keys" / "ci.pub")

    with image_lab.registry(tmp_path) as host:
        sent = softlaunch(here, "registry", "push", digest, "--to", f"{host}/demo", "--tag", "v1")
        again = softlaunch(here, "registry", "push", digest, "--to", f"{host}/demo", "--tag", "v2")
        tags = softlaunch(there, "registry", "list", "--remote", f"{host}/demo")
        api = httpx.get(f"http://{host}/v2/demo/referrers/{digest}")
        fetched = softlaunch(there, "registry", "pull", f"{host}/demo:v1")
    verified = softlaunch(there, "verify", digest)

    assert api.status_code == 404
    assert ["v1", "v2"] == sorted(tags)
    assert (digest, 1, 1) == (fetched["release"], sent["referrers"], fetched["referrers"])
    assert again["present_bytes"] > 40 << 20
    assert softlaunch(here, "verify", digest) == verified
    assert [("tests", True)] == [(each["kind"], each["verified"]) for each in verified["statements"]]
    assert [digest] == [each["release"] for each in softlaunch(there, "registry", "list")]
