"""Releases and their evidence through Debian's docker-registry, from one home into another."""

from __future__ import annotations

import base64
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import httpx
import image_lab
import pytest

from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.testing import releases

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "contract"))

import fault_proxy

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


def started(home: pathlib.Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "softlaunch.cli.main", *words, "--home", str(home), "--json"])


@pytest.fixture
def large(tmp_path) -> tuple[pathlib.Path, str]:
    """A home with a release whose model is more than three parts of an upload."""
    directory = releases.write(tmp_path / "release", name="demo")
    (directory / "model").mkdir(exist_ok=True)
    (directory / "model" / "weights.bin").write_bytes(random.Random(1).randbytes(56 << 20))
    home = tmp_path / "here"
    home.mkdir(mode=0o700)
    (home / "registry").mkdir(mode=0o700)
    return home, oci_registry.OciRegistry(home / "registry").push(directory).value


def test_an_upload_whose_process_was_killed_goes_on_where_the_registry_stands(large, tmp_path) -> None:
    home, digest = large
    with image_lab.registry(tmp_path) as host, fault_proxy.proxied(host) as proxy:
        killed = started(home, "registry", "push", digest, "--to", f"{proxy.host}/demo", "--tag", "v1")
        proxy.on_begun = lambda _: (killed.kill(), killed.wait(60)) if len(proxy.lines("PATCH")) == 3 else None
        killed.wait(60)
        before = [each.received for each in proxy.lines("PATCH")]
        (state,) = (home / "registry" / ".transfers").glob("*.upload")
        mode, kept = state.stat().st_mode & 0o777, json.loads(state.read_bytes())
        proxy.on_begun = lambda _: None

        sent = softlaunch(home, "registry", "push", digest, "--to", f"{proxy.host}/demo", "--tag", "v1")
        after = [each.received for each in proxy.lines("PATCH")][len(before) :]
        fetched = softlaunch(tmp_path / "there", "registry", "pull", f"{proxy.host}/demo:v1")

    assert -signal.SIGKILL == killed.returncode
    assert (0o600, {"repository", "place"}) == (mode, kept.keys())
    assert [16 << 20] * 2 == before[:2]
    assert 1 << 20 <= before[2] < 16 << 20
    assert 24 << 20 <= sum(after) < 25 << 20
    assert sent["sent_bytes"] < 25 << 20
    assert digest == fetched["release"]
    assert not state.exists()


def test_an_upload_that_the_registry_cannot_go_on_with_is_sent_from_the_start(large, tmp_path) -> None:
    home, digest = large
    with image_lab.registry(tmp_path) as host:
        killed = started(home, "registry", "push", digest, "--to", f"{host}/demo", "--tag", "v1")
        stored, give_up = tmp_path / "registry", time.monotonic() + 60
        while not any(path.stat().st_size > 20 << 20 for path in stored.rglob("_uploads/*/data")):
            assert time.monotonic() < give_up
            time.sleep(0.002)
        killed.kill()  # within a part, as like as not: then docker-registry knows the upload no more
        killed.wait(60)

        softlaunch(home, "registry", "push", digest, "--to", f"{host}/demo", "--tag", "v1")
        fetched = softlaunch(tmp_path / "there", "registry", "pull", f"{host}/demo:v1")

    assert digest == fetched["release"]


def test_a_download_whose_process_was_killed_goes_on_where_it_stopped(large, tmp_path) -> None:
    home, digest = large
    there = tmp_path / "there"
    with image_lab.registry(tmp_path) as host, fault_proxy.proxied(host) as proxy:
        softlaunch(home, "registry", "push", digest, "--to", f"{host}/demo", "--tag", "v1")
        proxy.bytes_per_second = 40 << 20
        killed = started(there, "registry", "pull", f"{proxy.host}/demo:v1")
        parts, give_up = there / "registry" / ".transfers", time.monotonic() + 60
        while not any(path.stat().st_size > 10 << 20 for path in parts.glob("*.part")):
            assert time.monotonic() < give_up
            time.sleep(0.002)
        killed.kill()
        killed.wait(60)
        (part,) = parts.glob("*.part")
        size = part.stat().st_size
        proxy.bytes_per_second = None

        fetched = softlaunch(there, "registry", "pull", f"{proxy.host}/demo:v1")
        answered = proxy.lines("GET", f"blobs/sha256:{part.stem}")

    assert 10 << 20 < size < 56 << 20
    assert ["", f"bytes={size}-"] == [each.headers.get("range", "") for each in answered]
    assert answered[-1].sent < (56 << 20) - size + (1 << 20)
    assert digest == fetched["release"]
    assert [] == list(parts.glob("*.part"))


def test_a_password_is_found_where_podman_keeps_it_and_shown_to_nobody(tmp_path, monkeypatch) -> None:
    digest = oci_registry.OciRegistry(tmp_path / "here" / "registry").push(
        releases.write(tmp_path / "release", name="demo")
    )
    for path in (tmp_path / "here", tmp_path / "here" / "registry"):
        path.chmod(0o700)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    kept = tmp_path / "containers" / "auth.json"
    kept.parent.mkdir()
    with image_lab.registry(tmp_path, user="ana", password="s3cret") as host:
        words = ["registry", "push", digest.value, "--to", f"{host}/team/demo", "--home", str(tmp_path / "here")]
        refused = subprocess.run(
            [sys.executable, "-m", "softlaunch.cli.main", *words], capture_output=True, text=True, check=False
        )
        wrong, right = (base64.b64encode(f"ana:{each}".encode()).decode() for each in ("other", "s3cret"))
        kept.write_text(json.dumps({"auths": {host: {"auth": wrong}, f"{host}/team": {"auth": right}}}))
        sent = softlaunch(tmp_path / "here", *words[:-2])

    assert 2 == refused.returncode
    assert f"The registry refuses {host}/team/demo (HTTP 401)." in refused.stderr
    assert f"docker login {host}" in refused.stderr
    assert f"{host}/team/demo@{digest}" == sent["reference"]
