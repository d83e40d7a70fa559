"""
A copy of a repository that is followed; see ports.repository.Repository.

    DIRECTORY/mirror.git             every branch (as origin/NAME) and tag of the server
    DIRECTORY/checkouts/PLACE/       one clean checkout per environment, on its branch; objects are the mirror's
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil

from softlaunch import errors
from softlaunch.adapters.git import remote
from softlaunch.ports import repository

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = re.compile(r"(?![-/.])(?!.*(?:\.\.|//|@\{|\.lock$|/$))[^\s\x00-\x1f\x7f~^:?*\[\\]{1,250}")
_PRIVATE = 0o700


class GitMirror:
    """
    See ports.repository.Repository.

    Args:
        url: Of the server's repository, or a directory.
        directory: Where the copy is kept; made when it is not there.
        folder: The service's, relative to the repository's top; empty: the top.
    """

    def __init__(self, url: str, directory: pathlib.Path, *, folder: str = "") -> None:
        self._url = url
        self._directory = directory
        self._folder = folder.strip("/")
        self._git = remote.Git(url)

    @property
    def bare(self) -> pathlib.Path:
        """The mirror itself."""
        return self._directory / "mirror.git"

    @property
    def git(self) -> remote.Git:
        """What runs git here."""
        return self._git

    def look(self) -> repository.Heads:
        """See ports.repository.Repository.look."""
        self._prepare()
        out = self._git.run(self.bare, "ls-remote", "--symref", "--", self._url, "HEAD", "refs/heads/*").stdout
        default, branches = "", {}
        for line in out.decode(errors="replace").splitlines():
            said, _, name = line.partition("\t")
            if said.startswith("ref: refs/heads/") and name == "HEAD":
                default = said.removeprefix("ref: refs/heads/")
            elif _COMMIT.fullmatch(said) and name.startswith("refs/heads/"):
                branch = name.removeprefix("refs/heads/")
                if _BRANCH.fullmatch(branch):
                    branches[branch] = said
        return repository.Heads(default=default, branches=branches)

    def fetch(self) -> None:
        """See ports.repository.Repository.fetch."""
        self._prepare()
        self._git.run(
            self.bare, "fetch", "--quiet", "--prune", "--force", "--no-tags", "--", self._url,
            "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*",
            seconds=remote.TRANSFER_SECONDS_MAX,
        )  # fmt: skip

    def read(self, commit: str, path: str) -> bytes | None:
        """See ports.repository.Repository.read."""
        found = self._git.run(self.bare, "cat-file", "blob", f"{_known(commit)}:{self._below(path)}", check=False)
        return found.stdout if found.returncode == 0 else None

    def tree(self, commit: str) -> str:
        """See ports.repository.Repository.tree."""
        if not _COMMIT.fullmatch(commit):
            return ""
        found = self._git.run(
            self.bare, "rev-parse", "--verify", "--quiet", f"{commit}:{self._folder}", check=False
        ).stdout
        return found.decode().strip()

    def descends(self, commit: str, ancestor: str) -> bool:
        """See ports.repository.Repository.descends."""
        arguments = ("merge-base", "--is-ancestor", _known(ancestor), _known(commit))
        return self._git.run(self.bare, *arguments, check=False).returncode == 0

    def unsigned(self, commit: str) -> str:
        """See ports.repository.Repository.unsigned."""
        found = self._git.run(self.bare, "verify-commit", _known(commit), check=False)
        if found.returncode == 0:
            return ""
        said = " ".join(remote.scrub(found.stderr.decode(errors="replace")).split())
        return f"{commit[:12]} has no good signature: {said or 'it carries none'}"[:300]

    def keep(self, branch: str, commit: str) -> None:
        """See ports.repository.Repository.keep."""
        self._git.run(self.bare, "update-ref", f"refs/softlaunch/accepted/{branch}", _known(commit))

    def checkout(self, place: str, *, branch: str, commit: str) -> pathlib.Path:
        """See ports.repository.Repository.checkout."""
        top = self._directory / "checkouts" / place
        if not (top / ".git" / "HEAD").is_file():
            shutil.rmtree(top, ignore_errors=True)
            top.mkdir(mode=_PRIVATE, parents=True)
            self._git.run(top, "init", "--quiet", "--initial-branch", branch, "--", ".")
            (top / ".git" / "objects" / "info" / "alternates").write_bytes(os.fsencode(self.bare / "objects") + b"\n")
            # Git LFS finds its server beside the remote.
            self._git.run(top, "config", "remote.origin.url", self._url)
        (top / ".git" / "index.lock").unlink(missing_ok=True)  # of one that was killed: nobody else is at work here
        self._git.run(top, "update-ref", f"refs/heads/{branch}", _known(commit))
        self._git.run(top, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
        self._git.run(top, "reset", "--quiet", "--hard", commit, seconds=remote.TRANSFER_SECONDS_MAX)
        self._git.run(top, "clean", "--quiet", "-ffdx", seconds=remote.TRANSFER_SECONDS_MAX)
        self._git.run(top, "fetch", "--quiet", "--no-tags", "--force", "--", str(self.bare), "+refs/tags/*:refs/tags/*")
        return top / self._folder

    def close(self) -> None:
        """Ends what git does for this copy."""
        self._git.close()

    def _below(self, path: str) -> str:
        return f"{self._folder}/{path}" if self._folder else path

    def _prepare(self) -> None:
        if (self.bare / "HEAD").is_file():
            return
        try:
            self.bare.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        except OSError as error:
            raise remote.failed(
                f"{self.bare} cannot be created: {error.strerror}.", "Make room on the disk and check who may write."
            ) from error
        self._git.run(self.bare, "init", "--quiet", "--bare", "--", ".")


def remove(directory: pathlib.Path) -> None:
    """Takes a copy away, with its checkouts."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def check_url(text: str) -> str:
    """
    The address, as git is given it: a URL, `user@host:path`, or an absolute directory.

    Raises:
        ConfigError: it is none, would run a program, or carries a password.
    """
    if not text or text.startswith("-") or any(ord(letter) < 32 for letter in text):
        raise _unusable(f"{text!r:.120} is no address of a repository.", "Give a URL or a directory.")
    scheme, separator, rest = text.partition("://")
    if not separator:
        if "::" in text:
            raise _unusable(f"{text!r:.120} names a program to run.", "Give an https, ssh or git URL, or a directory.")
        if re.match(r"[^/]+@?[^/]*:", text):
            return text
        place = pathlib.Path(text).expanduser().resolve()
        if not place.is_dir():
            raise _unusable(f"There is no directory {text!r:.120}.", "Give a URL, or the directory of a repository.")
        return str(place)
    if scheme not in ("https", "http", "ssh", "git", "file"):
        raise _unusable(f"git is not asked by {scheme!r:.40}.", "Give an https, ssh, git or file URL, or a directory.")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    if at and (":" in user or scheme != "ssh"):
        raise _unusable(
            f"The address {remote.scrub(text)} carries a user name or a password.",
            "Leave it out, and let git know it: `git config --global credential.helper store` and one `git ls-remote`, "
            "or any other credential helper; or use ssh.",
        )
    return text


def _known(commit: str) -> str:
    if not _COMMIT.fullmatch(commit):
        raise errors.InvariantError(f"Not a full commit id: {commit!r:.80}.")
    return commit


def _unusable(message: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.FOLLOW_URL)
