"""The files of each CI system, word for word, and their scripts in a real shell."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess

import pytest
import ruamel.yaml

from softlaunch import errors
from softlaunch.config import service_file
from softlaunch.controller.ci_files import (
    cluster,
    documents,
    github,
    gitlab,
    jenkins,
    jenkins_x,
    plan,
    shell,
    tekton,
    writing,
)

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "ci"
SYSTEMS = {
    "github": github.export,
    "gitlab": gitlab.export,
    "jenkins": jenkins.export,
    "jenkins-x": jenkins_x.export,
    "tekton": tekton.export,
    "argocd": cluster.argo_cd,
    "flux": cluster.flux,
}
SERVICE = """
service: flights
model: {python: "model.py:Predictor", inputs: {x: FP64}}
environments:
  integration: {branch: develop, strategy: recreate, verify: smoke}
  production: {branch: main, after: integration, strategy: recreate}
"""


def asked(text: str = SERVICE, folder: str = "") -> plan.Plan:
    return plan.plan(service_file.parse(text), folder=pathlib.PurePath(folder), version="0.1.0")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_s_files_are_those_that_were_reviewed(system: str) -> None:
    """To accept a change: softlaunch export's output, below tests/golden/ci/SYSTEM; REVIEWED=1 writes it."""
    files = SYSTEMS[system](asked()).files
    if os.environ.get("REVIEWED"):
        writing.write(files, GOLDEN / system, force=True)

    there = {str(path.relative_to(GOLDEN / system)) for path in (GOLDEN / system).rglob("*") if path.is_file()}

    assert there == set(files)
    for name, text in files.items():
        assert (GOLDEN / system / name).read_text() == text


@pytest.mark.parametrize("system", SYSTEMS)
def test_services_of_one_repository_keep_out_of_each_other_s_way(system: str) -> None:
    """But for the health check of all CronJobs, of which Argo CD has one."""
    one = SYSTEMS[system](asked(folder="services/flights")).files
    other = SYSTEMS[system](asked(SERVICE.replace("flights", "hotels"), folder="services/hotels")).files

    shared = set(one) & set(other)

    assert shared == ({"argocd/argocd-cm.yaml"} if system == "argocd" else set())


def test_a_service_of_which_no_branch_is_known_is_not_exported() -> None:
    text = SERVICE.replace("branch: develop, ", "").replace("branch: main, ", "")

    with pytest.raises(errors.ConfigError, match="No environment of flights has a `branch:`"):
        asked(text)


@pytest.mark.parametrize(
    "word", ["yes", "on", "No", "1e3", "012", "12:30", "null", "plain", "two\nlines\n", "a: b", "#"]
)
def test_a_string_stays_one_for_readers_of_old_and_new_yaml(word: str) -> None:
    text = documents.text({"word": word}, heading="x")

    for version in ("1.1", "1.2"):
        reader = ruamel.yaml.YAML(typ="safe", pure=True)
        reader.version = version
        assert {"word": word} == reader.load(text)


def test_branches_with_odd_names_reach_their_condition_whole() -> None:
    odd = asked(SERVICE.replace("branch: main", "branch: it's-main"))

    workflow = github.export(odd).files[".github/workflows/softlaunch-ship.yml"]
    pipeline = jenkins.export(odd).files["Jenkinsfile"]

    assert "if: github.ref == 'refs/heads/it''s-main'" in workflow
    assert r"branch pattern: 'it\'s-main'" in pipeline


@pytest.fixture
def repository(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Two commits, a tag and a branch of origin's on the first; a `softlaunch` that writes down how it was called."""
    who = {f"GIT_{role}_{what}": "ada@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for name, value in {**who, "GIT_CONFIG_GLOBAL": os.devnull}.items():
        monkeypatch.setenv(name, value)
    found = tmp_path / "repository"
    found.mkdir()
    for command in (
        "init -q -b main",
        "commit -q --allow-empty -m one",
        "tag v1",
        "update-ref refs/remotes/origin/release/1 HEAD",
        "commit -q --allow-empty -m two",
    ):
        subprocess.run(["git", *command.split()], cwd=found, check=True)
    program = tmp_path / "bin" / "softlaunch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/called\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return found


def rolled_back(repository: pathlib.Path, ref: str, environment: str = "production") -> list[str] | str:
    """How softlaunch was called; else what the script complained of."""
    variables = {"ROLLBACK_REF": ref, "ROLLBACK_ENVIRONMENT": environment, "ROLLBACK_REASON": "It's $(touch x); slow"}
    script = shell.roll_back(asked())
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=repository,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    called = repository.parent / "called"
    if done.returncode == 0:
        return called.read_text().splitlines()
    assert (done.returncode, called.exists()) == (2, False)
    return done.stderr.strip()


def commit(repository: pathlib.Path, name: str) -> str:
    command = ["git", "rev-parse", name]
    return subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("ref", ["v1", "release/1", "HEAD~1", "commit", "short"])
def test_a_rollback_asks_for_the_commit_that_a_reference_names(repository: pathlib.Path, ref: str) -> None:
    first = commit(repository, "v1")

    called = rolled_back(repository, {"commit": first, "short": first[:9]}.get(ref, ref))

    assert called[:3] == ["rollback", "--to", first]
    assert called[3:] == ["--service", "flights", "--env", "production", "--reason=It's $(touch x); slow"]
    assert not (repository / "x").exists()


def test_previous_is_left_to_softlaunch(repository: pathlib.Path) -> None:
    assert rolled_back(repository, "previous")[:3] == ["rollback", "--to", "previous"]


@pytest.mark.parametrize("ref", ["", "--help", "-v", "v1; touch x", "$(touch x)", "v1\nv2", "a b", "`x`", "é"])
def test_what_is_no_reference_never_reaches_git(repository: pathlib.Path, ref: str) -> None:
    assert rolled_back(repository, ref) == "That is no commit, tag or branch."


def test_a_reference_of_nothing_is_refused(repository: pathlib.Path) -> None:
    assert rolled_back(repository, "v9") == "There is no such commit, tag or branch."


def test_an_environment_that_is_none_is_refused(repository: pathlib.Path) -> None:
    assert rolled_back(repository, "v1", environment="staging") == "There is no such environment."


def test_changed_files_are_kept_and_then_nothing_is_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "b").write_text("mine")

    with pytest.raises(errors.ConfigError, match="something else already in b"):
        writing.write({"a/a": "1", "b": "2"}, tmp_path, force=False)

    assert not (tmp_path / "a").exists()
    assert writing.write({"a/a": "1", "b": "2"}, tmp_path, force=True) == {"a/a": True, "b": True}
    assert writing.write({"a/a": "1", "b": "2"}, tmp_path, force=False) == {"a/a": False, "b": False}
    assert (tmp_path / "b").read_text() == "2"


def test_a_folder_where_a_file_belongs_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()

    with pytest.raises(errors.ConfigError, match="a cannot be written"):
        writing.write({"a": "1"}, tmp_path, force=True)


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_only_ships_get_an_identity_token_and_only_where_builds_are_signed_without_keys(name) -> None:
    yaml = ruamel.yaml.YAML(typ="safe")
    mark = "id-token" if name == "github" else "SIGSTORE_ID_TOKEN"

    def with_token(text: str) -> dict[str, object]:
        files = SYSTEMS[name](asked(text)).files
        parts = [yaml.load(each) for each in files.values()]
        jobs = parts if name == "github" else [{key: value} for key, value in parts[0].items()]
        return {str(job.get("name", next(iter(job)))): job for job in jobs if mark in str(job)}

    assert {} == with_token(SERVICE)
    given = with_token(f"{SERVICE}evidence: {{sign: keyless}}\n")
    if name == "github":
        (ship,) = given.values()
        assert "softlaunch ship" == ship["name"]
        assert {"contents": "read", "id-token": "write"} == ship["permissions"]
        return
    assert {"softlaunch-ship-integration", "softlaunch-ship-production"} == set(given)
    for job, said in given.items():
        assert {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}} == said[job]["id_tokens"]
