"""Images of releases, made without a daemon: one content, one digest."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pathlib
import py_compile
import random
import shutil
import subprocess
import sys
import tarfile
import time

import pytest

from softlaunch import errors
from softlaunch.adapters.images import contexts, packages
from softlaunch.core import release
from softlaunch.ports import images

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import image_kit

ROUNDS = 6


@pytest.fixture(scope="module")
def uv_alone(tmp_path_factory):
    """uv finds one small wheel, and asks nobody."""
    place = tmp_path_factory.mktemp("uv")
    image_kit.wheel(place / "wheels", "greet", "1.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_FIND_LINKS", str(place / "wheels"))
        patch.setenv("UV_NO_INDEX", "1")
        patch.setenv("UV_CACHE_DIR", str(place / "cache"))
        yield


@pytest.fixture(scope="module")
def first(uv_alone, tmp_path_factory):
    """An image of a release on a root directory, and where it was made."""
    place = tmp_path_factory.mktemp("first")
    random_ = random.Random(1)
    root = image_kit.shuffled_write(place / "root", image_kit.ROOT, random_)
    unpacked = image_kit.shuffled_write(place / "release", image_kit.release_files(place / "written"), random_)
    return image_kit.builder_in(place).build(image_kit.recipe(root, unpacked), {}), place


@pytest.fixture
def made(first, tmp_path):
    """The same, in a place that a test may change."""
    image, place = first
    shutil.copytree(place, tmp_path / "made", symlinks=True)
    return image, image_kit.recipe(tmp_path / "made" / "root", tmp_path / "made" / "release"), tmp_path / "made"


def layer(image: images.Image, place: pathlib.Path, name: str) -> tarfile.TarFile:
    (found,) = (each for each in image.layers if each.name == name)
    raw = (place / "layout" / "blobs" / "sha256" / found.digest.value[7:]).read_bytes()
    return tarfile.open(fileobj=io.BytesIO(gzip.decompress(raw)))


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(50, marks=pytest.mark.slow)])
def test_directory_file_order_umask_time_zone_and_time_do_not_change_the_digest(
    uv_alone, tmp_path, monkeypatch, rounds
) -> None:
    random_ = random.Random(50)
    files = image_kit.release_files(tmp_path / "written")
    found = set()
    before = os.umask(0o022)
    try:
        for number in range(rounds):
            os.umask(random_.choice([0o000, 0o002, 0o022, 0o027, 0o077]))
            monkeypatch.setenv("TZ", random_.choice(["UTC", "Asia/Tokyo", "America/St_Johns", "Pacific/Chatham"]))
            time.tzset()
            monkeypatch.setenv("SOURCE_DATE_EPOCH", str(random_.randrange(2**31)))
            place = tmp_path / ("d" * random_.randrange(1, 60)) / str(number)
            place.mkdir(parents=True)
            root = image_kit.shuffled_write(place / "root", image_kit.ROOT, random_)
            unpacked = image_kit.shuffled_write(place / "release", files, random_)
            image = image_kit.builder_in(place).build(image_kit.recipe(root, unpacked), {"when": str(number)})
            found.add(image.digest)
            shutil.rmtree(place)
    finally:
        os.umask(before)
        monkeypatch.undo()
        time.tzset()

    assert 1 == len(found)


def test_every_blob_is_named_by_its_bytes_and_every_layer_by_its_uncompressed_ones(made) -> None:
    image, _, place = made
    blobs = place / "layout" / "blobs" / "sha256"

    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in blobs.iterdir())
    diff_ids = [
        "sha256:" + hashlib.sha256(gzip.decompress((blobs / each.digest.value[7:]).read_bytes())).hexdigest()
        for each in image.layers
    ]
    assert diff_ids == image_kit.config(image, place)["rootfs"]["diff_ids"]
    assert ["base", "dependencies", "server", "model", "code"] == [each.name for each in image.layers]


def test_entries_have_no_time_and_one_owner_and_modes_that_depend_on_no_umask(made) -> None:
    image, _, place = made

    for name in ("base", "dependencies", "server", "model", "code"):
        infos = layer(image, place, name).getmembers()
        assert {(0, 0, 0, "", "")} == {(each.mtime, each.uid, each.gid, each.uname, each.gname) for each in infos}
        assert sorted(each.name.split("/") for each in infos) == [each.name.split("/") for each in infos]
        if name != "base":
            assert {0o755, 0o644} >= {each.mode for each in infos if not each.issym()}
    assert 0o4755 == layer(image, place, "base").getmember("usr/bin/su").mode
    assert 0o755 == layer(image, place, "code").getmember("softlaunch/release/code/run.sh").mode


def test_an_edit_of_the_code_changes_the_code_layer_alone(made) -> None:
    image, recipe, place = made
    (recipe.directory / "code" / "model.py").write_text("# edited\n")

    edited = image_kit.builder_in(place).build(recipe, {})

    changed = [new.name for old, new in zip(image.layers, edited.layers, strict=True) if old != new]
    assert ["code"] == changed


def test_the_next_release_has_the_same_model_layer(made) -> None:
    image, recipe, place = made
    again = image_kit.recipe(recipe.base.directory, recipe.directory, release=release.Digest("sha256:" + "cd" * 32))

    other = image_kit.builder_in(place).build(again, {})

    assert image.layers == other.layers
    assert image.digest != other.digest


def test_the_container_listens_as_nobody_and_its_labels_know_neither_commit_nor_time(made) -> None:
    image, _, place = made

    config = image_kit.config(image, place)

    told = config["config"]
    assert "65532:65532" == told["User"]
    assert [
        "/usr/bin/python3.11",
        "-m",
        "softlaunch.serving",
        "--release",
        "/softlaunch/release",
        "--digest",
        image_kit.DIGEST.value,
        "--listen",
        "0.0.0.0:$PORT",
    ] == told["Entrypoint"]
    assert {"PORT=8080", "PYTHONPATH=/softlaunch/site:/softlaunch/server"} < set(told["Env"])
    assert image_kit.DIGEST.value == told["Labels"]["dev.softlaunch.release"]
    assert not [name for name in told["Labels"] if "revision" in name or "created" in name]
    assert "1970-01-01T00:00:00Z" == config["created"]


def test_no_machine_shows_in_the_packages(made) -> None:
    image, _, place = made
    found = layer(image, place, "dependencies")

    names = found.getnames()

    assert "softlaunch/site/greet.py" in names
    assert not [name for name in names if name.endswith((".pyc", "INSTALLER", "REQUESTED", "direct_url.json"))]
    for info in found.getmembers():
        content = found.extractfile(info)
        if content is not None:
            raw = content.read()
            assert sys.prefix.encode() not in raw
            assert str(place).encode() not in raw


def test_programs_of_packages_are_run_by_the_images_interpreter(uv_alone, tmp_path) -> None:
    text, note = packages.resolve(
        b"greet==1.0\n", ("greet",), python="3.11", architecture="amd64", memory=tmp_path / "memory"
    )

    packages.install(text, tmp_path / "site", python="3.11", architecture="amd64", interpreter="/usr/bin/python3.11")

    assert "" == note
    assert ("greet==1.0",) == packages.versions(text)
    assert "--hash=sha256:" in text
    assert "#!/usr/bin/python3.11" == (tmp_path / "site" / "bin" / "greet").read_text().splitlines()[0]
    record = (tmp_path / "site" / "greet-1.0.dist-info" / "RECORD").read_text()
    assert ["bin/greet,,"] == [line for line in record.splitlines() if "bin/" in line]


def test_a_package_that_no_wheel_fits_is_named(uv_alone, tmp_path) -> None:
    with pytest.raises(errors.UnavailableError) as raised:
        packages.resolve(
            b"softlaunch-has-no-such-package==1.0\n", (), python="3.11", architecture="amd64", memory=tmp_path
        )

    assert errors.Code.IMAGE_PACKAGES is raised.value.code
    assert "softlaunch-has-no-such-package" in raised.value.message


def test_compiled_python_of_a_root_is_taken_whatever_time_its_source_has(uv_alone, tmp_path) -> None:
    random_ = random.Random(2)
    compiled = []
    for number in range(2):
        root = image_kit.shuffled_write(tmp_path / str(number) / "root", image_kit.ROOT, random_)
        source = root / "usr/lib/python3.11/os.py"
        py_compile.compile(str(source), dfile="os.py", invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
        files = {"release.json": (b"{}", 0o644)}
        unpacked = image_kit.shuffled_write(tmp_path / str(number) / "release", files, random_)
        image = image_kit.builder_in(tmp_path / str(number)).build(image_kit.recipe(root, unpacked), {})
        base = layer(image, tmp_path / str(number), "base")
        (name,) = (name for name in base.getnames() if name.endswith(".pyc"))
        compiled.append(base.extractfile(name).read())

    assert compiled[0] == compiled[1]
    assert (1).to_bytes(4, "little") == compiled[0][4:8]
    importable = tmp_path / "importable" / "__pycache__"
    importable.mkdir(parents=True)
    (importable.parent / "os2.py").write_text("raise AssertionError('the source was read')\n")
    (importable / f"os2.{sys.implementation.cache_tag}.pyc").write_bytes(compiled[0])
    command = [sys.executable, "-c", "import os2; print(os2.name)"]
    done = subprocess.run(command, cwd=importable.parent, capture_output=True, check=False)
    assert b"posix\n" == done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "link", "told"),
    [
        ("release/code/out", "../../../etc", "outside"),
        ("release/code/.wh.model.py", None, "delete"),
        ("root/usr/.wh.bin", None, "delete"),
    ],
)
def test_links_that_lead_out_and_names_that_delete_are_refused(made, name, link, told) -> None:
    _, recipe, place = made
    path = place / name
    path.write_text("") if link is None else path.symlink_to(link)

    with pytest.raises(errors.ConfigError, match=told) as raised:
        image_kit.builder_in(place).build(recipe, {})

    assert errors.Code.IMAGE_FILE is raised.value.code


def test_an_image_is_a_base_in_a_layout_and_its_blobs_are_checked(made) -> None:
    image, recipe, place = made
    layout = images.Base(kind=images.BaseKind.LAYOUT, directory=place / "layout")
    other = place / "other"

    on_top = image_kit.builder_in(other).build(
        image_kit.recipe(recipe.base.directory, recipe.directory, base=layout), {}
    )

    assert [each.digest for each in image.layers] == [each.digest for each in on_top.layers[: len(image.layers)]]
    assert "/usr/bin/python3.11" == on_top.python
    labels = image_kit.config(on_top, other)["config"]["Labels"]
    assert image.digest.value == labels["org.opencontainers.image.base.digest"]

    blob = place / "layout" / "blobs" / "sha256" / image.layers[0].digest.value[7:]
    blob.write_bytes(b"other bytes")
    with pytest.raises(errors.UnavailableError, match="other bytes"):
        image_kit.builder_in(place / "third").build(
            image_kit.recipe(recipe.base.directory, recipe.directory, base=layout), {}
        )


def test_a_base_without_python_another_architecture_or_no_root_is_refused(made) -> None:
    _, recipe, place = made
    (recipe.base.directory / "usr" / "bin" / "python3.11").unlink()
    refused = {
        "has no Python": recipe,
        "linux/arm64 is wanted": image_kit.recipe(
            recipe.base.directory,
            recipe.directory,
            architecture="arm64",
            base=images.Base(kind=images.BaseKind.LAYOUT, directory=place / "layout"),
        ),
        "no root directory": image_kit.recipe(place / "release", recipe.directory),
        "bin/python3.N": image_kit.recipe(recipe.base.directory, recipe.directory, interpreter=place / "release"),
    }

    for told, wrong in refused.items():
        with pytest.raises(errors.ConfigError, match=told) as raised:
            image_kit.builder_in(place).build(wrong, {})
        assert errors.Code.IMAGE_BASE is raised.value.code


def test_an_interpreter_that_is_put_in_is_the_one_that_serves(made) -> None:
    _, recipe, place = made
    tree = image_kit.shuffled_write(place / "py", {"bin/python3.12": (b"python", 0o755)}, random.Random(3))
    (tree / "bin" / "python3").symlink_to("python3.12")

    image = image_kit.builder_in(place).build(
        image_kit.recipe(recipe.base.directory, recipe.directory, interpreter=tree), {}
    )

    assert "/softlaunch/python/bin/python3.12" == image.python
    assert "python3.12" == layer(image, place, "interpreter").getmember("softlaunch/python/bin/python3").linkname
    assert image.python == layer(image, place, "server").getmember("softlaunch/bin/python").linkname


def test_uncompressed_layers_are_their_own_diff_ids(made) -> None:
    _, recipe, place = made

    image = image_kit.builder_in(place).build(
        image_kit.recipe(recipe.base.directory, recipe.directory, compression=images.Compression.NONE), {}
    )

    assert [each.diff_id for each in image.layers] == [each.digest for each in image.layers]
    assert {"application/vnd.oci.image.layer.v1.tar"} == {each.media_type for each in image.layers}


def test_an_exported_tar_is_the_same_bytes_every_time_and_holds_one_image(made) -> None:
    image, recipe, place = made
    builder = image_kit.builder_in(place)
    edited = image_kit.recipe(recipe.base.directory, recipe.directory, service="other")
    builder.build(edited, {"org.opencontainers.image.ref.name": "other"})

    builder.export(image.digest, place / "one.tar")
    builder.export(image.digest, place / "two.tar")
    builder.export(image.digest, place / "folder")

    assert (place / "one.tar").read_bytes() == (place / "two.tar").read_bytes()
    with tarfile.open(place / "one.tar") as archive:
        index = json.load(archive.extractfile("index.json"))
        assert [image.digest.value] == [each["digest"] for each in index["manifests"]]
        assert "oci-layout" in archive.getnames()
    assert {path.name for path in (place / "folder" / "blobs" / "sha256").iterdir()} == {
        each.value[7:] for each in (image.digest, image.config_digest, *(layer.digest for layer in image.layers))
    }


def test_a_damaged_memory_is_forgotten_and_the_image_is_the_same(made) -> None:
    image, recipe, place = made
    for path in (*(place / "memory").glob("layer-*"), place / "layout" / "softlaunch.layers.json"):
        path.write_text("{")

    assert image.digest == image_kit.builder_in(place).build(recipe, {}).digest


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("docker", ["build", "--tag", "demo:v1"]),
        ("buildah", ["build", "--isolation", "chroot", "--timestamp", "0", "--tag", "demo:v1"]),
        ("kaniko", ["--context", "--destination", "demo:v1", "--reproducible"]),
    ],
)
def test_a_backend_is_run_on_a_dockerfile_with_a_tar_for_each_layer(made, monkeypatch, tool, words) -> None:
    _, recipe, place = made
    program = place / "bin" / ("executor" if tool == "kaniko" else tool)
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word" >> {place}/said; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    context = place / "context"

    image_kit.builder_in(place).context(recipe, context, "python:3.11-slim")
    contexts.Tools().run(tool, context, "demo:v1")

    assert words == [word for word in (place / "said").read_text().splitlines() if str(context) not in word]
    lines = (context / "Dockerfile").read_text().splitlines()
    assert "FROM scratch" == lines[0]  # a root directory is a layer itself
    added = [line.split()[1] for line in lines if line.startswith("ADD ")]
    assert ["base.tar", "dependencies.tar", "server.tar", "model.tar", "code.tar"] == added
    assert {"USER 65532:65532", 'ENV PYTHONPATH="/softlaunch/site:/softlaunch/server"'} < set(lines)
    with tarfile.open(context / "model.tar") as archive:
        assert "softlaunch/release/model/weights.bin" in archive.getnames()


def test_a_backend_that_fails_or_is_not_there_is_named(made, monkeypatch) -> None:
    _, _, place = made
    monkeypatch.setenv("PATH", str(place / "bin"))
    with pytest.raises(errors.ConfigError, match="not installed"):
        contexts.Tools().check("buildah")
    (place / "bin").mkdir()
    (place / "bin" / "buildah").write_text("#!/bin/sh\necho 'no space left' >&2\nexit 3\n")
    (place / "bin" / "buildah").chmod(0o755)

    with pytest.raises(errors.UnavailableError, match="exit code 3: no space left") as raised:
        contexts.Tools().run("buildah", place, "demo:v1")

    assert errors.Code.IMAGE_TOOL is raised.value.code
