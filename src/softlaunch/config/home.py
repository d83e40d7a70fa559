"""
The home directory, where everything lives that outlasts a process, and the short directory of its sockets.

Both hold what only their owner may touch: the token of the control plane, pickles that are loaded as code, sockets that
answer for production. So a directory is used only when it is a real directory, belongs to this user, and nobody else
may write to it; /tmp is shared, and a name that can be computed can be put there first by somebody else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import stat
from collections.abc import Mapping

from softlaunch import errors

VARIABLE = "SOFTLAUNCH_HOME"
DEFAULT = "~/.softlaunch"
_RUN_ROOT = pathlib.Path("/tmp")  # noqa: S108  a Unix socket's path may have 107 characters: nothing else is as short everywhere
_PRIVATE = 0o700
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclasses.dataclass(frozen=True)
class Home:
    """
    Names of everything below one home. Building one touches nothing.

    `root` is absolute and free of symbolic links, so that one directory has one run directory whatever it is called.
    """

    root: pathlib.Path
    run_root: pathlib.Path = _RUN_ROOT

    @classmethod
    def locate(
        cls,
        option: str | os.PathLike[str] | None = None,
        variables: Mapping[str, str] = os.environ,
    ) -> Home:
        """
        The home of `--home`, else of SOFTLAUNCH_HOME, else ~/.softlaunch. It need not exist.

        Raises:
            ConfigError: the path is empty, holds a NUL character, or `~` leads nowhere.
        """
        source = "--home" if option is not None else VARIABLE
        text = os.fspath(option) if option is not None else variables.get(VARIABLE, DEFAULT)
        if not text.strip() or "\x00" in text:
            raise _unusable(f"{source} is {text!r}, which is no path.", "Name a directory of your own.")
        try:
            return cls(pathlib.Path(text).expanduser().resolve())
        except (OSError, RuntimeError) as error:
            message = f"{source} is {text!r}, which leads nowhere: {error}."
            raise _unusable(message, "Name a directory of your own.") from error

    @property
    def lock_file(self) -> pathlib.Path:
        """Held by the control plane while it runs."""
        return self.root / "lock"

    @property
    def control_file(self) -> pathlib.Path:
        """Address and token of the running control plane, mode 0600."""
        return self.root / "control.json"

    @property
    def people_file(self) -> pathlib.Path:
        """Who has a token, mode 0600."""
        return self.root / "people.json"

    @property
    def hook_file(self) -> pathlib.Path:
        """The secret webhooks are signed with, mode 0600."""
        return self.root / "webhook.secret"

    @property
    def keys(self) -> pathlib.Path:
        """Keys that sign, mode 0600, and public keys that are trusted."""
        return self.root / "keys"

    @property
    def state_file(self) -> pathlib.Path:
        """The SQLite database; only the control plane writes to it."""
        return self.root / "state.db"

    @property
    def heads_file(self) -> pathlib.Path:
        """Hashes of the history's records, beside the state."""
        return self.root / "history.heads"

    @property
    def registry(self) -> pathlib.Path:
        """The OCI image layout."""
        return self.root / "registry"

    @property
    def releases(self) -> pathlib.Path:
        """Unpacked releases, one directory per digest."""
        return self.root / "releases"

    @property
    def images(self) -> pathlib.Path:
        """Container images of releases, an OCI image layout."""
        return self.root / "images"

    @property
    def venvs(self) -> pathlib.Path:
        """Python environments, one per lock digest."""
        return self.root / "venvs"

    @property
    def cache(self) -> pathlib.Path:
        """What can be made again: downloads, trained models."""
        return self.root / "cache"

    @property
    def pipelines(self) -> pathlib.Path:
        """Runs of `softlaunch ship`: SERVICE/ENVIRONMENT/N/."""
        return self.root / "pipelines"

    @property
    def training(self) -> pathlib.Path:
        """Recorded training runs: ID/."""
        return self.root / "training"

    @property
    def jobs(self) -> pathlib.Path:
        """Batch jobs and their last good outputs: NAME/."""
        return self.root / "jobs"

    @property
    def repositories(self) -> pathlib.Path:
        """Copies of git repositories that are followed, and their checkouts."""
        return self.root / "repositories"

    @property
    def gateway(self) -> pathlib.Path:
        """Envoy's files and the attempt log."""
        return self.root / "gateway"

    @property
    def spool(self) -> pathlib.Path:
        """Recorded predictions: SERVICE/ENVIRONMENT/, written by model servers."""
        return self.root / "spool"

    @property
    def log(self) -> pathlib.Path:
        """The prediction log: SERVICE/predictions, a Delta table."""
        return self.root / "log"

    @property
    def redaction_secret(self) -> pathlib.Path:
        """The key of the digests that are recorded instead of values; mode 0600, made once."""
        return self.root / "redaction.secret"

    @property
    def evidence(self) -> pathlib.Path:
        """What the judges of rollouts were told."""
        return self.root / "evidence"

    @property
    def fallbacks(self) -> pathlib.Path:
        """What fallback servers answer from."""
        return self.root / "fallbacks"

    @property
    def logs(self) -> pathlib.Path:
        """What processes printed."""
        return self.root / "logs"

    @property
    def run(self) -> pathlib.Path:
        """Sockets: /tmp/sl-UID-8HEX, the same for the same home."""
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]
        return self.run_root / f"sl-{os.geteuid()}-{name}"

    def prepare(self) -> None:
        """
        Creates what is missing (mode 0700) and checks what is there; doing it twice changes nothing.

        Raises:
            ConfigError: a directory belongs to somebody else, others may write to it, or it is no directory.
            UnavailableError: it cannot be created (disk full, read-only).
        """
        _ensure(self.root, parents=True)
        for below in (
            self.registry,
            self.releases,
            self.venvs,
            self.cache,
            self.repositories,
            self.gateway,
            self.spool,
            self.evidence,
            self.fallbacks,
            self.logs,
        ):
            _ensure(below)
        _ensure(self.run, private=True)


def _ensure(directory: pathlib.Path, *, parents: bool = False, private: bool = False) -> None:
    try:
        if parents and not directory.parent.is_dir():
            directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=_PRIVATE)
    except (FileExistsError, NotADirectoryError) as error:
        raise _unusable(f"A file stands above {directory}.", "Choose another home with --home.") from error
    except OSError as error:
        raise errors.UnavailableError(
            f"{directory} cannot be created: {error.strerror or error}.",
            remedy="Check the disk and who may write there, or choose another home with --home.",
            code=errors.Code.HOME_UNUSABLE,
        ) from error
    _check(directory, private=private)


def _check(directory: pathlib.Path, *, private: bool) -> None:
    """Looks at the name itself, never through a symbolic link: that is how somebody else's directory gets used."""
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no directory"
        raise _unusable(
            f"{directory} is {kind}.", "Look at what it is and remove it, or choose another home with --home."
        )
    if found.st_uid != os.geteuid():
        raise _unusable(
            f"{directory} belongs to user {found.st_uid}, not to you ({os.geteuid()}).",
            "Run as its owner, or choose another home with --home.",
        )
    forbidden = 0o077 if private else _OTHERS_WRITE
    if found.st_mode & forbidden:
        mode = stat.S_IMODE(found.st_mode)
        raise _unusable(
            f"{directory} has mode {mode:04o}: others can get in.", f"Run chmod 700 {directory} if nobody did."
        )


def _unusable(message: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.HOME_UNUSABLE)
