"""Releases that are launched without being built: which references name one, and who says how it runs."""

from __future__ import annotations

import pathlib
import sys

import pytest

from softlaunch import errors
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.oci import remote
from softlaunch.config import home as homes
from softlaunch.core import release
from softlaunch.distribution import repository
from softlaunch.testing import releases
from softlaunch.wiring import pulled

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "contract"))

import distribution_lab
import fault_proxy


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """HOST/NAME@sha256:HEX of a release that another home has sent, and its registry."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(repository, "_PAUSE_SECONDS", 0.001)
    digest = oci_registry.OciRegistry(tmp_path / "there").push(releases.write(tmp_path / "release", name="demo"))
    with distribution_lab.served(distribution_lab.Distribution()) as host, fault_proxy.proxied(host) as proxy:
        yield remote.OciRemote(tmp_path / "there").send(digest, f"{proxy.host}/team/demo:v1").reference, proxy


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    return homes.Home(tmp_path / "home", run_root=tmp_path)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A folder that is no git repository."""
    path = tmp_path / "folder"
    path.mkdir()
    describe(path, releases.SERVICE)
    return path


def describe(folder: pathlib.Path, service: str) -> None:
    (folder / "softlaunch.yaml").write_text(
        f"service: {service}\nmodel: model.joblib\nenvironments: {{production: {{evidence: {{require: signed}}}}}}\n"
    )


def find(home, folder, reference) -> pulled.Pulled | None:
    return pulled.find(home, folder, reference, lambda _: None)


@pytest.mark.parametrize(
    "reference",
    ["HEAD", "main", "feature/v1.2", "v1.2", "v1.2/fix", "deadbeefdeadbeef", "HEAD~1", ":/fix: that", "a/b:c"],
)
def test_names_of_gits_are_left_to_git(home, folder, reference) -> None:
    assert find(home, folder, reference) is None


def test_a_release_is_pulled_by_digest_or_tag_and_runs_as_the_folder_here_says(elsewhere, home, folder) -> None:
    reference, _ = elsewhere
    name, _, digest = reference.partition("@")

    found = find(home, folder, reference)

    assert release.Digest(digest) == found.digest
    assert ["signed"] == [each.evidence.require.value for each in found.spec.environments]
    again = [find(home, folder, each).digest for each in (f"{name}:v1", digest, digest[7:], digest[7:19])]
    assert [found.digest] * 4 == again


def test_what_was_pulled_is_found_while_the_registry_is_away_by_digest_alone(elsewhere, home, folder) -> None:
    reference, proxy = elsewhere
    find(home, folder, reference)
    proxy.faults = [fault_proxy.Fault(line="/v2/", count=99, answers=503, headers={"Retry-After": "0"})]
    told: list[str] = []

    assert reference.endswith(pulled.find(home, folder, reference, told.append).digest.value)
    assert "is whole" in told[-1]
    with pytest.raises(errors.UnavailableError):
        find(home, folder, f"{reference.partition('@')[0]}:v1")


def test_a_damaged_release_is_not_launched_while_the_registry_is_away(elsewhere, home, folder) -> None:
    reference, proxy = elsewhere
    find(home, folder, reference)
    proxy.faults = [fault_proxy.Fault(line="/v2/", count=99, answers=503, headers={"Retry-After": "0"})]
    blobs = home.registry / "blobs" / "sha256"
    max(blobs.iterdir(), key=lambda path: path.stat().st_size).write_bytes(b"rot")

    with pytest.raises(errors.UnavailableError, match="other bytes"):
        find(home, folder, reference)


def test_a_release_of_another_service_is_refused(elsewhere, home, folder) -> None:
    describe(folder, "other")

    with pytest.raises(errors.ConfigError, match="is not of other"):
        find(home, folder, elsewhere[0])


def test_without_a_service_file_nothing_is_fetched(elsewhere, home, folder) -> None:
    (folder / "softlaunch.yaml").unlink()
    reference, proxy = elsewhere
    before = len(proxy.seen)

    with pytest.raises(errors.ConfigError, match=r"no softlaunch\.yaml"):
        find(home, folder, reference)

    assert before == len(proxy.seen)


def test_a_digest_that_is_not_here_is_said_to_be_none_of_git(home, folder) -> None:
    with pytest.raises(errors.ConfigError, match="has no release sha256:0000000"):
        find(home, folder, "sha256:" + "0" * 64)
