"""follow, unfollow, sync and webhook git, as they are typed."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from softlaunch.cli import following

YAML = """
service: demo
model: {python: "model.py:Predictor", inputs: {x: FP64}}
environments:
  production: {branch: main, strategy: recreate}
"""


@pytest.fixture
def repository(tmp_path: pathlib.Path, home, monkeypatch) -> pathlib.Path:
    """One commit; the service lies in a folder."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    found = tmp_path / "repository"
    (found / "services" / "demo").mkdir(parents=True)
    (found / "services" / "demo" / "softlaunch.yaml").write_text(YAML)
    git(found, "init", "-q", "-b", "main")
    git(found, "add", "-A")
    git(found, "commit", "-q", "-m", "Predict")
    return found


def git(directory: pathlib.Path, *arguments: str) -> str:
    identity = {f"GIT_{who}_{what}": "ada@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **identity}).stdout


@pytest.fixture
def followed(run, machine, repository, monkeypatch):
    """The service is followed; what is waited for turns what follows."""
    source = machine.client.app.state.following
    monkeypatch.setattr(following.time, "sleep", lambda _seconds: source.turn())
    done = run("follow", str(repository / "services" / "demo"), "--json")
    assert 0 == done.code, done.err
    return done.document


def test_a_folder_inside_a_repository_is_followed_as_such(followed, repository) -> None:
    assert (str(repository), "services/demo", "demo", "revert") == tuple(
        followed[name] for name in ("url", "folder", "service", "on_rollback")
    )
    assert [{"environment": "production", "branch": "main"}] == followed["environments"]


def test_what_is_followed_is_said(run, machine, repository) -> None:
    done = run("follow", str(repository), "--folder", "services/demo", "--every", "2m")

    assert "asked every 2m" in done.out
    assert "production is made of main" in done.out


def test_status_says_what_is_wrong_and_exits_1(run, machine, followed) -> None:
    assert 0 == run("sync", "demo").code

    done = run("sync", "--status")

    assert 1 == done.code
    assert "The repository has no default branch with a commit." in done.out


def test_sync_waits_until_the_server_was_asked(run, machine, followed) -> None:
    done = run("sync", "demo", "--json")

    (found,) = done.document
    assert (0, False) == (done.code, found["asking"])


def test_following_ends(run, machine, followed) -> None:
    assert "follows no repository any more" in run("unfollow", "demo").out
    assert "No repository is followed" in run("sync", "--status").out
    assert 2 == run("unfollow", "demo").code
    assert 2 == run("sync", "demo", "--status").code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["follow", "https://user:secret@h/x.git"], "carries a user name or a password"),
        (["follow", "--folder", "x", "ext::sh -c id"], "names a program to run"),
        (["follow", "nowhere"], "There is no directory"),
        (["sync", "--status", "--accept", "1234567"], "--status only shows"),
    ],
)
def test_mistakes_are_said_and_exit_2(run, machine, home, words, said) -> None:
    done = run(*words)

    assert 2 == done.code
    assert said in done.err
    assert "secret" not in done.err


def test_a_repository_without_the_file_is_said(run, machine, repository) -> None:
    done = run("follow", str(repository), "--folder", "elsewhere")

    assert 2 == done.code
    assert "There is no elsewhere/softlaunch.yaml on main" in done.err


def test_a_service_without_branches_is_not_followed(run, machine, repository) -> None:
    path = repository / "services" / "demo" / "softlaunch.yaml"
    path.write_text(YAML.replace("branch: main, ", ""))
    git(repository, "commit", "-q", "-a", "-m", "No branch")

    done = run("follow", str(path.parent))

    assert 2 == done.code
    assert "has a `branch:`" in done.err


def test_the_git_server_s_secret_follows_from_the_other_and_is_another(run, home) -> None:
    assert 2 == run("webhook", "git").code
    made = run("webhook", "secret", "--json").document["secret"]

    first, second = (run("webhook", "git", "--json").document["secret"] for _ in range(2))
    run("webhook", "secret", "--rotate")

    assert first == second != made
    assert first != run("webhook", "git", "--json").document["secret"]
