"""Real git servers: passwords that are kept by git, branches that are protected, servers that hang or are gone."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import git_server

from softlaunch import errors
from softlaunch.adapters.git import mirror, remote, reverts

DAY = 1_700_000_000.0


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "server").mkdir()
    return tmp_path


@pytest.fixture
def configuration(directory, monkeypatch) -> pathlib.Path:
    """Of git, for the user who runs softlaunch."""
    found = directory / "gitconfig"
    found.touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(found))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(directory))
    return found


@pytest.fixture
def server(directory, configuration):
    found = git_server.GitServer(directory / "server")
    found.create()
    yield found
    found.close()


@pytest.fixture
def people(directory, server) -> pathlib.Path:
    """A clone with one commit, pushed."""
    clone = directory / "clone"
    git_server.git(directory, "clone", "-q", str(server.directory / "flights.git"), str(clone))
    commit(clone, "1")
    return clone


def commit(clone: pathlib.Path, model: str, *flags: str) -> str:
    (clone / "model.py").write_text(f"{model}\n")
    git_server.git(clone, "add", "-A")
    git_server.git(clone, "commit", "-q", "-m", f"Model {model}", *flags)
    git_server.git(clone, "push", "-q", "--force", "origin", "HEAD:main")
    return git_server.git(clone, "rev-parse", "HEAD")


def follow(directory: pathlib.Path, url: str) -> tuple[mirror.GitMirror, reverts.GitReverts]:
    copy = mirror.GitMirror(mirror.check_url(url), directory / "copy")
    return copy, reverts.GitReverts(copy, url)


def test_a_repository_is_followed_over_http(directory, server, people) -> None:
    copy, _ = follow(directory, server.url())
    tip = commit(people, "2")

    heads = copy.look()
    copy.fetch()

    assert ({"main": tip}, "main") == (heads.branches, heads.default)
    assert b"2\n" == (copy.checkout("production", branch="main", commit=tip) / "model.py").read_bytes()


def test_git_s_own_credential_helper_opens_a_server_with_a_password(directory, configuration) -> None:
    server = git_server.GitServer(directory / "server", password=True)
    server.create()
    copy, _ = follow(directory, server.url())
    try:
        with pytest.raises(errors.UnavailableError) as caught:
            copy.look()
        assert "failed" in caught.value.message

        (directory / "kept").write_text(
            f"http://{git_server.USER}:{git_server.PASSWORD}@127.0.0.1%3a{server.port}\n", encoding="utf-8"
        )
        (directory / "kept").chmod(0o600)
        configuration.write_text(f"[credential]\n\thelper = store --file={directory / 'kept'}\n")

        assert {} == dict(copy.look().branches)
    finally:
        server.close()


def test_a_password_in_an_address_is_refused_and_never_said(directory) -> None:
    for address in (
        f"https://{git_server.USER}:{git_server.PASSWORD}@git.example.com/x.git",
        f"https://{git_server.PASSWORD}@git.example.com/x.git",
        f"ssh://git:{git_server.PASSWORD}@git.example.com/x.git",
    ):
        with pytest.raises(errors.ConfigError) as caught:
            mirror.check_url(address)
        assert git_server.PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["", "--upload-pack=id", "ext::sh -c id", "ftp://x/y", "https://x/y\nz", "nowhere/at/all", "javascript://x"],
)
def test_an_address_that_would_run_something_is_refused(address) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        mirror.check_url(address)

    assert errors.Code.FOLLOW_URL is caught.value.code


@pytest.mark.parametrize(
    "address", ["https://h/x.git", "ssh://git@h/x", "git@h:team/x.git", "git://h/x", "file:///x", "h:x"]
)
def test_addresses_that_git_knows_are_taken(address) -> None:
    assert address == mirror.check_url(address)


def test_what_git_says_is_freed_of_user_names_and_passwords() -> None:
    said = "fatal: unable to access 'https://robot:s3cret@h/x.git/': Authorization: Basic cm9ib3Q= refused"

    scrubbed = remote.scrub(said)

    assert "s3cret" not in scrubbed
    assert "cm9ib3Q" not in scrubbed
    assert "https://h/x.git/" in scrubbed


def test_a_protected_branch_says_why_and_the_revert_goes_beside_it(directory, server, people) -> None:
    good, bad = git_server.git(people, "rev-parse", "HEAD"), commit(people, "2")
    copy, back = follow(directory, server.url())
    copy.look()
    copy.fetch()
    server.protect("main")
    made = back.write(tip=bad, bad=bad, good=[good], reason="it errs", at=DAY)

    with pytest.raises(errors.ConflictError) as caught:
        back.push(made, branch="main")
    back.push(made, branch="softlaunch/revert-x", into="main")

    assert "open a merge request" in caught.value.message
    assert {"main": bad, "softlaunch/revert-x": made} == dict(copy.look().branches)
    message = git_server.git(server.directory / "flights.git", "show", "--no-patch", "--format=%an%n%B", made)
    assert message.startswith('softlaunch\nRevert "Model 2"')
    assert "it errs" in message


def test_a_server_that_takes_wishes_is_asked_for_a_merge_request(directory, server, people) -> None:
    """As GitLab does."""
    place = server.directory / "flights.git"
    git_server.git(place, "config", "receive.advertisePushOptions", "true")
    hook = place / "hooks" / "post-receive"
    hook.write_text(f'#!/bin/sh\necho "$GIT_PUSH_OPTION_0 $GIT_PUSH_OPTION_1" > "{directory}/wishes"\n')
    hook.chmod(0o755)
    good, bad = git_server.git(people, "rev-parse", "HEAD"), commit(people, "2")
    copy, back = follow(directory, server.url())
    copy.look()
    copy.fetch()

    made = back.write(tip=bad, bad=bad, good=[good], reason="it errs", at=DAY)
    back.push(made, branch="softlaunch/revert-x", into="main")

    assert "merge_request.create merge_request.target=main\n" == (directory / "wishes").read_text()


def test_a_server_that_is_down_is_unavailable_and_the_copy_goes_on(directory, configuration) -> None:
    server = git_server.GitServer(directory / "server")
    server.create()
    clone = directory / "clone"
    git_server.git(directory, "clone", "-q", str(server.directory / "flights.git"), str(clone))
    tip = commit(clone, "1")
    copy, _ = follow(directory, server.url())
    copy.look()
    copy.fetch()
    server.close()

    with pytest.raises(errors.UnavailableError):
        copy.look()

    assert (copy.checkout("production", branch="main", commit=tip) / "model.py").is_file()


def test_a_server_that_says_nothing_is_given_up_on_and_can_be_left(directory, configuration, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        copy, _ = follow(directory, f"git://127.0.0.1:{silent.getsockname()[1]}/x")
        copy._prepare()
        with pytest.raises(errors.UnavailableError, match="did not answer"):
            copy.git.run(copy.bare, "ls-remote", copy._url, seconds=0.5)

        began = time.monotonic()
        threading.Timer(0.3, copy.close).start()
        with pytest.raises(errors.UnavailableError):
            copy.look()
        assert time.monotonic() - began < remote.ASK_SECONDS_MAX / 2


def test_a_signed_commit_is_known_by_the_keys_that_git_knows(directory, configuration, server, people) -> None:
    key, other = directory / "key", directory / "other"
    for each in (key, other):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(each)], check=True)
    allowed = directory / "allowed"
    allowed.write_text(f"ada@example.com {key.with_suffix('.pub').read_text()}")
    configuration.write_text(f'[gpg]\n\tformat = ssh\n[gpg "ssh"]\n\tallowedSignersFile = {allowed}\n')
    copy, _ = follow(directory, server.url())

    unsigned = git_server.git(people, "rev-parse", "HEAD")
    git_server.git(people, "config", "gpg.format", "ssh")
    git_server.git(people, "config", "user.signingkey", str(key))
    signed = commit(people, "2", "-S")
    git_server.git(people, "config", "user.signingkey", str(other))
    foreign = commit(people, "3", "-S")
    copy.look()
    copy.fetch()

    assert "" == copy.unsigned(signed)
    assert "no good signature" in copy.unsigned(unsigned)
    assert "no good signature" in copy.unsigned(foreign)


def test_nothing_that_is_configured_in_a_followed_repository_runs(directory, server, people) -> None:
    """Filters named in .gitattributes need a configuration that is not the repository's; hooks come with no clone."""
    (people / ".gitattributes").write_text("*.py filter=evil\n")
    (people / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = ext::sh -c id\n')
    tip = commit(people, "2")
    copy, _ = follow(directory, server.url())
    copy.look()
    copy.fetch()

    folder = copy.checkout("production", branch="main", commit=tip)

    assert b"2\n" == (folder / "model.py").read_bytes()
    assert "" == git_server.git(folder, "status", "--porcelain")


def test_variables_of_a_hook_that_started_softlaunch_lead_nowhere_else(directory, server, people, monkeypatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(directory / "elsewhere"))
    monkeypatch.setenv("GIT_TRACE", "1")

    assert "GIT_DIR" not in remote.environment()
    assert "GIT_TRACE" not in remote.environment()
    assert os.environ["GIT_CONFIG_GLOBAL"] == remote.environment()["GIT_CONFIG_GLOBAL"]
