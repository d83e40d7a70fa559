"""What every source of commits keeps to."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from softlaunch import errors
from softlaunch.adapters.git import source as git
from softlaunch.testing import source as memory

FILES = {"softlaunch.yaml": b"service: x\n", "deep/er/train.py": b"print(1)\r\n", "caf\u00e9.txt": b"\x00\xff"}


class GitMaker:
    """Commits into a real repository whose service lies in a folder of it."""

    def __init__(self, top: pathlib.Path) -> None:
        self.top, self.folder = top, top / "services" / "delay"
        self.folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        (top / "elsewhere.txt").write_text("not the service's")
        self.source = git.GitSource(self.folder)

    def git(self, *arguments: str) -> str:
        identity = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
        identity |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}
        found = subprocess.run(
            ["git", "-C", str(self.top), *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **identity},
        )
        return found.stdout.strip()

    def commit(self, files, *, branch, tags=()):
        if self.git("branch", "--show-current") != branch:
            self.git("checkout", "-q", "-b", branch)
        for name, raw in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(raw)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change", "--allow-empty")
        for tag in tags:
            self.git("tag", tag)
        return self.source.resolve(branch)


class MemoryMaker:
    def __init__(self) -> None:
        self.source = memory.MemorySource()
        self.commit = self.source.commit


@pytest.fixture(params=["git", "memory"])
def maker(request, tmp_path):
    return GitMaker(tmp_path / "repository") if request.param == "git" else MemoryMaker()


def files_below(directory: pathlib.Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_checkout_is_the_commits_files_and_nothing_else(maker, tmp_path) -> None:
    commit = maker.commit(FILES, branch="main")

    maker.source.checkout(commit, tmp_path / "out")

    assert files_below(tmp_path / "out") == FILES


def test_an_old_commit_keeps_its_files(maker, tmp_path) -> None:
    old = maker.commit(FILES, branch="main")
    maker.commit({**FILES, "softlaunch.yaml": b"service: y\n"}, branch="main")

    assert maker.source.read(old, "softlaunch.yaml") == b"service: x\n"
    assert maker.source.read(old, "absent.txt") is None
    assert maker.source.read(old, "deep") is None


def test_branch_tag_id_and_prefix_name_the_same_commit(maker) -> None:
    commit = maker.commit(FILES, branch="main", tags=("v1",))

    found = {maker.source.resolve(ref).id for ref in ("main", "v1", "HEAD", commit.id, commit.id[:10])}

    assert found == {commit.id}
    assert maker.source.resolve("v1").tags == ("v1",)
    assert maker.source.resolve("main").branch == "main"


@pytest.mark.parametrize(
    "ref", ["nobody", "--upload-pack=x", "-n", "", "a b", "main..v1", "main:softlaunch.yaml", "x\x00y"]
)
def test_what_names_no_commit_is_refused(maker, ref) -> None:
    maker.commit(FILES, branch="main")

    with pytest.raises(errors.ConfigError) as refused:
        maker.source.resolve(ref)

    assert refused.value.code is errors.Code.UNKNOWN_REF


def test_git_gives_time_in_utc_and_the_author(tmp_path) -> None:
    commit = GitMaker(tmp_path / "r").commit(FILES, branch="main")

    assert commit.author == "Ada <ada@example.com>"
    assert commit.committed_at.endswith("Z")


def test_git_never_reads_the_working_tree(tmp_path) -> None:
    maker = GitMaker(tmp_path / "r")
    commit = maker.commit(FILES, branch="main")
    (maker.folder / "softlaunch.yaml").write_bytes(b"changed")
    (maker.folder / "untracked.txt").write_bytes(b"new")
    maker.git("add", "-A")

    maker.source.checkout(commit, tmp_path / "out")

    assert files_below(tmp_path / "out") == FILES


def test_git_ignores_the_variables_of_a_hook(tmp_path, monkeypatch) -> None:
    maker = GitMaker(tmp_path / "r")
    commit = maker.commit(FILES, branch="main")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))

    assert git.GitSource(maker.folder).resolve("main").id == commit.id


def test_git_keeps_links_and_modes(tmp_path) -> None:
    maker = GitMaker(tmp_path / "r")
    (maker.folder / "link").symlink_to("softlaunch.yaml")
    (maker.folder / "run.sh").write_bytes(b"#!/bin/sh\n")
    (maker.folder / "run.sh").chmod(0o755)
    commit = maker.commit(FILES, branch="main")

    maker.source.checkout(commit, tmp_path / "out")

    assert (tmp_path / "out" / "link").readlink() == pathlib.Path("softlaunch.yaml")
    assert (tmp_path / "out" / "run.sh").stat().st_mode & 0o777 == 0o755


def test_a_branch_known_only_from_the_remote_is_found(tmp_path) -> None:
    maker = GitMaker(tmp_path / "r")
    maker.commit(FILES, branch="main")
    commit = maker.commit({"new.txt": b""}, branch="develop")
    maker.git("checkout", "-q", "main")
    subprocess.run(["git", "clone", "-q", str(maker.top), str(tmp_path / "clone")], check=True)

    found = git.GitSource(tmp_path / "clone" / "services" / "delay").resolve("develop")

    assert (found.id, found.branch) == (commit.id, "develop")


def test_a_commit_that_a_shallow_clone_lacks_is_explained(tmp_path) -> None:
    maker = GitMaker(tmp_path / "r")
    old = maker.commit(FILES, branch="main")
    maker.commit({"new.txt": b""}, branch="main")
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{maker.top}", str(tmp_path / "clone")], check=True)

    with pytest.raises(errors.ConfigError) as refused:
        git.GitSource(tmp_path / "clone" / "services" / "delay").resolve(old.id)

    assert "shallow" in refused.value.remedy


def test_a_folder_outside_of_any_repository_is_refused(tmp_path) -> None:
    with pytest.raises(errors.ConfigError) as refused:
        git.GitSource(tmp_path).resolve("main")

    assert refused.value.code is errors.Code.NO_REPOSITORY


def test_a_repository_without_commits_says_so(tmp_path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    with pytest.raises(errors.ConfigError) as refused:
        git.GitSource(tmp_path).resolve("HEAD")

    assert "no commit yet" in refused.value.remedy
