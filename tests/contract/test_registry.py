"""What every registry keeps to."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from softlaunch import errors
from softlaunch.adapters.oci import registry as oci
from softlaunch.core import release, release_json
from softlaunch.testing import registry as memory

CONTENT = release.ReleaseContent(
    service="flight-delay",
    runtime=release.Runtime.ONNX,
    model_file="model/model.onnx",
    python_target=None,
    signature=release.Signature(
        inputs=(release.Column(name="distance", datatype=release.Datatype.FP64),),
        outputs=(release.Column(name="prediction", datatype=release.Datatype.FP64),),
    ),
    lock_file=None,
    profile_file=None,
    smoke_file=None,
)
LINEAGE = release.Lineage(
    commit="a" * 40,
    branch="main",
    tags=("v1",),
    author="Ada <ada@example.com>",
    committed_at="2013-04-01T00:00:00Z",
    built_at="2013-04-01T00:01:00Z",
    tests="12 tests passed",
)


@pytest.fixture(params=["oci", "memory"])
def registry(request, tmp_path):
    return oci.OciRegistry(tmp_path / "registry") if request.param == "oci" else memory.MemoryRegistry()


def unpacked(directory: pathlib.Path, *, model: bytes = b"weights", service: str = "flight-delay") -> pathlib.Path:
    content = dataclasses.replace(CONTENT, service=service)
    (directory / "model").mkdir(parents=True)
    (directory / "code" / "deep").mkdir(parents=True)
    (directory / "release.json").write_bytes(release_json.dump_content(content))
    (directory / "model" / "model.onnx").write_bytes(model)
    (directory / "code" / "deep" / "features.py").write_text("FEATURES = []\n")
    script = directory / "code" / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return directory


def test_what_is_pulled_is_what_was_pushed(registry, tmp_path) -> None:
    digest = registry.push(unpacked(tmp_path / "one"))

    content = registry.pull(digest, tmp_path / "pulled")

    assert content == CONTENT
    assert (tmp_path / "pulled" / "model" / "model.onnx").read_bytes() == b"weights"
    assert (tmp_path / "pulled" / "code" / "deep" / "features.py").read_text() == "FEATURES = []\n"
    assert (tmp_path / "pulled" / "code" / "run.sh").stat().st_mode & 0o777 == 0o555


def test_nothing_of_an_unpacked_release_may_be_written_to_but_it_can_be_unpacked_anew(registry, tmp_path) -> None:
    pulled = tmp_path / "pulled"
    digest, other = registry.push(unpacked(tmp_path / "one")), registry.push(unpacked(tmp_path / "two", model=b"b"))
    registry.pull(digest, pulled)

    assert {0o444, 0o555} == {path.stat().st_mode & 0o777 for path in (pulled, *pulled.rglob("*"))}
    assert all(path.stat().st_mode & 0o777 == 0o555 for path in (pulled, *pulled.rglob("*")) if path.is_dir())

    registry.pull(other, pulled)

    assert b"b" == (pulled / "model" / "model.onnx").read_bytes()
    assert [] == list(tmp_path.glob(".*"))


@pytest.mark.parametrize("tamper", ["changed", "added", "removed"])
def test_an_unpacked_release_that_somebody_changed_is_unpacked_anew(registry, tmp_path, tamper) -> None:
    digest = registry.push(unpacked(tmp_path / "one"))
    pulled = tmp_path / "pulled"
    registry.pull(digest, pulled)
    weights = pulled / "model" / "model.onnx"
    for path in (pulled / "model", pulled / "code", weights):
        path.chmod(0o755)
    match tamper:
        case "changed":
            weights.write_bytes(b"poison!")
        case "added":
            (pulled / "code" / "sitecustomize.py").write_text("import evil\n")
        case "removed":
            weights.unlink()

    registry.pull(digest, pulled)

    assert weights.read_bytes() == b"weights"
    assert not (pulled / "code" / "sitecustomize.py").exists()


def test_the_digest_is_of_the_content_alone(registry, tmp_path) -> None:
    first = registry.push(unpacked(tmp_path / "one"))
    second = registry.push(unpacked(tmp_path / "elsewhere" / "two"))
    changed = registry.push(unpacked(tmp_path / "three", model=b"others"))

    assert first == second
    assert changed != first


def test_lineage_is_attached_once_and_never_changes_the_digest(registry, tmp_path) -> None:
    digest = registry.push(unpacked(tmp_path / "one"))
    merged = dataclasses.replace(LINEAGE, commit="b" * 40, tags=())

    for record in (LINEAGE, LINEAGE, merged):
        registry.attach(digest, record)

    assert tuple(registry.lineage(digest)) == (LINEAGE, merged)
    assert registry.push(tmp_path / "one") == digest


def test_a_release_is_found_by_digest_prefix_tag_branch_and_commit(registry, tmp_path) -> None:
    digest = registry.push(unpacked(tmp_path / "one"))
    registry.attach(digest, LINEAGE)

    for reference in (str(digest), digest.value[7:], digest.short, digest.value[7:13], "v1", "main", "a" * 40, "a" * 7):
        assert registry.resolve(reference) == digest, reference


def test_a_branch_means_the_release_attached_last(registry, tmp_path) -> None:
    old = registry.push(unpacked(tmp_path / "one"))
    registry.attach(old, LINEAGE)
    new = registry.push(unpacked(tmp_path / "two", model=b"better"))
    registry.attach(new, dataclasses.replace(LINEAGE, commit="c" * 40, tags=()))

    assert registry.resolve("main") == new
    assert registry.resolve("v1") == old


def test_names_of_another_service_find_nothing(registry, tmp_path) -> None:
    digest = registry.push(unpacked(tmp_path / "one", service="prices"))
    registry.attach(digest, LINEAGE)

    assert registry.resolve("main", service="flight-delay") is None
    assert registry.resolve("main", service="prices") == digest


def test_the_newest_release_is_the_one_whose_lineage_came_last(registry, tmp_path) -> None:
    one = registry.push(unpacked(tmp_path / "one"))
    two = registry.push(unpacked(tmp_path / "two", model=b"other"))
    foreign = registry.push(unpacked(tmp_path / "foreign", service="pricing"))
    registry.push(unpacked(tmp_path / "without-lineage", model=b"third"))
    for digest, commit in ((one, "a"), (two, "b"), (foreign, "c"), (one, "d")):
        registry.attach(digest, dataclasses.replace(LINEAGE, commit=commit * 40))

    assert (one, two) == tuple(registry.newest("flight-delay"))
    assert (foreign,) == tuple(registry.newest("pricing"))
    assert () == tuple(registry.newest("nobody"))


@pytest.mark.parametrize("reference", ["", "nobody", "-x", "a" * 6, "sha256:" + "0" * 64, "main\n", "../x"])
def test_what_names_nothing_resolves_to_none(registry, tmp_path, reference) -> None:
    registry.attach(registry.push(unpacked(tmp_path / "one")), LINEAGE)

    assert registry.resolve(reference) is None


def test_an_unknown_release_is_refused(registry, tmp_path) -> None:
    absent = release.Digest("sha256:" + "0" * 64)

    with pytest.raises(errors.ConfigError) as pulled:
        registry.pull(absent, tmp_path / "pulled")
    with pytest.raises(errors.ConfigError):
        registry.attach(absent, LINEAGE)

    assert pulled.value.code is errors.Code.NO_RELEASE
    assert not (tmp_path / "pulled").exists()


def test_a_directory_that_is_no_release_is_refused(registry, tmp_path) -> None:
    with pytest.raises(errors.ConfigError) as refused:
        registry.push(tmp_path)

    assert refused.value.code is errors.Code.RELEASE_UNREADABLE


def referred(registry, digest, payload: bytes = b"{}", artifact_type: str = "application/vnd.test+json"):
    return registry.refer(
        digest,
        artifact_type=artifact_type,
        media_type="application/json",
        payload=payload,
        annotations={"about": "tests"},
    )


def test_a_referrer_is_found_by_its_subject_and_its_type_and_attached_once(registry, tmp_path) -> None:
    digest, other = registry.push(unpacked(tmp_path / "one")), registry.push(unpacked(tmp_path / "two", model=b"b"))
    registry.attach(digest, LINEAGE)

    first, again = referred(registry, digest), referred(registry, digest)
    second = referred(registry, digest, b"[]")

    found = registry.referrers(digest, "application/vnd.test+json")
    assert first == again != second
    assert [(first, b"{}"), (second, b"[]")] == [(each.digest, each.payload) for each in found]
    assert {"about": "tests"} == dict(found[0].annotations)
    assert 3 == len(registry.referrers(digest))
    assert () == tuple(registry.referrers(digest, "application/vnd.other"))
    assert () == tuple(registry.referrers(other))


def test_nothing_refers_to_a_release_that_does_not_exist(registry) -> None:
    absent = release.Digest("sha256:" + "0" * 64)

    with pytest.raises(errors.ConfigError) as refused:
        referred(registry, absent)
    with pytest.raises(errors.ConfigError):
        registry.check(absent)

    assert errors.Code.NO_RELEASE is refused.value.code
    assert () == tuple(registry.referrers(absent))


def test_checking_names_the_release_first(registry, tmp_path) -> None:
    digest = registry.push(unpacked(tmp_path / "one"))

    assert digest == registry.check(digest)[0]


def test_only_what_is_there_can_be_claimed(registry, tmp_path) -> None:
    digest = registry.push(unpacked(tmp_path / "one"))

    assert registry.claim(digest)
    assert not registry.claim(release.Digest("sha256:" + "0" * 64))
