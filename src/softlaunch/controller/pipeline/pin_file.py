"""softlaunch.lock in a service's folder: written beside its place and renamed, so that it is whole or as before."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from softlaunch.core import lockfile


def write(
    directory: pathlib.Path,
    *,
    urls: Mapping[str, str] | None = None,
    models: Mapping[str, lockfile.ModelPin] | None = None,
) -> None:
    """
    Adds pins to the file, or replaces those of the same name.

    Raises:
        ConfigError: the present file is broken.
    """
    path = directory / lockfile.NAME
    raw = path.read_bytes() if path.exists() else lockfile.dump({})
    unfinished = path.with_name(f".{lockfile.NAME}.writing")
    unfinished.write_bytes(
        lockfile.dump({**lockfile.load(raw), **(urls or {})}, {**lockfile.load_models(raw), **(models or {})})
    )
    unfinished.rename(path)
