"""softlaunch.lock in a service's folder: written beside its place and renamed, so that it is whole or as before."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from softlaunch.core import lockfile, pins


def write_model(directory: pathlib.Path, pin: pins.Pin) -> None:
    """
    Pins the model and leaves what else is pinned: of a file of schema 1 as `build --pin` always wrote it.

    Raises:
        ConfigError: the present file is broken.
    """
    path = directory / lockfile.NAME
    raw = path.read_bytes() if path.exists() else lockfile.dump({})
    roles = lockfile.load_roles(raw)
    if roles:
        write(directory, {**roles, pins.Role.MODEL: pin})
        return
    urls, models = lockfile.load(raw), lockfile.load_models(raw)
    if pins.kind(pin.uri) is pins.Kind.MLFLOW:
        models[pin.uri] = lockfile.ModelPin(version=pin.version, sha256=pin.sha256)
    else:
        urls[pin.uri] = pin.sha256
    _replace(path, lockfile.dump(urls, models))


def write(directory: pathlib.Path, found: Mapping[pins.Role, pins.Pin]) -> None:
    """Writes these pins and no others."""
    _replace(directory / lockfile.NAME, lockfile.dump_roles(found))


def _replace(path: pathlib.Path, raw: bytes) -> None:
    unfinished = path.with_name(f".{lockfile.NAME}.writing")
    unfinished.write_bytes(raw)
    unfinished.rename(path)
