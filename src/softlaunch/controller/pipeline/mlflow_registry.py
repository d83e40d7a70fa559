"""
Models of an MLflow registry: the version and bytes that were pinned, and no others.

Fetching happens in the service's own environment, which has mlflow; softlaunch itself does not depend on it.
"""

from __future__ import annotations

import os
import pathlib
import tempfile

from softlaunch import errors
from softlaunch.controller.pipeline import files, materials, pin_file, workshop
from softlaunch.core import lockfile, pins, spec
from softlaunch.ports import python_env


def fetched(
    model: spec.ModelSpec, shop: workshop.Workshop, *, checkout: pathlib.Path, python: pathlib.Path
) -> tuple[pathlib.Path, str]:
    """
    The pinned model's directory in the cache, and where it came from, for people.

    Args:
        python: The service's interpreter, which has mlflow.

    Raises:
        ConfigError: it is not pinned, is not what was pinned, or cannot be fetched.
    """
    uri = model.mlflow_uri
    assert uri is not None
    pinned = materials.pin_of(materials.lock_of(checkout), materials.Origin(role=pins.Role.MODEL, name=uri, uri=uri))
    assert pinned is not None
    kept, where = shop.cache / "mlflow" / pinned.sha256, "from the cache"
    if not kept.is_dir() or files.digest(kept) != pinned.sha256:
        where = "fetched"
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=f".{os.getpid()}-") as scratch:
            found, _ = _download(uri, pinned.version, shop.workbench, python, pathlib.Path(scratch))
            digest = files.digest(found)
            if digest != pinned.sha256:
                raise errors.ConfigError(
                    f"Version {pinned.version} of {uri} has changed: its sha256 is {digest},"
                    f" {lockfile.NAME} pins {pinned.sha256}.",
                    remedy="If it is wanted, run `softlaunch lock --update` and commit; else ask who changed it.",
                    code=errors.Code.MODEL_CHANGED,
                )
            files.remove_model(kept)
            found.rename(kept)
    return kept, f"{uri}, version {pinned.version}, {where}, sha256 {pinned.sha256[:12]} as pinned"


def pin(uri: str, directory: pathlib.Path, workbench: python_env.Workbench, python: pathlib.Path) -> dict[str, str]:
    """
    Fetches what the URI stands for now, and writes version and sha256 to softlaunch.lock in the service's folder.

    Returns:
        model, version and sha256.

    Raises:
        ConfigError: it cannot be fetched, or the present file is broken.
    """
    found = look(uri, workbench, python)
    pin_file.write_model(directory, found)
    return {"model": uri, "version": found.version, "sha256": found.sha256}


def look(uri: str, workbench: python_env.Workbench, python: pathlib.Path) -> pins.Pin:
    """
    What the URI stands for now.

    Raises:
        ConfigError: it cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="softlaunch-pin-") as scratch:
        found, version = _download(uri, None, workbench, python, pathlib.Path(scratch))
        return pins.Pin(uri=uri, version=version, sha256=files.digest(found))


def version(uri: str, workbench: python_env.Workbench, python: pathlib.Path) -> str:
    """
    The version the URI stands for now; nothing is fetched.

    Raises:
        ConfigError: the registry cannot say.
    """
    said = workbench.tool("fetch_mlflow", {"uri": uri, "version": None, "directory": None}, python=python)
    return str(said["version"])


def _download(
    uri: str, version: str | None, workbench: python_env.Workbench, python: pathlib.Path, scratch: pathlib.Path
) -> tuple[pathlib.Path, str]:
    asked = {"uri": uri, "version": version, "directory": str(scratch)}
    said = workbench.tool("fetch_mlflow", asked, python=python)
    found = pathlib.Path(said["directory"])
    _even_modes(found)
    return found, str(said["version"])


def _even_modes(directory: pathlib.Path) -> None:
    """The digest covers whether a file is a program; a download's modes are whatever its store made of them."""
    for name in files.walk(directory):
        (directory / name).chmod(0o644)
