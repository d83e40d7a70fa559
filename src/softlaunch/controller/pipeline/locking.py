"""
What softlaunch.lock would say if it were written now, and how that differs from what it says.

Looking is cheap where it can be: a version that the place itself still calls the same is not fetched again.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from softlaunch.controller.pipeline import materials, mlflow_registry
from softlaunch.core import lockfile, pins, spec
from softlaunch.ports import download, python_env
from softlaunch.ports import materials as material_port

TITLE = "Update softlaunch.lock"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eyes:
    """What it takes to look."""

    downloads: download.Downloads
    materials: Sequence[material_port.Materials]
    workbench: python_env.Workbench
    python: Callable[[pathlib.Path], pathlib.Path]
    """The interpreter of a checkout's lock file, which has mlflow; asked only where a model comes from a registry."""
    cache: pathlib.Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One role whose pin is not what it would be now."""

    role: pins.Role
    was: pins.Pin | None
    now: pins.Pin | None
    """None: the service names nothing in this role any more."""

    @property
    def text(self) -> str:
        """One line for people."""
        if self.was is None:
            assert self.now is not None
            return f"{self.role}: {self.now.uri} is not pinned"
        if self.now is None:
            return f"{self.role}: {self.was.uri} is pinned, and nothing names it any more"
        if self.was.uri != self.now.uri:
            return f"{self.role}: {self.was.uri} is pinned, {self.now.uri} is named now"
        if self.was.sha256 == self.now.sha256:
            return f"{self.role}: {self.now.uri} is {_short(self.now)} now, with the same bytes as {_short(self.was)}"
        return f"{self.role}: {self.now.uri} was {_short(self.was)}, is {_short(self.now)} now"


def look(
    service: spec.ServiceSpec, checkout: pathlib.Path, eyes: Eyes, *, again: bool = True
) -> Mapping[pins.Role, pins.Pin]:
    """
    A pin for everything the service names, as it is now; what was fetched for it stays in the cache.

    Args:
        service: The checkout's softlaunch.yaml.
        checkout: A commit's files, or a working tree.
        eyes: What it takes.
        again: False keeps the pins of what is still named and, where the commit says so, of the same version.

    Raises:
        ConfigError: something is broken or missing, or the present lock is.
        UnavailableError: something cannot be fetched.
    """
    raw = materials.lock_of(checkout)
    return {
        origin.role: _pin(origin, lockfile.find(raw, origin.role, origin.uri), checkout, eyes, again=again)
        for origin in materials.origins(service, checkout, eyes.materials)
    }


def changes(raw: bytes | None, now: Mapping[pins.Role, pins.Pin]) -> tuple[Change, ...]:
    """Where the lock is not what it would be now; in a file of schema 1 only models are looked for."""
    found = []
    was = lockfile.load_roles(raw) if raw is not None else {}
    for role in pins.Role:
        before = was.get(role)
        after = now.get(role)
        if before is None and after is not None:
            before = lockfile.find(raw, role, after.uri)
        if before != after:
            found.append(Change(role=role, was=before, now=after))
    return tuple(found)


def _pin(
    origin: materials.Origin, known: pins.Pin | None, checkout: pathlib.Path, eyes: Eyes, *, again: bool
) -> pins.Pin:
    known = known if known is not None and known.uri == origin.uri else None
    if known is not None and not again and origin.kind in (pins.Kind.URL, pins.Kind.MLFLOW):
        return known
    if origin.kind is pins.Kind.GIT:
        return pins.Pin(uri=origin.uri, version="", sha256=materials.digest(checkout / origin.name))
    if origin.kind is pins.Kind.MLFLOW:
        python = eyes.python(checkout)
        if known is not None and mlflow_registry.version(origin.uri, eyes.workbench, python) == known.version:
            return known
        return mlflow_registry.look(origin.uri, eyes.workbench, python)
    if origin.kind is pins.Kind.URL:
        if known is not None and known.version and eyes.downloads.version(origin.uri) == known.version:
            return known
        unfinished = materials.partial(eyes.cache, origin.uri)
        found = eyes.downloads.fetch(origin.uri, unfinished)
        materials.keep(eyes.cache, unfinished, found.sha256)
        return pins.Pin(uri=origin.uri, version=found.version, sha256=found.sha256)
    if known is not None and known.version == origin.version:
        return known
    with materials.brought(eyes.cache, origin, checkout) as (path, sha256):
        materials.keep(eyes.cache, path, sha256)
    return pins.Pin(uri=origin.uri, version=origin.version, sha256=sha256)


def _short(pin: pins.Pin) -> str:
    return f"version {pin.version:.24}" if pins.kind(pin.uri) is pins.Kind.MLFLOW else f"sha256 {pin.sha256[:12]}"
