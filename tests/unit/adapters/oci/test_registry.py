"""What only the OCI layout promises: bytes that other tools read, that prove themselves, and that survive a race."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import pathlib
import tarfile

import pytest

from softlaunch import errors
from softlaunch.adapters.oci import layers, layout, registry
from softlaunch.core import release, release_json

CONTENT = release.ReleaseContent(
    service="flight-delay",
    runtime=release.Runtime.PYTHON,
    model_file=None,
    python_target="p.py:P",
    signature=release.Signature(inputs=(), outputs=()),
    lock_file=None,
    profile_file=None,
    smoke_file=None,
)


@pytest.fixture
def oci(tmp_path):
    return registry.OciRegistry(tmp_path / "registry")


def unpacked(directory: pathlib.Path, code: str = "class P: ...\n") -> pathlib.Path:
    (directory / "code").mkdir(parents=True)
    (directory / "code" / "p.py").write_text(code)
    (directory / "release.json").write_bytes(release_json.dump_content(CONTENT))
    return directory


def blob(tmp_path: pathlib.Path, digest: str) -> bytes:
    return (tmp_path / "registry" / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


def test_it_is_an_oci_image_layout_of_blobs_named_by_their_bytes(oci, tmp_path) -> None:
    digest = oci.push(unpacked(tmp_path / "one"))
    index = json.loads((tmp_path / "registry" / "index.json").read_bytes())
    manifest = json.loads(blob(tmp_path, str(digest)))

    assert json.loads((tmp_path / "registry" / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert index["manifests"][0]["digest"] == str(digest)
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    for each in (tmp_path / "registry" / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(each.read_bytes()).hexdigest() == each.name
    for each in (manifest["config"], *manifest["layers"]):
        assert each["size"] == len(blob(tmp_path, each["digest"]))


def test_layers_tell_neither_time_nor_owner(oci, tmp_path) -> None:
    digest = oci.push(unpacked(tmp_path / "one"))
    for each in json.loads(blob(tmp_path, str(digest)))["layers"]:
        name = each["digest"].removeprefix("sha256:")
        with tarfile.open(tmp_path / "registry" / "blobs" / "sha256" / name) as archive:
            for info in archive:
                assert (info.mtime, info.uid, info.gid, info.uname, info.gname) == (0, 0, 0, "", "")
                assert info.mode in (0o644, 0o755)


def test_umask_and_bytecode_do_not_change_the_digest(oci, tmp_path) -> None:
    first = oci.push(unpacked(tmp_path / "one"))
    before = os.umask(0o077)
    try:
        other = unpacked(tmp_path / "two")
    finally:
        os.umask(before)
    (other / "code" / "__pycache__").mkdir()
    (other / "code" / "__pycache__" / "p.cpython-311.pyc").write_bytes(b"bytecode")

    assert oci.push(other) == first


@pytest.mark.parametrize("layer", [0, 1])
def test_changed_bytes_are_refused_and_leave_no_directory(oci, tmp_path, layer) -> None:
    digest = oci.push(unpacked(tmp_path / "one"))
    name = json.loads(blob(tmp_path, str(digest)))["layers"][layer]["digest"]
    path = tmp_path / "registry" / "blobs" / "sha256" / name.removeprefix("sha256:")
    raw = bytearray(path.read_bytes())
    raw[600] ^= 1
    path.write_bytes(raw)

    with pytest.raises(errors.UnavailableError) as refused:
        oci.pull(digest, tmp_path / "pulled")

    assert refused.value.code is errors.Code.REGISTRY_DAMAGED
    assert not (tmp_path / "pulled").exists()
    oci.push(tmp_path / "one")
    assert oci.pull(digest, tmp_path / "pulled") == CONTENT


def test_a_broken_index_is_said(oci, tmp_path) -> None:
    oci.push(unpacked(tmp_path / "one"))
    (tmp_path / "registry" / "index.json").write_text("{")

    with pytest.raises(errors.UnavailableError) as refused:
        oci.resolve("main")

    assert refused.value.code is errors.Code.REGISTRY_DAMAGED


def test_pushes_at_once_are_all_listed(tmp_path) -> None:
    folders = [unpacked(tmp_path / str(number), f"# {number}\n") for number in range(12)]

    def push(folder):
        return registry.OciRegistry(tmp_path / "registry").push(folder)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        digests = set(pool.map(push, folders))

    assert {each.digest for each in layout.Index(tmp_path / "registry").read()} == digests
    assert len(digests) == 12


def test_a_link_out_of_the_release_is_refused(oci, tmp_path) -> None:
    folder = unpacked(tmp_path / "one")
    (folder / "code" / "secret").symlink_to("../../../etc/passwd")

    with pytest.raises(errors.ConfigError) as refused:
        oci.push(folder)

    assert refused.value.code is errors.Code.CHECKOUT_UNUSABLE


@pytest.mark.parametrize("name", ["../evil", "/evil", "code/../../evil"])
def test_a_layer_that_leaves_its_directory_is_refused(tmp_path, name) -> None:
    with tarfile.open(tmp_path / "layer.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    (tmp_path / "out").mkdir()

    with pytest.raises(errors.ConfigError):
        layers.extract(tmp_path / "layer.tar", tmp_path / "out")

    assert not list((tmp_path / "out").iterdir())


def test_a_digest_prefix_of_two_releases_names_none(oci, tmp_path) -> None:
    digests = [oci.push(unpacked(tmp_path / str(number), f"# {number}\n")) for number in range(3)]

    assert [oci.resolve(each.value[7:13]) for each in digests] == digests
    assert oci.resolve("sha256:" + "f" * 64) is None
