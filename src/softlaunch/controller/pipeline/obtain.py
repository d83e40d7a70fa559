"""The model's bytes: committed, fetched and pinned, or produced by training."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import platform
import re
import tempfile

from softlaunch import errors
from softlaunch.controller.pipeline import files, materials, mlflow_registry, pin_file, workshop
from softlaunch.core import pins, spec
from softlaunch.ports import download, python_env

_MLMODEL = "MLmodel"
_MLFLOW_RUN = re.compile(r"^run_id:[ \t]*['\"]?([0-9A-Za-z]{1,64})['\"]?[ \t]*$", re.MULTILINE)
"""In the MLmodel file, which is YAML: a key of its top."""


def obtain(
    service: spec.ServiceSpec,
    shop: workshop.Workshop,
    *,
    checkout: pathlib.Path,
    work: pathlib.Path,
    interpreter: python_env.Interpreter,
    lock: bytes | None,
) -> tuple[pathlib.Path | None, str]:
    """
    The model's file or directory, None for a class that needs none; and where it came from, for people.

    Args:
        checkout: The commit's files, in which nothing is run.
        work: A copy of them, in which training runs.

    Raises:
        ConfigError: it is missing, unpinned, not what was pinned, or a Git LFS pointer; training failed.
        UnavailableError: it cannot be fetched.
    """
    model = service.model
    if model.train_command is not None:
        return _trained(service, shop, checkout=checkout, work=work, interpreter=interpreter, lock=lock)
    if model.source is spec.ModelSource.URL:
        return _fetched(model, shop, checkout=checkout, work=work)
    if model.source is spec.ModelSource.MLFLOW:
        return mlflow_registry.fetched(model, shop, checkout=checkout, python=interpreter.python)
    if model.path is None:
        return None, f"class {model.python_target}, no model file"
    return checked(work, model.path), f"{model.path}, as committed"


def checked(directory: pathlib.Path, name: str) -> pathlib.Path:
    """
    The model's file or directory, which is there and not empty.

    Raises:
        ConfigError: it is not.
    """
    path = files.inside(directory, name)
    if not path.exists():
        raise errors.ConfigError(
            f"There is no model file {name!r} in the commit.",
            remedy="Commit it (is it in .gitignore?), correct `model.path`, or add `train` to produce it.",
            code=errors.Code.MODEL_MISSING,
        )
    parts = [path / each for each in files.walk(path)] if path.is_dir() else [path]
    if any(files.is_lfs_pointer(each) for each in parts if each.is_file()):
        raise errors.ConfigError(
            f"{name!r} is a Git LFS pointer, not the model itself.",
            remedy="Push it with `git lfs push`, or commit the file itself; a build fetches what a pointer names.",
            code=errors.Code.MODEL_UNREADABLE,
        )
    if path.is_file() and path.stat().st_size == 0:
        raise errors.ConfigError(
            f"The model file {name!r} is empty.", remedy="Write it again.", code=errors.Code.MODEL_UNREADABLE
        )
    return path


def origin(model_file: pathlib.Path | None) -> workshop.ModelOrigin:
    """What training runs know the model by."""
    if model_file is None:
        return workshop.ModelOrigin()
    said = _MLFLOW_RUN.search(_text(model_file / _MLMODEL)) if model_file.is_dir() else None
    return workshop.ModelOrigin(sha256=files.model_digest(model_file), mlflow_run=said[1] if said is not None else "")


def _text(path: pathlib.Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def pin(service: spec.ServiceSpec, directory: pathlib.Path, downloads: download.Downloads) -> dict[str, str]:
    """
    Fetches the model's URL and writes its sha256 to softlaunch.lock in the service's folder, to be committed.

    Returns:
        url and sha256.

    Raises:
        ConfigError: the service's model has no URL, or the present file is broken.
        UnavailableError: it cannot be fetched, or the file cannot be written.
    """
    url = service.model.url
    if url is None:
        raise errors.ConfigError(
            "The service's model is given neither by URL nor by an MLflow registry: there is nothing to pin.",
            remedy="Add `url` or `mlflow` under `model` in softlaunch.yaml; `softlaunch lock` pins paths and data too.",
            code=errors.Code.MODEL_UNPINNED,
        )
    with tempfile.TemporaryDirectory(prefix="softlaunch-pin-") as scratch:
        found = downloads.fetch(url, pathlib.Path(scratch) / "model")
    pin_file.write_model(directory, pins.Pin(uri=url, version=found.version, sha256=found.sha256))
    return {"url": url, "sha256": found.sha256}


def _fetched(
    model: spec.ModelSpec, shop: workshop.Workshop, *, checkout: pathlib.Path, work: pathlib.Path
) -> tuple[pathlib.Path, str]:
    assert model.url is not None
    assert model.path is not None
    origin = materials.Origin(role=pins.Role.MODEL, name=model.url, uri=model.url)
    pin = materials.pin_of(materials.lock_of(checkout), origin)
    assert pin is not None
    where = "from the cache" if (shop.cache / "downloads" / pin.sha256).is_file() else "fetched"
    _place(materials.fetched(shop, model.url, pin), work, model.path)
    return checked(work, model.path), f"{model.url}, {where}, sha256 {pin.sha256[:12]} as pinned"


def _trained(
    service: spec.ServiceSpec,
    shop: workshop.Workshop,
    *,
    checkout: pathlib.Path,
    work: pathlib.Path,
    interpreter: python_env.Interpreter,
    lock: bytes | None,
) -> tuple[pathlib.Path, str]:
    model = service.model
    command, name = model.train_command, model.path
    assert command is not None
    assert name is not None
    # The service file holds plans of launches too, which training does not read; the committed model is its result.
    made = os.path.normpath(name)
    below = {each for each in files.walk(checkout) if each == made or each.startswith(f"{made}/")}
    inputs = files.digest(checkout, without={files.SERVICE_FILE, *below})
    material = json.dumps(
        ["train", 1, inputs, command, platform.python_version(), (lock or b"").decode(errors="replace")]
    )
    kept = shop.cache / "models" / hashlib.sha256(material.encode()).hexdigest()
    if kept.exists():
        _place(kept, work, name)
        return checked(work, name), f"{name}, trained before from the same inputs"
    files.remove_model(work / name)
    timeout = shop.train_timeout_seconds
    if shop.train is not None:
        result = shop.train(command, python=interpreter.python, directory=work, timeout_seconds=timeout)
    else:
        result = shop.workbench.command(
            command, python=interpreter.python, directory=work, timeout_seconds=timeout, variables={}
        )
    if result.exit_code != 0:
        how = (
            f"did not end within {shop.train_timeout_seconds:g} s"
            if result.exit_code is None
            else f"ended with {result.exit_code}"
        )
        raise errors.ConfigError(
            f"Training {command!r} {how}. Its last lines:\n{result.output}",
            remedy="Run it in a clean clone, with the lock file's packages, to see the same.",
            code=errors.Code.TRAIN_FAILED,
        )
    if not (work / name).exists():
        raise errors.ConfigError(
            f"Training {command!r} ended well but wrote no {name!r}.",
            remedy="Let it write to `model.path`, relative to the service's folder.",
            code=errors.Code.TRAIN_FAILED,
        )
    path = checked(work, name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_name(f".{kept.name}.{os.getpid()}")
    files.copy_model(path, unfinished)
    unfinished.rename(kept)
    return path, f"{name}, trained in {result.seconds:.1f} s"


def _place(kept: pathlib.Path, work: pathlib.Path, name: str) -> None:
    files.remove_model(work / name)
    files.copy_model(kept, work / name)
