"""What every registry elsewhere does for releases, and what becomes of the faults between it and us."""

from __future__ import annotations

import base64
import errno
import json
import os
import pathlib
import shutil
import sys
import threading
import time

import pytest

from softlaunch import errors
from softlaunch.adapters.images import store, transfer
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.oci import remote
from softlaunch.core import release as releases_core
from softlaunch.distribution import repository, uploads
from softlaunch.testing import releases

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))

import distribution_lab
import fault_proxy
import image_lab

pytestmark = pytest.mark.slow

LARGE = bytes(range(256)) * 500
PART = 20_000
ABSENT = shutil.which("docker-registry") is None
DEBIAN = pytest.param(
    "docker-registry",
    marks=[
        pytest.mark.servers,
        pytest.mark.slow,
        pytest.mark.skipif(ABSENT, reason="not installed: docker-registry"),
    ],
)


BY_TAG = pytest.mark.parametrize("backend", ["1.1", "1.0", DEBIAN], indirect=True)
"""For what is different where there is no referrers API."""


@pytest.fixture(scope="module", params=["1.1", DEBIAN])
def backend(request, tmp_path_factory):
    """HOST:PORT of a registry, and whether it has the referrers API."""
    if request.param == "docker-registry":
        with image_lab.registry(tmp_path_factory.mktemp("registry")) as host:
            yield host, False
    else:
        has_referrers = request.param == "1.1"
        with distribution_lab.served(distribution_lab.Distribution(has_referrers=has_referrers)) as host:
            yield host, has_referrers


@pytest.fixture
def place(backend, tmp_path, monkeypatch):
    """A proxy in front of the registry."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(uploads, "PART_BYTES", PART)
    monkeypatch.setattr(repository, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(remote, "_SETTLE_SECONDS", 0.02)
    with fault_proxy.proxied(backend[0]) as proxy:
        yield proxy


@pytest.fixture
def name(request) -> str:
    """A repository of this test's own: the registry is shared."""
    return "t" + "".join(each if each.isalnum() else "-" for each in request.node.name.lower()[5:60]).strip("-")


@pytest.fixture
def here(tmp_path) -> pathlib.Path:
    return tmp_path / "here"


@pytest.fixture
def release(tmp_path, here) -> releases_core.Digest:
    """A release with a model of a few parts, and notes attached to it."""
    directory = releases.write(tmp_path / "release", name="demo")
    (directory / "model").mkdir(exist_ok=True)
    (directory / "model" / "weights.bin").write_bytes(LARGE + tmp_path.name.encode())
    digest = oci_registry.OciRegistry(here).push(directory)
    for number in range(3):
        note(here, digest, f"note {number}")
    return digest


def note(home: pathlib.Path, digest: releases_core.Digest, text: str) -> None:
    oci_registry.OciRegistry(home).refer(
        digest, artifact_type="a/b", media_type="a/b", payload=text.encode(), annotations={"text": text}
    )


def notes(home: pathlib.Path, digest: releases_core.Digest) -> list[str]:
    return sorted(each.payload.decode() for each in oci_registry.OciRegistry(home).referrers(digest))


def uploaded(place: fault_proxy.Proxy) -> int:
    """Bytes of blobs that were taken from us."""
    return sum(each.received for each in place.lines("/blobs/uploads/"))


@BY_TAG
def test_a_release_comes_back_with_all_that_is_attached_to_it(place, name, here, release, tmp_path) -> None:
    there = tmp_path / "there"

    sent = remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")
    fetched = remote.OciRemote(there).fetch(f"{place.host}/{name}:v1")

    assert (release, release, 3, 3) == (sent.digest, fetched.digest, sent.referrer_count, fetched.referrer_count)
    assert [f"note {number}" for number in range(3)] == notes(there, release)
    assert oci_registry.OciRegistry(there).check(release)
    assert f"{place.host}/{name}@{release}" == sent.reference == fetched.reference


@BY_TAG
def test_what_is_there_is_not_sent_again_and_what_is_new_is(place, name, here, release, tmp_path) -> None:
    remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")
    again = remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")
    note(here, release, "late")
    before = uploaded(place)

    late = remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")

    assert (0, 4) == (again.carried_bytes, late.referrer_count)
    assert len("late") == uploaded(place) - before
    remote.OciRemote(tmp_path / "there").fetch(f"{place.host}/{name}:v1")
    assert "late" in notes(tmp_path / "there", release)


@BY_TAG
def test_referrers_are_listed_by_the_api_or_by_the_fallback_tag_and_never_by_both(
    place, backend, name, here, release
) -> None:
    remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")

    with repository.Repository(f"{place.host}/{name}") as found:
        listed = found.referrers(release)
        tagged, _ = found.fallback(release)
        tags = found.tags()
    assert {("a/b", f"note {number}") for number in range(3)} == {
        (each["artifactType"], each["annotations"]["text"]) for each in listed
    }
    assert (0 if backend[1] else 3) == len(tagged)
    assert backend[1] == (repository.fallback_tag(release) not in tags)
    assert ["v1"] == list(remote.OciRemote(here).tags(f"{place.host}/{name}"))


@BY_TAG
def test_two_who_attach_at_the_same_time_lose_nothing(place, name, here, release, monkeypatch) -> None:
    monkeypatch.setattr(remote, "_SETTLE_SECONDS", 0.25)
    remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")
    homes = [here.with_name(f"home{number}") for number in range(3)]
    for number, home in enumerate(homes):
        shutil.copytree(here, home)
        note(home, release, f"of home {number}")
    failed = []

    def send(home: pathlib.Path) -> None:
        try:
            remote.OciRemote(home).send(release, f"{place.host}/{name}")
        except errors.SoftlaunchError as error:
            failed.append(error)

    writers = [threading.Thread(target=send, args=(home,)) for home in homes]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    remote.OciRemote(here.with_name("there")).fetch(f"{place.host}/{name}:v1")

    assert [] == failed
    assert {f"of home {number}" for number in range(3)} < set(notes(here.with_name("there"), release))


@pytest.mark.parametrize(
    "refusal",
    [
        ("HEAD /v2/", 401),
        ("POST /v2/", 401),
        ("HEAD /v2/", 429),
        ("PATCH /v2/", 429),
        ("PATCH /v2/", 500),
        ("PUT /v2/", 500),
    ],
)
def test_a_registry_that_refuses_for_good_has_no_tag_and_says_why(place, name, here, release, refusal) -> None:
    line, answer = refusal
    place.faults = [fault_proxy.Fault(line=line, count=99, answers=answer, headers={"Retry-After": "0"})]

    with pytest.raises(errors.SoftlaunchError) as raised:
        remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")

    assert errors.Code.IMAGE_REGISTRY is raised.value.code
    assert str(answer) in raised.value.message
    assert isinstance(raised.value, errors.ConfigError | errors.UnavailableError)
    place.faults = []
    assert [] == list(remote.OciRemote(here).tags(f"{place.host}/{name}"))


@pytest.mark.parametrize("answer", [429, 503])
def test_a_registry_that_is_busy_is_asked_again_when_it_says(place, name, here, release, answer) -> None:
    place.faults = [
        fault_proxy.Fault(line=line, count=2, answers=answer, headers={"Retry-After": "0"})
        for line in ("HEAD /v2/", "POST /v2/", "PATCH /v2/", "PUT /v2/")
    ]

    remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")

    assert all(each.count == 0 for each in place.faults)


def test_an_upload_that_is_cut_arrives_all_the_same(place, name, here, release, tmp_path) -> None:
    place.faults = [fault_proxy.Fault(line="PATCH", count=2, cuts_request=PART // 2)]

    remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")

    assert 0 == place.faults[0].count
    remote.OciRemote(tmp_path / "there").fetch(f"{place.host}/{name}:v1")
    assert oci_registry.OciRegistry(tmp_path / "there").check(release)


@pytest.mark.parametrize("line", ["PATCH", "PUT", "GET"])
def test_an_upload_that_was_forgotten_begins_anew(place, name, here, release, line) -> None:
    place.faults = [fault_proxy.Fault(line=f"{line} /v2/{name}/blobs/uploads/", answers=404)]
    if line == "GET":
        place.faults.append(fault_proxy.Fault(line="PATCH", answers=500))

    remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")

    assert [0] * len(place.faults) == [each.count for each in place.faults]


def test_a_registry_that_forgets_every_upload_is_not_said_to_have_no_such_tag(place, name, here, release) -> None:
    place.faults = [fault_proxy.Fault(line="PATCH", count=99, answers=404)]

    with pytest.raises(errors.UnavailableError, match="forgets uploads") as raised:
        remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")

    assert "has no" not in raised.value.message
    assert not (here / ".transfers").is_dir() or not list((here / ".transfers").glob("*.upload"))


@pytest.mark.parametrize("what", ["/manifests/sha256:", "/blobs/sha256:"])
def test_other_bytes_than_a_digest_names_are_refused_and_nothing_is_listed(place, name, here, release, what) -> None:
    remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")
    place.faults = [fault_proxy.Fault(line=f"GET /v2/{name}{what}", count=99, changes=True)]

    there = here.with_name("there")

    with pytest.raises(errors.UnavailableError, match="other bytes"):
        remote.OciRemote(there).fetch(f"{place.host}/{name}@{release}")

    assert oci_registry.OciRegistry(there).resolve(release.value) is None
    assert not list(there.rglob("*.part"))


def test_what_another_repository_of_the_registry_has_is_mounted_and_not_sent(place, name, here, release) -> None:
    remote.OciRemote(here).send(release, f"{place.host}/{name}/staging")
    before = len(place.seen)

    sent = remote.OciRemote(here).send(release, f"{place.host}/{name}/production:v1")

    assert [] == [each.line for each in place.seen[before:] if each.line.startswith("PATCH")]
    assert sent.present_bytes > len(LARGE) > sent.carried_bytes
    remote.OciRemote(here.parent / "there").fetch(f"{place.host}/{name}/production:v1")


def test_a_mount_that_is_refused_is_sent(place, name, here, release) -> None:
    remote.OciRemote(here).send(release, f"{place.host}/{name}/staging")
    place.faults = [fault_proxy.Fault(line="mount=", count=99, answers=403)]

    sent = remote.OciRemote(here).send(release, f"{place.host}/{name}/production:v1")

    assert sent.carried_bytes > len(LARGE)


def test_a_download_that_is_cut_goes_on_in_the_next_process_where_it_stopped(
    place, name, here, release, tmp_path
) -> None:
    remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")
    there = tmp_path / "there"
    large = max((here / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    line = f"GET /v2/{name}/blobs/sha256:{large.name}"
    place.faults = [
        fault_proxy.Fault(line=line, cuts_answer=70_000),
        fault_proxy.Fault(line=f"HEAD /v2/{name}/blobs/sha256:{large.name}", count=99, answers=500),
    ]
    place.faults[1].count = 0  # not yet
    place.on_request = lambda seen: (
        setattr(place.faults[1], "count", 99) if seen.line.startswith(line) else None  # away after the cut
    )

    with pytest.raises(errors.UnavailableError):
        remote.OciRemote(there).fetch(f"{place.host}/{name}:v1")
    (part,) = (there / ".transfers").glob("*.part")
    assert (70_000, 0o600) == (part.stat().st_size, part.stat().st_mode & 0o777)
    place.faults, place.on_request = [], lambda _: None
    remote.OciRemote(there).fetch(f"{place.host}/{name}:v1")

    answered = place.lines(line)
    assert "bytes=70000-" == answered[-1].headers["range"]
    assert large.stat().st_size == sum(each.sent for each in answered)
    assert oci_registry.OciRegistry(there).check(release)
    assert not part.exists()


def test_a_part_that_went_bad_is_fetched_from_the_start(place, name, here, release, tmp_path) -> None:
    remote.OciRemote(here).send(release, f"{place.host}/{name}:v1")
    large = max((here / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    folder = tmp_path / "there" / ".transfers"
    folder.mkdir(parents=True)
    (folder / f"{large.name}.part").write_bytes(b"?" * 1_000)

    remote.OciRemote(tmp_path / "there").fetch(f"{place.host}/{name}:v1")

    assert oci_registry.OciRegistry(tmp_path / "there").check(release)


def test_tokens_are_asked_for_what_is_done_and_passwords_go_nowhere_else(here, release, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(uploads, "PART_BYTES", PART)
    told = base64.b64encode(b"ana:s3cret").decode()
    registry = distribution_lab.Distribution()
    registry.password = "ana:s3cret"
    with distribution_lab.served(registry) as host, fault_proxy.proxied(host) as proxy:
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {f"{proxy.host}/team": {"auth": told}}}))

        remote.OciRemote(here).send(release, f"{proxy.host}/team/app:v1")
        sent = list(registry.scopes)
        remote.OciRemote(tmp_path / "there").fetch(f"{proxy.host}/team/app:v1")
        with pytest.raises(errors.ConfigError, match="refuses") as raised:
            remote.OciRemote(here).send(release, f"{proxy.host}/other:v1")

    assert ["repository:team/app:pull", "repository:team/app:pull,push"] == sent
    assert ["repository:team/app:pull"] == registry.scopes[2:]
    with_password = [each.line for each in proxy.seen if told in each.headers.get("authorization", "")]
    assert with_password == [each.line for each in proxy.lines("GET /token")][:3]
    assert "s3cret" not in raised.value.message + raised.value.remedy


def test_images_go_the_same_way_and_go_on_after_cuts(place, name, tmp_path) -> None:
    images = store.Store(tmp_path / "images")
    blobs = [images.put(b"{}"), images.put(LARGE + name.encode())]
    described = [
        {"mediaType": store.LAYER, "digest": each.value, "size": images.path(each).stat().st_size} for each in blobs
    ]
    manifest = {"schemaVersion": 2, "mediaType": store.MANIFEST, "config": described[0], "layers": described[1:]}
    digest = images.put(store.canonical(manifest))
    place.faults = [
        fault_proxy.Fault(line="PATCH", cuts_request=PART // 2),
        fault_proxy.Fault(line=f"GET /v2/{name}/blobs/{blobs[1]}", cuts_answer=70_000),
    ]
    registries = transfer.Registries()

    registries.send(tmp_path / "images", digest, f"{place.host}/{name}:v1")
    fetched = registries.fetch(f"{place.host}/{name}:v1", tmp_path / "there", architecture="amd64")

    assert ([0, 0], digest) == ([each.count for each in place.faults], fetched)
    assert store.Store(tmp_path / "there").holds(blobs[1])
    assert "bytes=70000-" == place.lines("GET", blobs[1].value)[-1].headers["range"]


def test_what_is_not_there_is_the_callers_mistake(place, name, tmp_path) -> None:
    digest = "sha256:" + "0" * 64
    with pytest.raises(errors.ConfigError, match=f"{name}:none"):
        remote.OciRemote(tmp_path).fetch(f"{place.host}/{name}:none")
    with pytest.raises(errors.ConfigError, match=f"{name}@{digest}"):
        remote.OciRemote(tmp_path).fetch(f"{place.host}/{name}@{digest}")


@pytest.fixture
def quick(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(uploads, "PART_BYTES", PART)
    monkeypatch.setattr(repository, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(remote, "_SETTLE_SECONDS", 0.0)


def test_where_conditions_are_minded_nobody_has_to_wait_to_lose_nothing(quick, here, release) -> None:
    registry = distribution_lab.Distribution(has_referrers=False, has_conditions=True)
    late = here.with_name("late")
    shutil.copytree(here, late)
    note(late, release, "late")
    note(here, release, "ours")
    with distribution_lab.served(registry) as host, fault_proxy.proxied(host) as proxy:
        tag = f"PUT /v2/demo/manifests/{repository.fallback_tag(release)}"
        proxy.on_request = lambda seen: (
            remote.OciRemote(late).send(release, f"{host}/demo")
            if seen.line == tag and len(proxy.lines(tag)) == 1
            else None
        )

        remote.OciRemote(here).send(release, f"{proxy.host}/demo:v1")
        remote.OciRemote(here.with_name("there")).fetch(f"{host}/demo:v1")

    assert 2 == len(proxy.lines(tag))
    assert {"late", "ours"} < set(notes(here.with_name("there"), release))


def test_a_registry_that_ignores_ranges_gives_the_blob_from_the_start(quick, here, release, tmp_path) -> None:
    there = tmp_path / "there"
    large = max((here / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    (there / ".transfers").mkdir(parents=True)
    (there / ".transfers" / f"{large.name}.part").write_bytes(large.read_bytes()[:50_000])
    with distribution_lab.served(distribution_lab.Distribution(has_ranges=False)) as host:
        remote.OciRemote(here).send(release, f"{host}/demo:v1")
        remote.OciRemote(there).fetch(f"{host}/demo:v1")

    assert oci_registry.OciRegistry(there).check(release)


def test_a_whole_part_of_long_ago_is_young_in_its_place(quick, here, release, tmp_path) -> None:
    there = tmp_path / "there"
    (there / ".transfers").mkdir(parents=True, mode=0o700)
    large = max((here / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    part = there / ".transfers" / f"{large.name}.part"
    part.write_bytes(large.read_bytes())
    yesterday = time.time() - 86_400.0
    os.utime(part, (yesterday, yesterday))
    with distribution_lab.served(distribution_lab.Distribution()) as host:
        remote.OciRemote(here).send(release, f"{host}/demo:v1")
        remote.OciRemote(there).fetch(f"{host}/demo:v1")

    assert (there / "blobs" / "sha256" / large.name).stat().st_mtime > yesterday + 3_600.0


def test_a_disk_without_room_keeps_no_part(quick, here, release, tmp_path, monkeypatch) -> None:
    with distribution_lab.served(distribution_lab.Distribution()) as host:
        remote.OciRemote(here).send(release, f"{host}/demo:v1")

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(errors.UnavailableError, match="disk is full"):
                remote.OciRemote(tmp_path / "there").fetch(f"{host}/demo:v1")

        assert not list((tmp_path / "there").rglob("*.part"))
        assert release == remote.OciRemote(tmp_path / "there").fetch(f"{host}/demo:v1").digest


def test_what_cannot_be_remembered_is_sent_all_the_same(quick, here, release) -> None:
    (here / ".transfers").write_text("in the way")
    with distribution_lab.served(distribution_lab.Distribution()) as host:
        assert remote.OciRemote(here).send(release, f"{host}/demo:v1").carried_bytes > len(LARGE)


def test_a_place_at_another_host_is_not_kept(quick, here, release) -> None:
    with distribution_lab.served(distribution_lab.Distribution()) as host, fault_proxy.proxied(host) as proxy:
        elsewhere = host.replace("127.0.0.1", "localhost")
        with repository.Repository(f"{proxy.host}/demo") as target:
            file = max((here / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
            digest = releases_core.Digest(f"sha256:{file.name}")
            proxy.faults = [
                fault_proxy.Fault(
                    line="POST",
                    answers=202,
                    headers={"Location": f"http://{elsewhere}/v2/demo/blobs/uploads/0?right=s3cret"},
                )
            ]
            kept: list[bytes] = []
            proxy.on_request = lambda _: kept.extend(path.read_bytes() for path in here.rglob("*.upload"))

            uploads.send(target, digest, file, here / ".transfers")

    assert kept
    assert not any(b"s3cret" in raw for raw in kept)
