"""Releases of a home, and registries elsewhere."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

from softlaunch import errors
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.oci import remote
from softlaunch.config import home as homes
from softlaunch.config import service_file
from softlaunch.ports import registry


def push(home: homes.Home, reference: str, target: str, show: Callable[[str], None]) -> registry.Carried:
    """
    Sends a release and its evidence to HOST/NAME or HOST/NAME:TAG.

    Raises:
        ConfigError: no such release, or no right to write there.
        UnavailableError: the registry, or a damaged blob.
    """
    home.prepare()
    digest = oci_registry.OciRegistry(home.registry).resolve(reference)
    if digest is None:
        raise errors.ConfigError(
            f"There is no release {reference!r}.",
            remedy="Give a digest, commit, tag or branch that was built or pulled.",
            code=errors.Code.NO_RELEASE,
        )
    return remote.OciRemote(home.registry, show).send(digest, target)


def repository_of(directory: pathlib.Path) -> str:
    """
    What `registry:` says in the softlaunch.yaml of a directory.

    Raises:
        ConfigError: there is no such file, or it has mistakes or no `registry:`.
    """
    found = service_file.load(directory / service_file.FILE_NAME).registry
    if found is None:
        raise errors.ConfigError(
            f"{service_file.FILE_NAME} has no `registry:`.",
            remedy="Add `registry: HOST/NAME` to it, or say where to with --to HOST/NAME.",
            code=errors.Code.BAD_OPTION,
        )
    return found


def pull(home: homes.Home, source: str, show: Callable[[str], None]) -> registry.Carried:
    """
    Fetches a release and its evidence.

    Raises:
        ConfigError: no such release, or no right to read it.
        UnavailableError: the registry, or the disk.
    """
    home.prepare()
    return remote.OciRemote(home.registry, show).fetch(source)


def tags(home: homes.Home, repository: str) -> Sequence[str]:
    """Tags of a repository elsewhere."""
    return remote.OciRemote(home.registry).tags(repository)
