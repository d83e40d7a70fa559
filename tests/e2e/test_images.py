"""Images in a real registry, run by digest with podman; and what the tools of others say of them."""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import httpx
import image_lab
import pytest

from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.testing import releases

_MISSING = [
    name for name in image_lab.PROGRAMS if shutil.which(name) is None and shutil.which(f"/usr/sbin/{name}") is None
]

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="podman and runc run as root here"),
    pytest.mark.skipif(not image_lab.may_contain(), reason="this machine allows no namespaces, or no cgroups"),
]
MODEL_BYTES = 8_000_000


def softlaunch(home: pathlib.Path, *words: str) -> dict:
    command = [sys.executable, "-m", "softlaunch.cli.main", *words, "--home", str(home), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def release(home: pathlib.Path, place: pathlib.Path, name: str) -> str:
    """A release with a model that does not compress; its digest."""
    directory = releases.write(place / name, name=name)
    (directory / "model").mkdir()
    (directory / "model" / "weights.bin").write_bytes(random.Random(0).randbytes(MODEL_BYTES))
    return oci_registry.OciRegistry(home / "registry").push(directory).value


@pytest.fixture(scope="module")
def place():
    # podman takes no path of more than 50 characters
    with tempfile.TemporaryDirectory(prefix="sl-images-", ignore_cleanup_errors=True) as found:
        yield pathlib.Path(found)


@pytest.fixture(scope="module")
def registry(place):
    with image_lab.registry(place) as found:
        yield found


@pytest.fixture(scope="module")
def built(place, registry):
    """A home with one image in the registry: home, release, what `build` and `push` said."""
    home = place / "home"
    home.mkdir(mode=0o700)
    digest = release(home, place, "first")
    image = softlaunch(home, "image", "build", digest, "--base", f"rootfs:{image_lab.root(place / 'root')}")
    pushed = softlaunch(home, "image", "push", digest, f"{registry}/demo:v1")
    return home, digest, image, pushed


def test_the_image_runs_by_digest_and_predicts(built, place) -> None:
    _, digest, image, pushed = built

    with image_lab.Podman(place).run(pushed["reference"]) as url:
        answer = httpx.post(f"{url}/predict", json=releases.LIVE_ROW)

    assert (200, digest[7:19]) == (answer.status_code, answer.json()["release"])
    assert pushed["reference"].endswith(image["image"])


def test_skopeo_computes_the_same_digest_from_layout_tar_and_registry(built, place, registry) -> None:
    home, digest, image, _ = built
    archive = place / "image.tar"
    softlaunch(home, "image", "build", digest, "--base", f"rootfs:{place / 'root'}", "--output", str(archive))

    for source in (f"oci:{home / 'images'}:{image['tag']}", f"oci-archive:{archive}", f"docker://{registry}/demo:v1"):
        said = subprocess.run(
            ["skopeo", "inspect", "--tls-verify=false", source], capture_output=True, text=True, check=True
        )
        assert image["image"] == json.loads(said.stdout)["Digest"]


def test_a_code_edit_sends_less_than_a_hundredth_and_the_model_never_again(built, place, registry) -> None:
    home, _, image, _ = built
    edited = release(home, place, "second")

    again = softlaunch(home, "image", "build", edited, "--base", f"rootfs:{place / 'root'}")
    sent = softlaunch(home, "image", "push", edited, f"{registry}/demo:v2")

    assert 0 < sent["sent_bytes"] <= 0.01 * again["bytes"]
    changed = {each["name"] for old, each in zip(image["layers"], again["layers"], strict=True) if old != each}
    assert {"code"} == changed


def test_an_image_of_a_registry_is_a_base(built, place, registry) -> None:
    home, digest, image, pushed = built

    on_top = softlaunch(home, "image", "build", digest, "--base", pushed["reference"], "--tag", "on-top")

    assert [each["digest"] for each in image["layers"]] == [each["digest"] for each in on_top["layers"]][
        : len(image["layers"])
    ]
    assert {image["image"], on_top["image"]} <= {each["image"] for each in softlaunch(home, "image", "list")}


def test_buildah_builds_what_runs_from_the_dockerfile_that_is_written_for_it(built, place, monkeypatch) -> None:
    home, digest, *_ = built
    monkeypatch.setenv("STORAGE_DRIVER", "vfs")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(place / "storage.conf"))
    (place / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{place / "pod"}"\nrunroot = "{place / "podrun"}"\n'
    )

    said = softlaunch(
        home, "image", "build", digest, "--base", f"rootfs:{place / 'root'}", "--backend", "buildah", "--tag", "demo:b"
    )

    assert "demo:b" == said["tag"]
    with image_lab.Podman(place).run("localhost/demo:b") as url:
        assert digest[7:19] == httpx.post(f"{url}/predict", json=releases.LIVE_ROW).json()["release"]
