"""
Commits that take a commit back, made without a working tree; see ports.repository.Reverts.

What came between the good commit and the bad one is taken out of the newest one by a merge of three: the bad commit,
the newest one, and the bad commit with the good one's folder. Nothing outside of the service's folder changes.
"""

from __future__ import annotations

import pathlib
import re
import tempfile
from collections.abc import Sequence

from softlaunch import errors
from softlaunch.adapters.git import mirror, remote

NAME, EMAIL = "softlaunch", "softlaunch@localhost"
_IDENTITY = {
    "GIT_AUTHOR_NAME": NAME,
    "GIT_AUTHOR_EMAIL": EMAIL,
    "GIT_COMMITTER_NAME": NAME,
    "GIT_COMMITTER_EMAIL": EMAIL,
}
_REFUSED = re.compile(
    r"\[(?:remote )?rejected\]|hook declined|protected branch|denied to|not allowed to push", re.IGNORECASE
)
_NO_OPTIONS = "does not support push options"


class GitReverts:
    """
    See ports.repository.Reverts.

    Args:
        copy: The repository's copy, up to date.
        url: Where to push.
        folder: The service's, relative to the repository's top; empty: the top.
    """

    def __init__(self, copy: mirror.GitMirror, url: str, *, folder: str = "") -> None:
        self._bare = copy.bare
        self._git = copy.git
        self._url = url
        self._folder = folder.strip("/")

    def write(self, *, tip: str, bad: str, good: Sequence[str], reason: str, at: float) -> str:
        """See ports.repository.Reverts.write."""
        if bad not in self._way(tip):
            bad = tip
        last = self._last_good(bad, good)
        subject = self._text("show", "--no-patch", "--no-show-signature", "--format=%s", bad)
        without = self._commit(self._tree_without(bad, last), bad, "without", at)
        merged = self._git.run(self._bare, "merge-tree", "--write-tree", "--name-only", tip, without, check=False)
        if merged.returncode:
            names = sorted(set(merged.stdout.decode(errors="replace").split("\n\n")[0].splitlines()[1:]))
            raise errors.ConfigError(
                f"What came after {bad[:12]} changed the same lines: {', '.join(names)[:200] or 'git cannot merge'}.",
                remedy="Revert it by hand, or commit what mends it.",
                code=errors.Code.REVERT_CONFLICT,
            )
        message = (
            f'Revert "{subject}"\n\n'
            f"This reverts what came after {last[:12]}, up to commit {bad}.\n\n{reason}\n\n"
            "Written by softlaunch: the release of that commit was taken back and is pinned.\n"
        )
        return self._commit(merged.stdout.decode().splitlines()[0], tip, message, at)

    def push(self, commit: str, *, branch: str, into: str = "") -> str:
        """See ports.repository.Reverts.push."""
        target = f"{commit}:refs/heads/{branch}"
        # GitLab's words; other servers say that they take no wishes, or ignore them.
        wishes = ["-o", "merge_request.create", "-o", f"merge_request.target={into}"] if into else []
        found = self._send(*wishes, "--", self._url, target)
        if found[0] and wishes and _NO_OPTIONS in found[1]:
            found = self._send("--", self._url, target)
        if found[0] == 0:
            return _remarks(found[1])
        if _REFUSED.search(found[1]):
            raise errors.ConflictError(
                f"The git server refuses a push to {branch}: {_remarks(found[1]) or found[1]:.300}",
                remedy="Let softlaunch's user push there, or follow with --on-rollback merge-request.",
                code=errors.Code.GIT_REFUSED,
            )
        raise self._git.refused(["push"], found[1].encode())

    def _send(self, *arguments: str) -> tuple[int, str]:
        found = self._git.run(self._bare, "push", "--porcelain", *arguments, check=False, seconds=120.0)
        return found.returncode, remote.scrub((found.stdout + b"\n" + found.stderr).decode(errors="replace"))

    def _last_good(self, bad: str, good: Sequence[str]) -> str:
        """The newest good commit on the way to the bad one; else the one before it."""
        way = self._way(bad)
        known = next((each for each in way[1:] if each in set(good)), None)
        if known is not None:
            return known
        if len(way) < 2:
            raise errors.ConfigError(
                f"{bad[:12]} is the first commit: there is nothing to go back to.",
                remedy="Commit what mends it.",
                code=errors.Code.REVERT_CONFLICT,
            )
        return way[1]

    def _tree_without(self, bad: str, last: str) -> str:
        """The bad commit's files, with the good one's folder."""
        if not self._folder:
            return self._text("rev-parse", "--verify", f"{last}^{{tree}}")
        with tempfile.TemporaryDirectory(prefix="softlaunch-revert-") as scratch:
            index = {"GIT_INDEX_FILE": str(pathlib.Path(scratch) / "index")}
            below = ("-r", "-z", "--full-tree")
            gone = self._git.run(self._bare, "ls-tree", *below, "--name-only", bad, "--", f"{self._folder}/").stdout
            back = self._git.run(self._bare, "ls-tree", *below, last, "--", f"{self._folder}/").stdout
            none = b"0 " + b"0" * len(bad) + b"\t"
            entries = b"".join(none + path + b"\0" for path in gone.split(b"\0") if path) + back
            self._git.run(self._bare, "read-tree", bad, variables=index)
            self._git.run(self._bare, "update-index", "-z", "--index-info", variables=index, ask=entries)
            return self._git.run(self._bare, "write-tree", variables=index).stdout.decode().strip()

    def _way(self, commit: str) -> list[str]:
        """The commit and those before it on the same branch, newest first."""
        return self._text("rev-list", "--first-parent", commit).splitlines()

    def _commit(self, tree: str, parent: str, message: str, at: float) -> str:
        arguments = ("commit-tree", "--no-gpg-sign", "-p", parent, "-m", message, tree)
        dates = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), f"{int(at)} +0000")
        return self._git.run(self._bare, *arguments, variables={**_IDENTITY, **dates}).stdout.decode().strip()

    def _text(self, *arguments: str) -> str:
        return self._git.run(self._bare, *arguments).stdout.decode(errors="replace").strip()


def _remarks(said: str) -> str:
    """What the server itself said, and where it pointed to."""
    lines = (line.removeprefix("remote:").strip() for line in said.splitlines() if line.startswith("remote:"))
    return " ".join(line for line in lines if line)[:300]
