"""What every repository that is followed keeps to, and every way back into it."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

from softlaunch import errors
from softlaunch.adapters.git import mirror, reverts
from softlaunch.testing import repository as memory

FOLDER = "services/delay"
ONE, TWO, THREE = ({"softlaunch.yaml": b"service: demo\n", "model.py": letter} for letter in (b"1\n", b"2\n", b"3\n"))
DAY = 1_700_000_000.0


class GitServer:
    """A bare repository, somebody's clone of it, and what softlaunch makes of it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.server, self.clone = directory / "server.git", directory / "clone"
        self._git(directory, "init", "-q", "--bare", "-b", "main", str(self.server))
        self._git(directory, "clone", "-q", str(self.server), str(self.clone))
        self.copy = mirror.GitMirror(str(self.server), directory / "copy", folder=FOLDER)
        self.reverts = reverts.GitReverts(self.copy, str(self.server), folder=FOLDER)

    def commit(self, files, *, branch="main", also=(), new=True) -> str:
        known = self._git(self.clone, "branch", "-r", "--list", f"origin/{branch}").strip()
        if not known:
            self._git(self.clone, "checkout", "-q", "--orphan", branch)
        else:
            self._git(self.clone, "checkout", "-q", "-B", branch, f"origin/{branch}")
        folder = self.clone / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, raw in files.items():
            (folder / name).write_bytes(raw)
        (self.clone / "elsewhere.txt").write_text("not the service's\n")
        self._git(self.clone, "add", "-A")
        tree = self._git(self.clone, "write-tree")
        tip = [self._git(self.clone, "rev-parse", "HEAD")] if known and new else []
        parents = [part for parent in (*tip, *also) for part in ("-p", parent)]
        made = self._git(self.clone, "commit-tree", "-m", f"change {os.urandom(4).hex()}", *parents, tree)
        self._git(self.clone, "push", "-q", "--force", "origin", f"{made}:refs/heads/{branch}")
        self._git(self.clone, "fetch", "-q", "origin")
        self._git(self.clone, "update-ref", f"refs/heads/{branch}", made)
        return made

    def tip(self, branch: str) -> str:
        return self._git(self.server, "rev-parse", branch)

    def files(self, commit: str) -> dict[str, bytes]:
        names = self._git(self.server, "ls-tree", "-r", "--name-only", f"{commit}:{FOLDER}").split()
        return {name: self._git(self.server, "show", f"{commit}:{FOLDER}/{name}").encode() + b"\n" for name in names}

    def protect(self, branch: str) -> None:
        hook = self.server / "hooks" / "pre-receive"
        hook.write_text(
            f"#!/bin/sh\nwhile read -r old new name; do\n  if [ $name = refs/heads/{branch} ]; then\n"
            "    echo 'Ask for a review.' >&2; exit 1\n  fi\ndone\n"
        )
        hook.chmod(0o755)

    def away(self) -> None:
        self.server.rename(self.server.with_name("elsewhere.git"))

    def _git(self, directory: pathlib.Path, *arguments: str) -> str:
        identity = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
        identity |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **identity},
        )
        return done.stdout.strip()


class MemoryServer:
    def __init__(self, directory: pathlib.Path) -> None:
        self.copy = self.reverts = self._all = memory.MemoryRepository(directory / "checkouts")
        self.commit, self.tip, self.files = self._all.commit, self._all.tip, self._all.files

    def protect(self, branch: str) -> None:
        self._all.protected = frozenset({branch})

    def away(self) -> None:
        self._all.reachable = False


@pytest.fixture(params=[GitServer, MemoryServer], ids=["git", "memory"])
def server(request, tmp_path):
    return request.param(tmp_path)


def test_heads_are_what_the_server_has_now(server) -> None:
    first, other = server.commit(ONE), server.commit(TWO, branch="develop")
    assert {"main": first, "develop": other} == server.copy.look().branches
    assert "main" == server.copy.look().default

    second = server.commit(THREE)

    assert second == server.copy.look().branches["main"]


def test_files_and_content_are_known_once_fetched(server) -> None:
    commit = server.commit(ONE)
    server.copy.look()
    assert ("", None) == (server.copy.tree(commit), server.copy.read(commit, "model.py"))

    server.copy.fetch()

    assert b"1\n" == server.copy.read(commit, "model.py")
    assert server.copy.read(commit, "none.py") is None
    assert server.copy.tree(commit)


def test_equal_files_have_equal_trees_whatever_the_commit(server) -> None:
    first, second = server.commit(ONE), server.commit(TWO)
    merge = server.commit(ONE, also=(first,))
    server.copy.fetch()

    assert server.copy.tree(first) == server.copy.tree(merge)
    assert server.copy.tree(first) != server.copy.tree(second)


def test_a_rewritten_branch_does_not_descend_from_what_it_was(server) -> None:
    first, second = server.commit(ONE), server.commit(TWO)
    server.copy.fetch()
    server.copy.keep("main", second)
    rewritten = server.commit(THREE, new=False)
    server.copy.fetch()

    assert server.copy.descends(second, first)
    assert server.copy.descends(second, second)
    assert not server.copy.descends(rewritten, second)


def test_a_checkout_has_the_commit_s_files_and_no_others(server) -> None:
    first, second = server.commit({**ONE, "old.py": b"old\n"}), server.commit(TWO)
    server.copy.look()
    server.copy.fetch()
    folder = server.copy.checkout("production", branch="main", commit=first)
    assert {"softlaunch.yaml", "model.py", "old.py"} == {path.name for path in folder.iterdir()}

    again = server.copy.checkout("production", branch="main", commit=second)

    assert folder == again
    assert TWO == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_unsigned_commit_is_said_to_be_one(server) -> None:
    commit = server.commit(ONE)
    server.copy.fetch()

    assert "has no good signature" in server.copy.unsigned(commit)


def test_a_server_that_is_away_is_said_to_be_so_and_what_was_fetched_stays(server) -> None:
    commit = server.commit(ONE)
    server.copy.look()
    server.copy.fetch()
    server.away()

    for ask in (server.copy.look, server.copy.fetch):
        with pytest.raises(errors.UnavailableError):
            ask()
    assert b"1\n" == server.copy.read(commit, "model.py")
    assert (server.copy.checkout("production", branch="main", commit=commit) / "model.py").is_file()


def test_a_revert_has_the_good_commit_s_files_and_comes_after_the_tip(server) -> None:
    good, between, bad = server.commit(ONE), server.commit(TWO), server.commit(THREE)
    server.copy.look()
    server.copy.fetch()

    made = server.reverts.write(tip=bad, bad=bad, good=[good], reason="it errs", at=DAY)
    server.reverts.push(made, branch="main")
    server.copy.fetch()

    assert made == server.tip("main")
    assert ONE == server.files(made)
    assert server.copy.descends(made, bad)
    assert server.copy.tree(made) == server.copy.tree(good) != server.copy.tree(between)


def test_where_no_good_commit_is_known_a_revert_takes_out_what_the_bad_one_changed(server) -> None:
    server.commit(ONE)
    before, bad = server.commit(TWO), server.commit(THREE)
    server.copy.fetch()

    made = server.reverts.write(tip=bad, bad=bad, good=["f" * 40], reason="it errs", at=DAY)
    server.reverts.push(made, branch="main")

    assert server.files(before) == server.files(made)


def test_a_revert_keeps_what_came_after(server) -> None:
    good, bad = server.commit(ONE), server.commit(TWO)
    later = server.commit({**TWO, "README.md": b"words\n"})
    server.copy.fetch()

    made = server.reverts.write(tip=later, bad=bad, good=[good], reason="it errs", at=DAY)
    server.reverts.push(made, branch="main")

    assert {**ONE, "README.md": b"words\n"} == server.files(made)


def test_a_bad_commit_that_came_by_a_merge_is_taken_out_with_the_merge(server) -> None:
    good = server.commit(ONE)
    bad = server.commit(TWO, branch="develop")
    merge = server.commit(TWO, also=(bad,))
    server.copy.fetch()

    made = server.reverts.write(tip=merge, bad=bad, good=[good], reason="it errs", at=DAY)
    server.reverts.push(made, branch="main")

    assert ONE == server.files(made)


def test_what_builds_on_the_bad_commit_is_left_to_people(server) -> None:
    good, bad, later = server.commit(ONE), server.commit(TWO), server.commit(THREE)
    server.copy.fetch()

    with pytest.raises(errors.ConfigError) as caught:
        server.reverts.write(tip=later, bad=bad, good=[good], reason="it errs", at=DAY)

    assert errors.Code.REVERT_CONFLICT is caught.value.code
    assert "model.py" in caught.value.message


def test_the_first_commit_cannot_be_reverted(server) -> None:
    only = server.commit(ONE)
    server.copy.fetch()

    with pytest.raises(errors.ConfigError, match="first commit"):
        server.reverts.write(tip=only, bad=only, good=[], reason="it errs", at=DAY)


def test_the_same_revert_is_the_same_commit(server) -> None:
    good, bad = server.commit(ONE), server.commit(TWO)
    server.copy.fetch()

    made = {server.reverts.write(tip=bad, bad=bad, good=[good], reason="it errs", at=DAY) for _ in range(2)}

    assert 1 == len(made)


def test_a_protected_branch_refuses_and_another_takes_it(server) -> None:
    good, bad = server.commit(ONE), server.commit(TWO)
    server.copy.look()
    server.copy.fetch()
    server.protect("main")
    made = server.reverts.write(tip=bad, bad=bad, good=[good], reason="it errs", at=DAY)

    with pytest.raises(errors.ConflictError) as caught:
        server.reverts.push(made, branch="main")
    server.reverts.push(made, branch="softlaunch/revert-x", into="main")

    assert errors.Code.GIT_REFUSED is caught.value.code
    assert (bad, made) == (server.tip("main"), server.tip("softlaunch/revert-x"))


def test_a_branch_that_has_moved_refuses(server) -> None:
    good, bad = server.commit(ONE), server.commit(TWO)
    server.copy.fetch()
    made = server.reverts.write(tip=bad, bad=bad, good=[good], reason="it errs", at=DAY)
    moved = server.commit(THREE)

    with pytest.raises(errors.ConflictError):
        server.reverts.push(made, branch="main")

    assert moved == server.tip("main")


def test_a_push_to_a_server_that_is_away_is_said_to_be_one(server) -> None:
    good, bad = server.commit(ONE), server.commit(TWO)
    server.copy.fetch()
    made = server.reverts.write(tip=bad, bad=bad, good=[good], reason="it errs", at=DAY)
    server.away()

    with pytest.raises(errors.UnavailableError):
        server.reverts.push(made, branch="main")
