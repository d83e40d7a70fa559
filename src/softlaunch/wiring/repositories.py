"""Repositories that are followed: copies below the home, and what follows them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterator

from softlaunch import errors
from softlaunch.adapters.git import mirror, reverts
from softlaunch.adapters.local import lock_process, ship_process
from softlaunch.config import home as homes
from softlaunch.config import service_file
from softlaunch.controller import follow_state, follow_work, following
from softlaunch.controller import loop as loops
from softlaunch.ports import registry, store

_THREADS = 8
"""Servers that hang at the same time while others are still asked; a guess."""


def directory(home: homes.Home, url: str, folder: str) -> pathlib.Path:
    """Where the copy of a repository is kept: its own for each folder that is followed."""
    name = hashlib.sha256(f"{url}\0{folder}".encode()).hexdigest()[:16]
    return home.repositories / name


def opener(home: homes.Home) -> Callable[[follow_state.Follow], follow_work.Workspace]:
    """Opens the repository of a follow."""

    def opened(follow: follow_state.Follow) -> follow_work.Workspace:
        url = mirror.check_url(follow.url)
        copy = mirror.GitMirror(url, directory(home, url, follow.folder), folder=follow.folder)
        back = reverts.GitReverts(copy, url, folder=follow.folder)
        return follow_work.Workspace(copy=copy, reverts=back, close=copy.close)

    return opened


@contextlib.contextmanager
def follower(
    home: homes.Home, *, loop: loops.ControlLoop, saved: store.Store, registry: registry.Registry
) -> Iterator[following.Following]:
    """What follows repositories for a control plane; ends what it has begun."""
    threads = concurrent.futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="git")
    pipelines = ship_process.ShipProcesses(home=home.root, logs_directory=home.logs / "pipelines")
    found = following.Following(
        loop=loop,
        store=saved,
        registry=registry,
        shipper=pipelines,
        locker=lock_process.LockProcesses(home=home.root),
        open_space=opener(home),
        read_service=service_file.parse_bytes,
        executor=threads,
    )
    try:
        yield found
    finally:
        found.close()
        pipelines.close()
        threads.shutdown(wait=True, cancel_futures=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """A service found in a repository."""

    url: str
    """As git is given it."""
    folder: str
    service: str
    environments: tuple[tuple[str, str], ...]
    """Name and branch of those that have one."""


def named(home: homes.Home, address: str, folder: str) -> Named:
    """
    The service in a repository: fetches it, so that whoever asks learns at once what is wrong.

    Args:
        home: Where the copy is kept.
        address: A URL or a directory.
        folder: The service's, relative to the repository's top.

    Raises:
        ConfigError: the address cannot be one, or there is no usable softlaunch.yaml.
        UnavailableError: the server cannot be reached.
    """
    home.prepare()
    url, folder = _top(mirror.check_url(address), folder.strip("/"))
    copy = mirror.GitMirror(url, directory(home, url, folder), folder=folder)
    heads = copy.look()
    copy.fetch()
    default = heads.default or next((name for name in ("main", "master") if name in heads.branches), "")
    raw = copy.read(heads.branches[default], service_file.FILE_NAME) if default in heads.branches else None
    if raw is None:
        where = f"{folder}/{service_file.FILE_NAME}" if folder else service_file.FILE_NAME
        raise errors.ConfigError(
            f"There is no {where} on {default or 'any default branch'} of {address}.",
            remedy="Commit one to the default branch, or name the service's folder with --folder.",
            code=errors.Code.SERVICE_FILE,
        )
    service = service_file.parse_bytes(raw)
    followed = [(found.name, found.branch) for found in service.environments if found.branch is not None]
    if not followed:
        raise errors.ConfigError(
            f"No environment of {service.service} has a `branch:`.",
            remedy="Say in softlaunch.yaml which branch each environment is made of, such as `branch: main`.",
            code=errors.Code.SERVICE_FILE,
        )
    return Named(url=url, folder=folder, service=service.service, environments=tuple(followed))


def _top(url: str, folder: str) -> tuple[str, str]:
    """Of a directory below a repository's top: the top, and the way from there."""
    place = pathlib.Path(url)
    if folder or not place.is_dir() or (place / "HEAD").is_file():
        return url, folder
    top = next((each for each in (place, *place.parents) if (each / ".git").exists()), place)
    return str(top), "" if top == place else place.relative_to(top).as_posix()
