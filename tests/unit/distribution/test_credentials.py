"""Whose credentials a registry is shown: which file, which entry, and nothing of them in an error."""

from __future__ import annotations

import base64
import json
import pathlib

import pytest

from softlaunch import errors
from softlaunch.distribution import credentials

HOST = "registry.example.com"


def pair(name: str) -> str:
    return base64.b64encode(f"{name}:s3cret".encode()).decode()


def kept(path: pathlib.Path, **auths: str) -> pathlib.Path:
    """A file with credentials: key, and name of the user."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": {key: {"auth": pair(name)} for key, name in auths.items()}}))
    return path


@pytest.fixture
def variables(tmp_path, monkeypatch) -> dict[str, str]:
    """Every place, each with another user for the same registry."""
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path / "home")
    kept(tmp_path / "auth.json", **{HOST: "explicit"})
    kept(tmp_path / "docker" / "config.json", **{HOST: "docker"})
    kept(tmp_path / "home" / ".docker" / "config.json", **{HOST: "home"})
    kept(tmp_path / "run" / "containers" / "auth.json", **{HOST: "podman"})
    kept(tmp_path / "home" / ".config" / "containers" / "auth.json", **{HOST: "xdg"})
    return {
        "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json"),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
    }


def who(variables: dict[str, str], name: str = "team/app", host: str = HOST) -> str | None:
    found = credentials.find(host, name, variables)
    return None if found is None else base64.b64decode(found.removeprefix("Basic ")).decode().partition(":")[0]


def test_the_file_that_is_named_comes_first_then_dockers_then_podmans(variables, tmp_path) -> None:
    found = []
    for gone in ("auth.json", "docker/config.json", "run/containers/auth.json", "home/.config/containers/auth.json"):
        found.append(who(variables))
        (tmp_path / gone).unlink()

    assert ["explicit", "docker", "podman", "xdg"] == found
    assert who(variables) is None


def test_dockers_file_is_the_one_at_home_when_no_folder_is_named(variables) -> None:
    del variables["DOCKER_CONFIG"], variables["REGISTRY_AUTH_FILE"]

    assert "home" == who(variables)


def test_a_file_that_does_not_know_the_registry_lets_the_next_one_speak(variables, tmp_path) -> None:
    kept(tmp_path / "auth.json", **{"other.example.com": "other"})

    assert "docker" == who(variables)


def test_an_entry_of_a_repository_comes_before_its_teams_and_that_before_the_registrys(variables, tmp_path) -> None:
    kept(
        tmp_path / "auth.json",
        **{HOST: "registry", f"{HOST}/team": "team", f"{HOST}/team/app": "app", f"{HOST}/team/ap": "prefix"},
    )

    assert ["app", "app", "team", "registry"] == [
        who(variables, name) for name in ("team/app", "team/app/deep", "team/other", "else/app")
    ]


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "docker.io/library"])
def test_docker_hub_has_more_than_one_name(variables, tmp_path, key) -> None:
    kept(tmp_path / "auth.json", **{key: "hub"})

    assert "hub" == who(variables, "library/debian", "docker.io")


def test_a_helper_takes_the_place_of_what_stands_in_its_file(variables, tmp_path, monkeypatch) -> None:
    path = kept(tmp_path / "auth.json", **{HOST: "registry"})
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "credHelpers": {HOST: "vault"}}))
    programs = tmp_path / "bin"
    programs.mkdir()
    helper = programs / "docker-credential-vault"
    helper.write_text('#!/bin/sh\necho "{\\"Username\\": \\"asked-for-$(cat)\\", \\"Secret\\": \\"s3cret\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    assert f"asked-for-{HOST}" == who(variables)

    helper.write_text("#!/bin/sh\necho no credentials; exit 1\n")
    assert "docker" == who(variables)  # the next file's


def test_the_store_of_all_registries_is_asked_for_the_host_alone(variables, tmp_path, monkeypatch) -> None:
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {}, "credsStore": "desktop"}))
    helper = tmp_path / "docker-credential-desktop"
    helper.write_text('#!/bin/sh\necho "{\\"Username\\": \\"asked-for-$(cat)\\", \\"Secret\\": \\"s3cret\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert f"asked-for-{HOST}" == who(variables)


@pytest.mark.parametrize(
    "raw", ["s3cret", "[]", '{"auths": {"registry.example.com": "s3cret"}}', '{"auths": "s3cret"}']
)
def test_a_file_that_cannot_be_read_is_named_and_nothing_of_it_is_shown(variables, tmp_path, raw) -> None:
    (tmp_path / "auth.json").write_text(raw)

    with pytest.raises(errors.ConfigError, match=r"auth\.json cannot be read") as raised:
        who(variables)

    assert "s3cret" not in str(raised.value) + repr(raised.value.__cause__)
