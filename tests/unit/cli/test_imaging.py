"""`softlaunch image` and its exports, on a home with one release and one small image."""

from __future__ import annotations

import json

import pytest

from softlaunch.adapters.oci import registry
from softlaunch.testing import releases


@pytest.fixture
def home(tmp_path):
    """A home with one release, no image."""
    place = tmp_path / "home"
    place.mkdir(mode=0o700)
    registry.OciRegistry(place / "registry").push(releases.write(tmp_path / "release", name="imaged"))
    (place / "registry").chmod(0o700)
    return place


def stored(home) -> str:
    """The release's digest."""
    return json.loads((home / "registry" / "index.json").read_text())["manifests"][0]["digest"]


@pytest.fixture
def digest(home) -> str:
    return stored(home)


def code_of(result) -> tuple[int, str]:
    return result.code, result.document["code"]


def test_mistakes_exit_2_and_say_what_to_do(run, home, digest) -> None:
    def said(*words: str) -> tuple[int, str]:
        return code_of(run("image", *words, "--home", str(home), "--json"))

    assert (2, "no-release") == said("build", "nowhere")
    assert (2, "bad-option") == said("build", digest, "--compression", "brotli")
    assert (2, "bad-option") == said("build", digest, "--arch", "sparc")
    assert (2, "image-base") == said("build", digest, "--base", "rootfs:/no/such/root")
    assert (2, "bad-option") == said("build", digest, "--backend", "bazel")
    assert (2, "no-image") == said("push", digest, "localhost:1/demo")
    assert (2, "no-image") == said("run-command", digest)


def test_without_images_the_list_is_empty(run, home) -> None:
    assert [] == run("image", "list", "--home", str(home), "--json").document


@pytest.mark.parametrize("platform", ["lambda", "cloud-run", "azure-functions"])
def test_an_export_needs_an_image(run, home, digest, platform) -> None:
    result = run("export", platform, digest, "registry.example.com/demo", "--home", str(home), "--json")

    assert (2, "no-image") == code_of(result)


@pytest.mark.parametrize(
    ("platform", "names"),
    [
        ("lambda", ["template.yaml"]),
        ("cloud-run", ["service.yaml"]),
        ("azure-functions", ["Dockerfile", "host.json", "predict/function.json"]),
    ],
)
def test_an_export_writes_its_files_again_but_not_over_others(run, home, tmp_path, platform, names) -> None:
    digest = stored(home)
    listed(home, digest)
    folder = tmp_path / "exported"
    words = ("export", platform, digest, "registry.example.com/demo:v1", "--output", str(folder), "--home", str(home))

    assert [str(folder / name) for name in names] == run(*words, "--json").document["files"]
    assert 0 == run(*words).code
    (folder / names[0]).write_text("mine\n")
    assert (2, "image-file") == code_of(run(*words, "--json"))
    assert "mine\n" == (folder / names[0]).read_text()


def test_the_command_that_runs_an_image_names_it_by_digest_or_by_its_place_here(run, home, digest) -> None:
    image = listed(home, digest)

    here = run("image", "run-command", digest, "--home", str(home), "--json").document["command"]
    there = run("image", "run-command", digest, "--from", "r.example.com:5000/demo:v1", "--home", str(home))

    assert f"oci:{home / 'images'}:tag" == here[-1]
    assert f"r.example.com:5000/demo@{image}" == there.out.split()[-1]


def listed(home, digest: str) -> str:
    """Puts an image without layers into the home; its digest."""
    from softlaunch.adapters.images import store

    layout = store.Store(home / "images")
    config = layout.put(
        store.canonical(
            {
                "architecture": "amd64",
                "config": {
                    "Entrypoint": [
                        "/usr/local/bin/python3.11",
                        "-m",
                        "softlaunch.serving",
                        "--listen",
                        "0.0.0.0:$PORT",
                    ],
                    "Env": ["PORT=8080"],
                    "Labels": {"dev.softlaunch.release": digest, "dev.softlaunch.service": "demo"},
                },
            }
        )
    )
    image = layout.put(store.canonical({"config": {"digest": config.value, "size": 1}, "layers": []}))
    names = {"dev.softlaunch.release": digest, "org.opencontainers.image.ref.name": "tag"}
    layout.list({"digest": image.value, "mediaType": store.MANIFEST, "size": 1, "annotations": names})
    return image.value
