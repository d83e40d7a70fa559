"""
A commit that changes one file of a branch, made of objects: no working tree, index or hook takes part.

So it works on any branch of any clone, bare ones too, whatever is checked out there and however dirty it is. With a
remote the branch's tip is the remote's, and the commit exists for others only once the remote has taken it.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import tempfile

from softlaunch import errors

_TIMEOUT_SECONDS = 120.0
_NOBODY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "softlaunch"), ("EMAIL", "softlaunch@localhost"))
}
"""Who commits where git knows nobody: a control plane's account has no git identity."""
REMOTE = "origin"


class OneFile:
    """
    One file of the service's folder, on any branch of its clone.

    Args:
        directory: The service's folder.
        name: The file in it.
    """

    def __init__(self, directory: pathlib.Path, name: str) -> None:
        self._directory = directory
        self._name = name

    def tip(self, branch: str, *, remote: bool) -> str:
        """
        The commit the branch is at; with `remote` there, after fetching it.

        Raises:
            ConfigError: there is no such branch.
            UnavailableError: the remote cannot be reached.
        """
        if branch.startswith("-") or self._run("check-ref-format", f"refs/heads/{branch}").returncode:
            raise errors.ConfigError(
                f"{branch!r:.120} cannot be the name of a branch.",
                remedy="For example: develop",
                code=errors.Code.UNKNOWN_REF,
            )
        if remote:
            fetched = self._run("fetch", "--quiet", REMOTE, f"+refs/heads/{branch}:refs/remotes/{REMOTE}/{branch}")
            if fetched.returncode and b"couldn't find remote ref" not in fetched.stderr:
                raise self._failed("fetch", fetched)
        where = f"refs/remotes/{REMOTE}/{branch}" if remote else f"refs/heads/{branch}"
        found = self._run("rev-parse", "--verify", "--quiet", f"{where}^{{commit}}")
        if found.returncode:
            raise errors.ConfigError(
                f"There is no branch {branch!r}" + (f" at {REMOTE}." if remote else " here."),
                remedy="Check its name; make it with `git branch`, or fetch it.",
                code=errors.Code.UNKNOWN_REF,
            )
        return found.stdout.decode().strip()

    def current(self) -> str | None:
        """The branch that is checked out; None when none is."""
        found = self._run("symbolic-ref", "--quiet", "--short", "HEAD")
        return found.stdout.decode().strip() if found.returncode == 0 else None

    def commit(self, parent: str, raw: bytes, message: str) -> str:
        """The id of a commit after `parent` in which only this file is another."""
        blob = self._checked("hash-object", "-w", "--stdin", given=raw).strip()
        prefix = self._checked("rev-parse", "--show-prefix").rstrip("\n")
        with tempfile.TemporaryDirectory(prefix="softlaunch-index-") as scratch:
            index = {"GIT_INDEX_FILE": f"{scratch}/index"}
            self._checked("read-tree", parent, variables=index)
            self._checked(
                "update-index", "--add", "--cacheinfo", f"100644,{blob},{prefix}{self._name}", variables=index
            )
            tree = self._checked("write-tree", variables=index).strip()
        known = self._run("var", "GIT_COMMITTER_IDENT").returncode == 0
        known = known and self._run("config", "--get", "user.email").returncode == 0
        who = {} if known else _NOBODY
        return self._checked(
            "commit-tree", tree, "-p", parent, "-F", "-", given=message.encode(), variables=who
        ).strip()

    def taken_back(self, tip: str, raw: bytes, *, own: str) -> str:
        """
        The commit that put the file back from these bytes to what stands at `tip`; empty where none did.

        Args:
            tip: A commit.
            raw: What the file is to become.
            own: Subject of commits that are nobody's decision: what they changed was not taken back by them.
        """
        last = self._checked("rev-list", "--max-count=1", tip, "--", self._name).strip()
        if not last or self._checked("show", "--no-patch", "--format=%s", last).strip() == own:
            return ""
        prefix = self._checked("rev-parse", "--show-prefix").rstrip("\n")
        parents = self._checked("show", "--no-patch", "--format=%P", last).split()
        before = [self._run("cat-file", "blob", f"{parent}:{prefix}{self._name}") for parent in parents]
        return last if any(found.returncode == 0 and found.stdout == raw for found in before) else ""

    def push(self, branch: str, commit: str) -> bool:
        """
        Moves the remote's branch forward to the commit; False when somebody else was faster.

        Raises:
            UnavailableError: the remote refuses, or cannot be reached.
        """
        pushed = self._run("push", "--porcelain", REMOTE, f"{commit}:refs/heads/{branch}")
        if pushed.returncode == 0:
            self._run("update-ref", f"refs/remotes/{REMOTE}/{branch}", commit)
            return True
        said = pushed.stdout + pushed.stderr
        if b"fetch first" in said or b"non-fast-forward" in said or b"cannot lock ref" in said:
            return False
        raise self._failed("push", pushed)

    def advance(self, branch: str, commit: str, *, parent: str) -> bool:
        """
        Moves the clone's own branch from the parent to the commit, and the file of a working tree along with it.

        Returns:
            False when the branch is not at the parent (any more): nothing is changed then.
        """
        prefix = self._checked("rev-parse", "--show-prefix").rstrip("\n")
        before = self._run("cat-file", "blob", f"{parent}:{prefix}{self._name}")
        if self._run("update-ref", f"refs/heads/{branch}", commit, parent).returncode:
            return False
        if self.current() == branch and self._checked("rev-parse", "--is-bare-repository").strip() == "false":
            blob = self._checked("rev-parse", f"{commit}:{prefix}{self._name}").strip()
            self._run("update-index", "--add", "--cacheinfo", f"100644,{blob},{prefix}{self._name}")
            path = self._directory / self._name
            present = path.read_bytes() if path.is_file() else None
            if present is None or (before.returncode == 0 and present == before.stdout):
                path.write_bytes(self._run("cat-file", "blob", blob).stdout)
        return True

    def _checked(self, *arguments: str, given: bytes = b"", variables: dict[str, str] | None = None) -> str:
        found = self._run(*arguments, given=given, variables=variables)
        if found.returncode:
            raise self._failed(arguments[0], found)
        return found.stdout.decode(errors="replace")

    def _run(
        self, *arguments: str, given: bytes = b"", variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GIT_")
            or name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_SSH", "GIT_CONFIG_"))
        }
        try:
            return subprocess.run(
                ["git", "-C", str(self._directory), *arguments],
                input=given,
                capture_output=True,
                check=False,
                env={**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(variables or {})},
                timeout=_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise errors.UnavailableError(
                f"git {arguments[0]} did not end within {_TIMEOUT_SECONDS:g} s.",
                remedy="Look at the network and the git server.",
                code=errors.Code.GIT_FAILED,
            ) from error

    def _failed(self, what: str, found: subprocess.CompletedProcess[bytes]) -> errors.UnavailableError:
        # The remote's URL may hold a password, and git repeats it.
        said = " ".join(word for word in found.stderr.decode(errors="replace").split() if "://" not in word)
        return errors.UnavailableError(
            f"git {what} failed: {said:.300}",
            remedy="Check the remote, its protection of the branch, and who may write there.",
            code=errors.Code.GIT_FAILED,
        )
