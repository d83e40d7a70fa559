"""
Commits and files of a git repository, read through the git program; see ports.source.Source.

Files are written from the objects themselves. No index, no working tree, no filter and no attribute takes part, so that
a commit is the same files on every machine and nothing that is configured here runs.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import re
import subprocess
from collections.abc import Iterator, Sequence

from softlaunch import errors
from softlaunch.ports import source

_TIMEOUT_SECONDS = 120.0
_REF = re.compile(r"(?!-)[^\s\x00-\x1f\x7f:?*\[\\]{1,250}")
_SYMLINK, _SUBMODULE, _EXECUTABLE = "120000", "160000", "100755"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Entry:
    mode: str
    object_id: str
    path: str


class GitSource:
    """
    See ports.source.Source.

    Args:
        directory: The service's folder: a repository's top or any folder below.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._prefix: str | None = None

    def resolve(self, ref: str) -> source.Commit:
        """See ports.source.Source.resolve."""
        self._folder()
        if not _REF.fullmatch(ref) or ".." in ref:
            raise errors.ConfigError(
                f"{ref!r:.120} cannot be the name of a commit.",
                remedy="Name a branch, a tag or a commit.",
                code=errors.Code.UNKNOWN_REF,
            )
        for candidate in (ref, f"refs/remotes/origin/{ref}"):
            found = self._run("rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}", check=False)
            if found.returncode == 0:
                return self._commit(ref, found.stdout.decode().strip())
        raise self._unknown(ref)

    def checkout(self, commit: source.Commit, directory: pathlib.Path) -> None:
        """See ports.source.Source.checkout."""
        entries = list(self._entries(commit))
        for entry in entries:
            if entry.mode == _SUBMODULE:
                raise errors.ConfigError(
                    f"{entry.path!r} is a git submodule, which a build does not follow.",
                    remedy="Commit the files themselves, or move the submodule out of the service's folder.",
                    code=errors.Code.CHECKOUT_UNUSABLE,
                )
        directory.mkdir(parents=True, exist_ok=True)
        for entry, raw in zip(entries, self._objects(entries), strict=True):
            path = directory / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.mode == _SYMLINK:
                path.symlink_to(os.fsdecode(raw))
                continue
            path.write_bytes(raw)
            path.chmod(0o755 if entry.mode == _EXECUTABLE else 0o644)

    def read(self, commit: source.Commit, path: str) -> bytes | None:
        """See ports.source.Source.read."""
        entries = [each for each in self._entries(commit, path) if each.path == path and each.mode != _SUBMODULE]
        return next(iter(self._objects(entries))) if entries else None

    def dirty(self) -> Sequence[str]:
        """Tracked files of the folder that differ from HEAD's: a build does not see the change."""
        found = self._run("diff", "--name-only", "--no-ext-diff", "--no-textconv", "-z", "HEAD", "--", ".", check=False)
        return tuple(os.fsdecode(each) for each in found.stdout.split(b"\0") if each)

    def _commit(self, ref: str, commit_id: str) -> source.Commit:
        shown = self._run(
            "show", "--no-patch", "--no-show-signature", "--format=%an <%ae>%x00%ct", commit_id, check=False
        )
        if shown.returncode:
            raise self._absent(commit_id)
        author, _, seconds = shown.stdout.decode(errors="replace").strip().partition("\0")
        tags = self._run("tag", "--points-at", commit_id).stdout.decode(errors="replace").split()
        return source.Commit(
            id=commit_id,
            author=author,
            committed_at=datetime.datetime.fromtimestamp(int(seconds), tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            branch=self._branch(ref, commit_id),
            tags=tuple(sorted(tags)),
        )

    def _branch(self, ref: str, commit_id: str) -> str | None:
        name = ref.removeprefix("refs/heads/").removeprefix("refs/remotes/origin/")
        for place in (f"refs/heads/{name}", f"refs/remotes/origin/{name}"):
            if self._run("rev-parse", "--verify", "--quiet", place, check=False).returncode == 0:
                return name
        head = self._run("rev-parse", "--verify", "--quiet", "HEAD", check=False).stdout.decode().strip()
        here = self._run("symbolic-ref", "--quiet", "--short", "HEAD", check=False)
        return here.stdout.decode().strip() if here.returncode == 0 and head == commit_id else None

    def _folder(self) -> str:
        """The service's folder relative to the repository's top, empty or ending in a slash."""
        if self._prefix is None:
            if not self._directory.is_dir():
                raise errors.ConfigError(
                    f"There is no directory {self._directory}.",
                    remedy="Name the service's folder, where softlaunch.yaml lies.",
                    code=errors.Code.NO_REPOSITORY,
                )
            found = self._run("rev-parse", "--show-prefix", check=False)
            if found.returncode:
                said = found.stderr.decode(errors="replace").strip()
                foreign = "dubious ownership" in said
                raise errors.ConfigError(
                    f"git refuses {self._directory}: it belongs to another user."
                    if foreign
                    else f"{self._directory} is not inside a git repository.",
                    remedy="Add it with `git config --global --add safe.directory`, or become its owner."
                    if foreign
                    else "Releases are made of commits: run `git init`, `git add` and `git commit` there.",
                    code=errors.Code.NO_REPOSITORY,
                )
            self._prefix = os.fsdecode(found.stdout).rstrip("\n")
        return self._prefix

    def _entries(self, commit: source.Commit, below: str = "") -> Iterator[_Entry]:
        prefix = self._folder()
        paths = [f"{prefix}{below}"] if prefix or below else []
        listed = self._run("ls-tree", "-r", "-z", "--full-tree", commit.id, "--", *paths, check=False)
        if listed.returncode:
            raise self._absent(commit.id)
        for line in listed.stdout.split(b"\0"):
            if line:
                head, _, path = line.partition(b"\t")
                mode, _, object_id = head.decode().split(" ")
                yield _Entry(mode=mode, object_id=object_id, path=os.fsdecode(path).removeprefix(prefix))

    def _objects(self, entries: Sequence[_Entry]) -> Iterator[bytes]:
        """The blobs' bytes, one after the other: a checkout never holds more than one file in memory."""
        process = subprocess.Popen(
            ["git", "-C", str(self._directory), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            for entry in entries:
                process.stdin.write(entry.object_id.encode() + b"\n")
                process.stdin.flush()
                header = process.stdout.readline().decode().split()
                if len(header) != 3:
                    process.kill()
                    raise self._absent(entry.object_id)
                raw = process.stdout.read(int(header[2]))
                process.stdout.read(1)
                yield raw
            process.stdin.close()

    def _unknown(self, ref: str) -> errors.ConfigError:
        shallow = self._run("rev-parse", "--is-shallow-repository", check=False).stdout.strip() == b"true"
        empty = self._run("rev-parse", "--verify", "--quiet", "HEAD", check=False).returncode != 0
        if shallow:
            remedy = "This clone is shallow and may lack it: run `git fetch --unshallow`."
        elif empty and ref == "HEAD":
            remedy = "The repository has no commit yet: run `git add` and `git commit`."
        else:
            remedy = "Check the spelling, or run `git fetch --tags` if it was made elsewhere."
        return errors.ConfigError(
            f"There is no branch, tag or commit {ref!r} here.", remedy=remedy, code=errors.Code.UNKNOWN_REF
        )

    def _absent(self, object_id: str) -> errors.ConfigError:
        return errors.ConfigError(
            f"The object {object_id[:12]} is not in this clone.",
            remedy="The clone is shallow or partial: run `git fetch --unshallow` (or `git fetch --refetch`).",
            code=errors.Code.COMMIT_ABSENT,
        )

    def _run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        try:
            found = subprocess.run(
                ["git", "-C", str(self._directory), *arguments],
                capture_output=True,
                check=False,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                timeout=_TIMEOUT_SECONDS,
            )
        except FileNotFoundError as error:
            raise _failed("The git program is not installed.", "Install git.") from error
        except subprocess.TimeoutExpired as error:
            raise _failed(
                f"git {arguments[0]} did not end within {_TIMEOUT_SECONDS:g} s.", "Look at the disk and the repository."
            ) from error
        if check and found.returncode:
            said = " ".join(found.stderr.decode(errors="replace").split())
            raise _failed(f"git {arguments[0]} failed: {said:.300}", "Run `git fsck` in the repository.")
        return found


def _environment() -> dict[str, str]:
    # Inside a hook git sets GIT_DIR and others: they would name another repository than the folder asked for.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}


def _failed(message: str, remedy: str) -> errors.UnavailableError:
    return errors.UnavailableError(message, remedy=remedy, code=errors.Code.GIT_FAILED)
