"""
What a release is made of besides the commit's own files: brought to a build, byte for byte as it is pinned.

The digest is checked before anything is loaded or placed. Downloads land in the cache under their digest, by rename.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from softlaunch import errors
from softlaunch.controller.pipeline import files, workshop
from softlaunch.core import lockfile, pins, spec
from softlaunch.ports import materials as material_port


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """What softlaunch.yaml's word for a role stands for in one checkout."""

    role: pins.Role
    name: str
    """As softlaunch.yaml has it: a path, a URL, or models:/."""
    uri: str
    version: str = ""
    """What the commit itself says of the bytes."""
    material: material_port.Materials | None = None
    """Who can fetch it, when the commit only points at it."""

    @property
    def kind(self) -> pins.Kind:
        return pins.kind(self.uri)


def origins(
    service: spec.ServiceSpec, checkout: pathlib.Path, materials: Sequence[material_port.Materials]
) -> tuple[Origin, ...]:
    """
    Everything of the service that can be pinned.

    A path with nothing behind it is left out: what needs it says so.

    Raises:
        ConfigError: a pointer is broken.
    """
    found = []
    for role, name in pins.names(service).items():
        if pins.is_url(name) or name.startswith("models:/"):
            found.append(Origin(role=role, name=name, uri=name))
            continue
        path = files.inside(checkout, name)
        for each in materials:
            material = each.find(checkout, name)
            if material is not None:
                found.append(Origin(role=role, name=name, uri=material.uri, version=material.version, material=each))
                break
        else:
            if path.exists():
                found.append(Origin(role=role, name=name, uri=f"{pins.Kind.GIT}:{name}"))
    return tuple(found)


def supply(
    service: spec.ServiceSpec, shop: workshop.Workshop, *, checkout: pathlib.Path, work: pathlib.Path
) -> Mapping[pins.Role, pathlib.Path]:
    """
    Files of the reference and the holdout, and in `work` everything that a pointer of the commit stands for.

    A model given by URL or by a registry is left to `obtain`.

    Raises:
        ConfigError: something is not pinned, or is not what was pinned.
        UnavailableError: something cannot be fetched.
    """
    raw = lock_of(checkout)
    found: dict[pins.Role, pathlib.Path] = {}
    for origin in origins(service, checkout, shop.materials):
        if origin.role is pins.Role.MODEL and origin.kind in (pins.Kind.URL, pins.Kind.MLFLOW):
            continue
        pin = pin_of(raw, origin)
        if origin.kind is pins.Kind.GIT:
            path = files.inside(checkout, origin.name)
            if pin is not None and digest(path) != pin.sha256:
                raise changed(origin.uri, digest(path), pin)
        elif origin.kind is pins.Kind.URL:
            assert pin is not None
            kept = fetched(shop, origin.name, pin)
            path = work.parent / "supplied" / origin.role / pins.file_name(origin.name)
            files.copy_model(kept, path)
        else:
            path = work / origin.name
            _place(shop, origin, pin, checkout=checkout, path=path)
        found[origin.role] = path
    return found


def pin_of(raw: bytes | None, origin: Origin) -> pins.Pin | None:
    """
    The origin's pin. None only for what the commit pins by itself: its own files, and Git LFS pointers (a sha256).

    Raises:
        ConfigError: it is not pinned, or the lock was written for something else.
    """
    pin = lockfile.find(raw, origin.role, origin.uri)
    if pin is None:
        if origin.kind in (pins.Kind.GIT, pins.Kind.LFS):
            return None
        raise errors.ConfigError(
            f"The {origin.role} {origin.uri} is not pinned in {lockfile.NAME}.",
            remedy=f"Run `softlaunch lock`, and commit {lockfile.NAME}.",
            code=errors.Code.MODEL_UNPINNED,
        )
    if pin.uri != origin.uri or (origin.version and origin.version != pin.version):
        said = pin.uri if pin.uri != origin.uri else f"{pin.uri} at {pin.version:.30}"
        now = origin.uri if pin.uri != origin.uri else f"{origin.uri} at {origin.version:.30}"
        raise errors.ConfigError(
            f"{lockfile.NAME} pins the {origin.role} as {said}, the commit says {now}.",
            remedy=f"Run `softlaunch lock --update`, and commit {lockfile.NAME} together with the change.",
            code=errors.Code.PIN_STALE,
        )
    return pin


def fetched(shop: workshop.Workshop, url: str, pin: pins.Pin) -> pathlib.Path:
    """
    The file a URL was pinned to, in the cache.

    Raises:
        ConfigError: the URL answers something else now.
        UnavailableError: it cannot be fetched.
    """
    kept = shop.cache / "downloads" / pin.sha256
    if kept.is_file() and digest(kept) == pin.sha256:
        return kept
    unfinished = partial(shop.cache, url)
    found = shop.downloads.fetch(url, unfinished, version=pin.version)
    if found.sha256 != pin.sha256:
        unfinished.unlink()
        raise changed(url, found.sha256, pin)
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished.rename(kept)
    return kept


def partial(cache: pathlib.Path, url: str) -> pathlib.Path:
    """Where a URL's download grows; the same for the same URL, so that it can go on after it broke off."""
    place = cache / "partial"
    place.mkdir(parents=True, exist_ok=True)
    return place / hashlib.sha256(url.encode()).hexdigest()


def keep(cache: pathlib.Path, unfinished: pathlib.Path, sha256: str) -> pathlib.Path:
    """Moves a file or directory into the cache under its digest, by rename."""
    kept = cache / ("trees" if unfinished.is_dir() else "downloads") / sha256
    kept.parent.mkdir(parents=True, exist_ok=True)
    files.remove_model(kept)
    unfinished.rename(kept)
    return kept


@contextlib.contextmanager
def brought(cache: pathlib.Path, origin: Origin, checkout: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """What a pointer of the commit stands for, fetched to a place that goes away, and its digest."""
    assert origin.material is not None
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".bringing-{os.getpid()}-") as scratch:
        path = pathlib.Path(scratch) / pathlib.PurePosixPath(origin.name).name
        origin.material.fetch(checkout, origin.name, path)
        even_modes(path)
        yield path, digest(path)


def even_modes(path: pathlib.Path) -> None:
    """The digest of a directory covers whether a file is a program; stores do not keep that."""
    for name in files.walk(path) if path.is_dir() else ():
        if not (path / name).is_symlink():
            (path / name).chmod(0o644)


def digest(path: pathlib.Path) -> str:
    """sha256 of a file's bytes, or of a directory's names and bytes; in hex."""
    if path.is_dir():
        return files.digest(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock_of(directory: pathlib.Path) -> bytes | None:
    """The bytes of softlaunch.lock, None when there is none."""
    path = directory / lockfile.NAME
    return path.read_bytes() if path.is_file() else None


def changed(uri: str, found: str, pin: pins.Pin) -> errors.ConfigError:
    """What is there is not what was pinned."""
    return errors.ConfigError(
        f"{uri} has changed: its sha256 is {found}, {lockfile.NAME} pins {pin.sha256}.",
        remedy="If the change is wanted, run `softlaunch lock --update` and commit; else ask who changed it.",
        code=errors.Code.MODEL_CHANGED,
    )


def _place(
    shop: workshop.Workshop,
    origin: Origin,
    pin: pins.Pin | None,
    *,
    checkout: pathlib.Path,
    path: pathlib.Path,
) -> None:
    kept = _kept(shop.cache, pin.sha256 if pin is not None else origin.version.removeprefix("sha256:"))
    if kept is None:
        with brought(shop.cache, origin, checkout) as (unfinished, found):
            if pin is not None and found != pin.sha256:
                raise changed(origin.uri, found, pin)
            kept = keep(shop.cache, unfinished, found)
    files.remove_model(path)
    files.copy_model(kept, path)


def _kept(cache: pathlib.Path, sha256: str) -> pathlib.Path | None:
    for place in ("downloads", "trees"):
        path = cache / place / sha256
        if path.exists() and digest(path) == sha256:
            return path
    return None
