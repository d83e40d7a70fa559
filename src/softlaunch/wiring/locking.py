"""softlaunch.lock: looked at, written, and committed."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping

from softlaunch import errors
from softlaunch.adapters.data_sources import by_scheme, dvc, git_lfs
from softlaunch.adapters.git import one_file
from softlaunch.adapters.git import source as git_source
from softlaunch.adapters.python_env import uv as uv_environments
from softlaunch.adapters.python_env import workbench as local_workbench
from softlaunch.config import home as homes
from softlaunch.config import service_file
from softlaunch.controller.pipeline import files, locking, materials, pin_file
from softlaunch.core import lockfile, pins

_ATTEMPTS_MAX = 3
"""Of pushing, when somebody else pushes at the same time; a guess."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Locked:
    """What the lock says now, and what was done for that."""

    pins: Mapping[pins.Role, pins.Pin]
    changes: tuple[locking.Change, ...]
    """Empty: the lock was right already, and nothing was done."""
    branch: str | None = None
    commit: str | None = None
    pushed: bool = False
    taken_back: str | None = None
    """The commit that took this very change back, for which it was not made again."""


def check(home: homes.Home, directory: pathlib.Path) -> Locked:
    """
    What the lock in `directory` would say now; nothing is written but caches.

    Raises:
        ConfigError: softlaunch.yaml, the lock, or something that is named is broken.
        UnavailableError: something cannot be fetched.
    """
    home.prepare()
    service = service_file.load(directory / service_file.FILE_NAME)
    now = locking.look(service, directory, _eyes(home, directory))
    return Locked(pins=now, changes=locking.changes(materials.lock_of(directory), now))


def write(home: homes.Home, directory: pathlib.Path, *, again: bool) -> Locked:
    """
    As `check`; then writes the lock into `directory`, when it was not right.

    Args:
        home: Whose caches are used.
        directory: The service's folder.
        again: Also looks at what is pinned already; without that a pin of what is still named stays as it is.
    """
    home.prepare()
    service = service_file.load(directory / service_file.FILE_NAME)
    eyes, raw = _eyes(home, directory), materials.lock_of(directory)
    now = locking.look(service, directory, eyes, again=again)
    found = Locked(pins=now, changes=locking.changes(raw, now))
    if found.changes:
        pin_file.write(directory, found.pins)
    return found


def update(
    home: homes.Home,
    directory: pathlib.Path,
    *,
    branch: str | None = None,
    push: bool = False,
    unless_reverted: bool = False,
) -> Locked:
    """
    One commit on a branch that brings its lock up to date; none when it is.

    The branch's own softlaunch.yaml and files decide, not the working tree's.

    Args:
        home: Whose caches are used.
        directory: The service's folder in a clone.
        branch: Which; None: the one that is checked out.
        push: The branch is origin's, and the commit goes there.
        unless_reverted: Leave the branch alone where somebody, or a rollback, has taken back what would be written.

    Raises:
        ConfigError: there is no such branch, or as `check`.
        ConflictError: others kept pushing at the same time.
        UnavailableError: something cannot be fetched, or the remote refuses the commit.
    """
    home.prepare()
    repository, file = git_source.GitSource(directory), one_file.OneFile(directory, lockfile.NAME)
    name = branch or file.current()
    if name is None:
        raise errors.ConfigError(
            "No branch is checked out here.", remedy="Name one with --branch.", code=errors.Code.UNKNOWN_REF
        )
    eyes = _eyes(home, directory)
    for _ in range(_ATTEMPTS_MAX):
        parent = file.tip(name, remote=push)
        commit = repository.resolve(parent)
        with tempfile.TemporaryDirectory(prefix="softlaunch-lock-") as scratch:
            checkout = pathlib.Path(scratch) / "checkout"
            repository.checkout(commit, checkout)
            service = service_file.load(checkout / service_file.FILE_NAME)
            now = locking.look(service, checkout, eyes)
            changed = locking.changes(materials.lock_of(checkout), now)
        if not changed:
            return Locked(pins=now, changes=(), branch=name)
        raw = lockfile.dump_roles(now)
        if unless_reverted and (reverted := file.taken_back(parent, raw, own=locking.TITLE)):
            return Locked(pins=now, changes=changed, branch=name, taken_back=reverted)
        lines = "\n".join(f"* {change.text}" for change in changed)
        made = file.commit(parent, raw, f"{locking.TITLE}\n\n{lines}\n")
        moved = file.push(name, made) if push else file.advance(name, made, parent=parent)
        if moved:
            if push:
                file.advance(name, made, parent=parent)
            return Locked(pins=now, changes=changed, branch=name, commit=made, pushed=push)
    raise errors.ConflictError(
        f"Others moved {name!r} {_ATTEMPTS_MAX} times while its lock was made.",
        remedy="Try again.",
        code=errors.Code.GIT_FAILED,
    )


def materials_of(directory: pathlib.Path) -> tuple[git_lfs.GitLfs, dvc.Dvc]:
    """Ways of keeping files outside of Git that the clone around `directory` may use."""
    return git_lfs.GitLfs(directory), dvc.Dvc(directory, by_scheme.Downloads())


def _eyes(home: homes.Home, directory: pathlib.Path) -> locking.Eyes:
    environments = uv_environments.UvEnvironments(home.venvs)

    def python(checkout: pathlib.Path) -> pathlib.Path:
        name = files.lock_name(checkout)
        return environments.building((checkout / name).read_bytes() if name is not None else None).python

    return locking.Eyes(
        downloads=by_scheme.Downloads(),
        materials=materials_of(directory),
        workbench=local_workbench.LocalWorkbench(environments.import_path()),
        python=python,
        cache=home.cache,
    )
